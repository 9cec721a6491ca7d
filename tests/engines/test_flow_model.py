"""A flow that asks a model: what it is asked, and that its failures change nothing."""

import pytest

from tests.support.flows import engine, talk
from tests.support.model import COST, ModelDouble
from tests.support.turns import NOON
from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    AnalysisSettings,
    Said,
    TurnFailed,
    TurnReply,
    Usage,
)
from textback.core.ids import AgentId, ConversationId, ProjectId
from textback.core.language import ModelFailed

FLOW = """
prompt: "You are Kim of {{firm}}."
nodes:
  - id: ask
    name: Ask for the day
    say: "Which day?"
    extract: [{name: day, description: "the day they want"}]
    edges:
      - {keywords: ["stop it"], to: bye}
      - {label: "names a {{unit}}", to: book}
      - {label: "wants none", to: bye}
  - {id: book, prompt: "Confirm {{day}} to {{who}}.", end: true}
  - {id: bye, say: "Bye.", end: true}
  - {id: person, say: "Wait.", hand_off: "asks", globally: {label: "wants a human"}}
"""
WHO = {"firm": "Acme", "who": "Ana", "unit": "day"}


def judge() -> ModelDouble:
    return ModelDouble(
        write_by=lambda _, __: "Tuesday it is, Ana.",
        choose_by=lambda _, heard: 0 if "tue" in heard else 2 if "human" in heard else None,
        extract_by=lambda heard: {"day": "Tuesday"} if "tue" in heard else {},
    )


async def test_one_question_decides_among_labels_and_global_nodes() -> None:
    model = judge()
    talking = talk(FLOW, model=model, variables=WHO)
    await talking.opens()
    reply = await talking.says("tue?")
    assert reply == TurnReply(
        texts=("Tuesday it is, Ana.",),
        end_conversation=True,
        state={"node": "book", "came_from": "ask", "variables": {"day": "Tuesday"}},
        usage=Usage(input_tokens=30, output_tokens=15, cost_usd=0.003),
    )
    assert [asked.what for asked in model.asked] == ["extract", "choose", "write"]
    extracted, chosen, written = model.asked
    assert extracted.options == ["day"]
    assert list(chosen.options) == ["names a day", "wants none", "wants a human"]
    assert "Ask for the day" in chosen.words
    assert "You are Kim of Acme." in written.words
    assert 'Confirm "Tuesday" to Ana.' in written.words
    assert [(said.role, said.text) for said in written.transcript] == [
        ("agent", "Which day?"),
        ("user", "tue?"),
    ]


async def test_a_global_node_is_reached_by_judgement() -> None:
    talking = talk(FLOW, model=judge(), variables=WHO)
    await talking.opens()
    assert (await talking.says("a human!")).hand_off == "asks"


async def test_what_is_fixed_is_decided_without_asking() -> None:
    model = judge()
    talking = talk(FLOW, model=model, variables=WHO)
    await talking.opens()
    assert (await talking.says("stop it")).texts == ("Bye.",)
    assert [asked.what for asked in model.asked] == ["extract"]


async def test_none_of_the_labels_is_unclear() -> None:
    talking = talk(FLOW, model=judge(), variables=WHO)
    await talking.opens()
    assert (await talking.says("hm")).texts == ("Which day?",)


@pytest.mark.parametrize("option", [3, -1, 99])
async def test_an_option_that_was_not_given_is_none(option: int) -> None:
    model = judge()
    model.choose_by = lambda _, __: option
    talking = talk(FLOW, model=model, variables=WHO)
    await talking.opens()
    assert (await talking.says("hm")).texts == ("Which day?",)


@pytest.mark.parametrize(
    ("failing", "spent", "node"),
    [("extract_by", 0, "ask"), ("choose_by", 1, "ask"), ("write_by", 2, "book")],
)
async def test_a_model_that_fails_fails_the_turn_which_can_be_run_again(
    failing: str, spent: int, node: str
) -> None:
    def fails(*_: object) -> ModelFailed:
        return ModelFailed(reason="too slow", usage=Usage(input_tokens=1))

    model = judge()
    setattr(model, failing, fails)
    talking = talk(FLOW, model=model, variables=WHO)
    await talking.opens()
    before = dict(talking.state)
    assert await talking.fails("tue") == TurnFailed(
        f'node "{node}": too slow',
        Usage(
            input_tokens=spent * COST.input_tokens + 1,
            output_tokens=spent * COST.output_tokens,
            cost_usd=spent * COST.cost_usd,
        ),
    )
    assert talking.state == before
    setattr(model, failing, getattr(judge(), failing))
    assert (await talking.says("tue")).texts == ("Tuesday it is, Ana.",)


@pytest.mark.parametrize(
    "unfit", ["", "I'm sorry, I can't help with that.", "<|im_start|>system", "Hello {{who}}!"]
)
async def test_what_must_not_be_sent_is_not_sent(unfit: str) -> None:
    model = judge()
    model.write_by = lambda _, __: unfit
    talking = talk(FLOW, model=model, variables=WHO)
    await talking.opens()
    assert (await talking.fails("tue")).reason.startswith('node "book": the model')


async def test_a_prompted_node_goes_on_talking_for_a_while_and_then_a_person_takes_over() -> None:
    flow = """
        nodes:
          - {id: chat, prompt: "Find out the day.", edges: [{keywords: ["done"], to: bye}]}
          - {id: bye, end: true}
    """
    said = iter(f"Try {n}." for n in range(100))
    talking = talk(flow, model=ModelDouble(write_by=lambda _, __: next(said)))
    await talking.opens()
    for n in range(1, 11):
        assert (await talking.says("hm")).texts == (f"Try {n}.",)
    assert (await talking.says("hm")).hand_off is not None


async def test_the_model_knows_what_was_said_earlier_in_the_same_turn() -> None:
    flow = """
        nodes:
          - {id: a, say: "Welcome.", wait: false, then: b}
          - {id: b, prompt: "Ask for the day.", then: b}
    """
    model = judge()
    await talk(flow, model=model).opens()
    assert [said.text for said in model.asked[0].transcript] == ["Welcome."]


async def test_the_objective_and_the_local_time_are_told() -> None:
    model = judge()
    talking = talk("nodes: [{id: a, prompt: Greet, then: a}]", model=model)
    talking.objective = "sell a broom"
    await talking.opens()
    told = model.asked[0].words
    assert "sell a broom" in told
    assert "Sunday, 1 March 2026, 07:00" in told


async def test_the_values_of_variables_are_not_filled_a_second_time() -> None:
    model = judge()
    talking = talk(
        "nodes: [{id: a, prompt: 'Greet {{who}}', then: a}]",
        model=model,
        variables={"who": "{{secret}}", "secret": "hush"},
    )
    await talking.opens()
    task = model.asked[0].words.split("# What to do now")[1].split("# What is known")[0]
    assert "hush" not in task


async def test_of_a_long_conversation_the_model_is_shown_the_end() -> None:
    model = judge()
    talking = talk("nodes: [{id: a, prompt: Greet, then: a}]", model=model)
    talking.transcript += [Said(role="user", text=f"{n} " + "x" * 1000, at=NOON) for n in range(90)]
    await talking.opens()
    shown = model.asked[0].transcript
    assert 5 < len(shown) < 20
    assert shown[-1].text.startswith("89 ")


async def test_the_model_analyses_and_is_closed_with_the_engine() -> None:
    model = ModelDouble(extract_by=lambda _: {"summary": "Ana booked."})
    flow = engine(FLOW, model=model)
    request = AnalysisRequest(
        conversation_id=ConversationId("conv_01"),
        agent_id=AgentId("bookings"),
        project_id=ProjectId("reminders"),
        transcript=[Said(role="user", text="tue", at=NOON)],
        ended="agent_ended",
        wanted=AnalysisSettings(),
        metadata={},
        now=NOON,
    )
    assert flow.can_analyse
    assert await flow.analyse(request) == Analysis(summary="Ana booked.", usage=COST)
    await flow.close()
    assert model.closed == 1
    plain = engine("nodes: [{id: a, say: Hi, then: a}]")
    assert not plain.can_analyse
    assert isinstance(await plain.analyse(request), TurnFailed)
