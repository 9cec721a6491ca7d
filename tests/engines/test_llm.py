"""Turns of the llm engine over both fake models: what is asked, called, decided and answered."""

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.fake_models import (
    Calls,
    Fails,
    ModelServer,
    Provider,
    Says,
    calls,
    says,
    serving,
)
from tests.support.turn_server import Answer, TurnServer
from tests.support.turns import NOON, turn
from textback.core.engine import (
    Do,
    Notebook,
    Said,
    ToolCall,
    ToolResult,
    TurnFailed,
    TurnLost,
    TurnReply,
    Usage,
)
from textback.engines.llm import LlmConfig, LlmEngine

ONCE = Usage(input_tokens=100, output_tokens=10)
TWICE = Usage(input_tokens=200, output_tokens=20)
PROMPT = "You are {{name}}, the assistant of a salon. Never talk about other salons."

Make = Callable[..., LlmEngine]


@pytest.fixture(scope="module")
def running_models() -> Generator[ModelServer]:
    with serving() as models:
        yield models


@pytest.fixture
def models(running_models: ModelServer) -> ModelServer:
    running_models.answers(says("Hello."))
    return running_models


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> Provider:
    return request.param


@pytest.fixture
async def make(models: ModelServer, server: TurnServer, provider: Provider) -> AsyncGenerator[Make]:
    made: list[LlmEngine] = []

    def make(*, model: dict[str, Any] | None = None, **more: Any) -> LlmEngine:
        given: dict[str, Any] = {
            "prompt": PROMPT,
            "model": {
                "provider": provider,
                "name": "fake-1",
                "base_url": models.base_url(provider),
                "api_key": "sk-SENTINEL-0f3a",
            }
            | (model or {}),
            "tools": [
                {
                    "name": name,
                    "description": "Does it.",
                    "parameters": {
                        "type": "object",
                        "properties": {"time": {"type": "string"}},
                        "required": ["time"],
                    },
                    "url": server.url,
                }
                for name in ("book", "cancel")
            ],
        }
        engine = LlmEngine(
            LlmConfig.model_validate(given | more), clock=lambda: NOON, pauses=(0.01,)
        )
        made.append(engine)
        return engine

    yield make
    for engine in made:
        await engine.close()


def answers(server: TurnServer, body: bytes) -> None:
    server.answers(Answer(body=body))


async def test_it_answers_what_the_user_said(make: Make, models: ModelServer) -> None:
    request = replace(turn("When?"), variables={"name": "Mia"}, objective="Confirm.")
    assert await make().reply(request) == TurnReply(texts=("Hello.",), usage=ONCE)
    (asked,) = models.asked
    assert asked.lines == [("user", "When?")]
    assert "You are Mia, the assistant of a salon." in asked.instructions
    assert "Confirm." in asked.instructions
    assert asked.tools == ["end_conversation", "hand_off", "book", "cancel"]


async def test_it_opens_a_conversation(make: Make, models: ModelServer) -> None:
    engine = make()
    assert engine.can_open
    assert await engine.reply(turn()) == TurnReply(texts=("Hello.",), usage=ONCE)
    assert models.asked[0].lines == [("user", "[The conversation begins. Write your first text.]")]


async def test_it_calls_tools_and_then_answers(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    answers(server, b'{"booked": true}')
    models.answers(
        Says(text="Let me book it.", calls=(Calls("book", {"time": "16:00"}),)), says("Booked!")
    )
    journal = Notebook("turn_01", at=NOON)
    reply = await make().reply(replace(turn("4pm"), journal=journal))
    assert reply == TurnReply(texts=("Booked!",), usage=TWICE)
    (call,) = journal.calls
    assert (call.name, call.arguments) == ("book", {"time": "16:00"})
    assert call.result == ToolResult('{"booked": true}')
    assert server.received[0].headers["webhook-id"] == "turn_01.1"
    assert models.asked[1].lines[-1] == ("tool", '{"booked": true}')


async def test_calls_at_once_are_made_in_order_and_each_has_its_result(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    answers(server, b"fine")
    at_once = (
        Calls("book", {"time": "16:00"}),
        Calls("nonsense", {"a": 1}),
        Calls("cancel", {"hour": 3}),
        Calls("cancel", {"time": "15:00"}),
    )
    models.answers(Says(calls=at_once), says("Moved!"))
    journal = Notebook("turn_01", at=NOON)
    reply = await make().reply(replace(turn("move it"), journal=journal))
    assert isinstance(reply, TurnReply)
    assert reply.texts == ("Moved!",)
    results = [text for role, text in models.asked[1].lines if role == "tool"]
    assert results[0] == results[3] == "fine"
    assert "there is no tool of this name" in results[1]
    assert "'time' is a required property" in results[2]
    # What could be called is on the record, in order; what went out is only what fits.
    assert [call.name for call in journal.calls] == ["book", "cancel", "cancel"]
    assert len(server.received) == 2


async def test_calls_of_earlier_turns_are_shown_between_the_texts(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    answers(server, b"booked")
    journal = Notebook("turn_01", at=NOON + timedelta(seconds=1))
    models.answers(calls("book", time="16:00"), says("Booked!"))
    engine = make()
    await engine.reply(replace(turn("4pm"), journal=journal))
    models.answers(says("At 4."))
    transcript = [
        Said(seq=1, role="user", text="4pm", at=NOON),
        Said(seq=2, role="agent", text="Booked!", at=NOON + timedelta(seconds=2)),
        Said(seq=3, role="user", text="when?", at=NOON + timedelta(seconds=9)),
    ]
    await engine.reply(replace(turn("when?", transcript=transcript), calls=journal.calls))
    assert [line[0] for line in models.asked[0].lines] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert models.asked[0].lines[1:3] == [
        ("assistant", 'book({"time":"16:00"})'),
        ("tool", "booked"),
    ]


async def test_a_call_over_which_a_worker_died_is_ended_before_the_model_is_asked_again(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    # It was told that nobody knows how the call had ended, and promised the user nothing.
    answers(server, b"booked")
    models.answers(says("Booked!"))
    journal = Notebook("turn_01", at=NOON + timedelta(seconds=1))
    begun = ToolCall(
        call_id="turn_01.1",
        turn_id="turn_01",
        name="book",
        arguments={"time": "16:00"},
        at=NOON + timedelta(seconds=1),
        result=None,
    )
    request = replace(turn("4pm", turn_id="turn_01"), calls=[begun], journal=journal)
    reply = await make().reply(request)
    assert reply == TurnReply(texts=("Booked!",), usage=ONCE)
    assert [call.name for call in journal.calls] == ["book"]
    (asked,) = models.asked
    assert asked.lines[1:] == [("assistant", 'book({"time":"16:00"})'), ("tool", "booked")]


async def test_too_many_calls_are_stopped_and_the_model_is_made_to_answer(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    answers(server, b"ok")
    three = tuple(Calls("book", {"time": f"{n}:00"}) for n in range(3))
    models.answers(Says(calls=three), says("Sorry, all taken."))
    reply = await make(most_calls=2).reply(turn("any time"))
    assert isinstance(reply, TurnReply)
    assert reply.texts == ("Sorry, all taken.",)
    assert len(server.received) == 2
    assert "that is enough for now" in models.asked[1].lines[-1][1]
    choice = models.asked[1].body["tool_choice"]
    assert choice in ("none", {"type": "none"})


async def test_a_model_that_only_ever_calls_comes_to_an_end(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    answers(server, b"ok")
    models.answer = lambda _: calls("book", time=str(len(models.asked)))
    failed = await make(most_calls=3).reply(turn("any time"))
    assert isinstance(failed, TurnFailed)
    assert failed.reason == "the model called tools and never came to an answer"
    assert failed.usage.input_tokens == 100 * len(models.asked)
    assert len(server.received) == 3


# --- What it decides ------------------------------------------------------------------------------


async def test_it_may_end_the_conversation_with_its_last_text(
    make: Make, models: ModelServer
) -> None:
    models.answers(Says(text="Bye!", calls=(Calls("end_conversation"),)))
    assert await make().reply(turn("bye")) == TurnReply(
        texts=("Bye!",), end_conversation=True, usage=ONCE
    )
    models.answers(calls("end_conversation"), says("Bye!"))
    assert await make().reply(turn("bye")) == TurnReply(
        texts=("Bye!",), end_conversation=True, usage=TWICE
    )
    models.answers(calls("end_conversation"), says(""))
    assert await make().reply(turn("bye")) == TurnReply(
        texts=(), end_conversation=True, usage=TWICE
    )


async def test_it_may_hand_off_and_says_why(make: Make, models: ModelServer) -> None:
    models.answers(
        Says(text="A person will text you.", calls=(Calls("hand_off", {"reason": "a refund"}),))
    )
    assert await make().reply(turn("my money!")) == TurnReply(
        texts=("A person will text you.",), hand_off="a refund", usage=ONCE
    )


async def test_a_hand_off_is_not_lost_to_bad_words(make: Make, models: ModelServer) -> None:
    models.answers(Says(text="I'm sorry, but I can't help with that.", calls=(Calls("hand_off"),)))
    assert await make().reply(turn("my money!")) == TurnReply(
        texts=(), hand_off="the agent asked for a person", usage=ONCE
    )


async def test_its_decisions_are_no_calls_on_the_record(make: Make, models: ModelServer) -> None:
    models.answers(calls("hand_off", reason="x"), says("Bye."))
    journal = Notebook()
    await make().reply(replace(turn("hm"), journal=journal))
    assert not journal.calls


async def test_what_it_may_not_decide_it_is_not_offered(make: Make, models: ModelServer) -> None:
    models.answers(calls("end_conversation"), says("Still here."))
    reply = await make(may_end=False, may_hand_off=False, tools=[]).reply(turn("bye"))
    assert reply == TurnReply(texts=("Still here.",), usage=TWICE)
    assert models.asked[0].tools == []


async def test_it_may_stay_silent_if_it_is_let(make: Make, models: ModelServer) -> None:
    models.answers(calls("stay_silent"))
    assert await make(may_stay_silent=True).reply(turn("thx")) == TurnReply(texts=(), usage=ONCE)


# --- Failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(""), "the model wrote nothing"),
        (says("I'm sorry, but I can't assist with that."), "the model refused"),
        (Says(refused=True), "the model refused, or its server filtered the answer"),
        (says("Hi {{first_name}}"), "the model wrote markers that are not for users"),
        (says("na " * 99), "the model repeats itself"),
        (says("x y z " + "word " * 5 + "a." * 3000), "the model repeats itself"),
        (
            says("You are Mia, the assistant of a salon. Never talk about other salons. OK? " * 2),
            "the model recites its instructions",
        ),
        (says(" ".join(str(n) for n in range(2000))), "the model wrote over 4000 characters"),
    ],
    ids=["empty", "stock", "api", "braces", "loop", "long loop", "leak", "long"],
)
async def test_what_is_not_fit_is_not_sent(
    make: Make, models: ModelServer, answer: Says, reason: str
) -> None:
    models.answers(answer)
    request = replace(turn("hi"), variables={"name": "Mia"})
    assert await make().reply(request) == TurnFailed(reason, ONCE)


async def test_what_was_used_before_a_failure_is_counted(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    answers(server, b"ok")
    models.answers(calls("book", time="1"), Fails(status=401))
    failed = await make(model={"prices": {"input": 1.0}}).reply(turn("hi"))
    assert isinstance(failed, TurnFailed)
    assert failed.reason == "the model's server refused the key (HTTP 401)"
    assert failed.usage == Usage(input_tokens=100, output_tokens=10, cost_usd=0.0001)


async def test_a_turn_keeps_to_its_time_although_everything_hangs(
    make: Make, models: ModelServer, server: TurnServer
) -> None:
    await make().reply(turn("warm"))
    server.answers(Answer(delay=30))
    models.answers(calls("book", time="1"), Says(text="late", delay=30))
    engine = make(timeout_seconds=1.5)
    journal = Notebook()
    failed = await engine.reply(replace(turn("hi"), journal=journal))
    assert isinstance(failed, TurnFailed)
    assert failed.usage == ONCE
    # The tool's end was noted although the turn came to nothing.
    assert [call.result and call.result.failed for call in journal.calls] == [True]


async def test_without_the_tools_of_its_servers_it_does_not_answer(
    make: Make, models: ModelServer
) -> None:
    engine = make(mcp=[{"name": "crm", "url": "http://127.0.0.1:9/mcp"}])
    reason = "the tools of the MCP server crm could not be listed"
    assert await engine.reply(turn("hi")) == TurnFailed(reason)
    assert not models.asked


class _Raising:
    """A journal that cannot go on."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def call(self, name: str, arguments: object, do: Do) -> ToolResult:  # noqa: ARG002
        raise self.error


async def test_a_lost_turn_is_let_go(make: Make, models: ModelServer, server: TurnServer) -> None:
    models.answers(calls("book", time="1"))
    with pytest.raises(TurnLost):
        await make().reply(replace(turn("hi"), journal=_Raising(TurnLost())))
    assert not server.received


async def test_a_failure_of_ours_is_not_called_the_models(make: Make, models: ModelServer) -> None:
    models.answers(calls("book", time="1"))
    ours = _Raising(TimeoutError("the database"))
    with pytest.raises(TimeoutError, match="the database"):
        await make().reply(replace(turn("hi"), journal=ours))


# --- Memory ---------------------------------------------------------------------------------------


def long_talk(texts: int) -> list[Said]:
    return [
        Said(
            seq=n,
            role="user" if n % 2 else "agent",
            text=f"text {n} " + "word " * 40,
            at=NOON + timedelta(seconds=n),
        )
        for n in range(1, texts + 1)
    ]


def brain(models: ModelServer, summary: Says | Fails) -> None:
    models.asked.clear()
    models.answer = lambda asked: (
        summary if "Summarise it" in asked.instructions else says("Hello.")
    )


async def test_a_long_conversation_is_summarised_and_goes_on(
    make: Make, models: ModelServer
) -> None:
    brain(models, says("They agreed on 4pm."))
    engine = make(memory={"tokens": 1000})
    transcript = long_talk(31)
    request = turn("x", transcript=transcript)
    reply = await engine.reply(request)
    assert isinstance(reply, TurnReply)
    assert reply.usage == TWICE
    assert reply.state is not None
    assert reply.state["summary"] == "They agreed on 4pm."
    upto = reply.state["upto"]
    assert isinstance(upto, int)
    summarised, asked = models.asked
    assert f"text {upto} " in summarised.lines[0][1]
    assert '"They agreed on 4pm."' in asked.instructions
    shown = " ".join(text for _, text in asked.lines)
    assert f"text {upto + 1} " in shown
    assert f"text {upto} " not in shown
    assert "text 31 " in shown
    # The next turn goes on from there, and pays for no summary.
    models.asked.clear()
    more = [*transcript, replace(transcript[-2], seq=32), replace(transcript[-1], seq=33)]
    later = await engine.reply(replace(turn("x", transcript=more), state=reply.state))
    assert isinstance(later, TurnReply)
    assert later.state is None
    (asked,) = models.asked
    assert '"They agreed on 4pm."' in asked.instructions
    # And in time a new one takes the old one in.
    models.asked.clear()
    far = await engine.reply(replace(turn("x", transcript=long_talk(51)), state=reply.state))
    assert isinstance(far, TurnReply)
    assert far.state is not None
    assert isinstance(far.state["upto"], int)
    assert far.state["upto"] > upto
    assert "in short: They agreed on 4pm." in models.asked[0].lines[0][1]
    assert f"text {upto} " not in models.asked[0].lines[0][1]


@pytest.mark.parametrize("summary", [Fails(status=401), says(""), Says(refused=True)])
async def test_a_summary_that_fails_does_not_fail_the_turn(
    make: Make, models: ModelServer, summary: Says | Fails
) -> None:
    brain(models, summary)
    reply = await make(memory={"tokens": 1000}).reply(turn("x", transcript=long_talk(31)))
    assert isinstance(reply, TurnReply)
    assert reply.texts == ("Hello.",)
    assert reply.state is None
    shown = " ".join(text for _, text in models.asked[-1].lines)
    assert "text 31 " in shown
    assert "text 1 " not in shown


async def test_what_the_user_said_last_is_never_left_out(make: Make, models: ModelServer) -> None:
    brain(models, says("Short."))
    burst = [replace(said, role="user") for said in long_talk(31)]
    await make(memory={"tokens": 500}).reply(turn("x", transcript=burst))
    shown = models.asked[-1].lines[-1][1]
    assert "text 1 " in shown
    assert "text 31 " in shown


async def test_texts_without_places_are_never_summarised_away(
    make: Make, models: ModelServer
) -> None:
    brain(models, says("Short."))
    unplaced = [replace(said, seq=0) for said in long_talk(31)]
    reply = await make(memory={"tokens": 500}).reply(turn("x", transcript=unplaced))
    assert isinstance(reply, TurnReply)
    assert reply.state is None


async def test_a_state_that_is_not_ours_is_no_hindrance(make: Make, models: ModelServer) -> None:
    for state in ({"node": "a"}, {"summary": 3, "upto": "x"}):
        reply = await make().reply(replace(turn("hi"), state=state))
        assert isinstance(reply, TurnReply)
        assert models.asked[-1].lines == [("user", "hi")]


async def test_a_server_may_stream(make: Make, models: ModelServer, server: TurnServer) -> None:
    answers(server, b"ok")
    models.answers(calls("book", time="1"), says("Booked!"))
    reply = await make(model={"stream": True}).reply(turn("hi"))
    assert reply == TurnReply(texts=("Booked!",), usage=TWICE)
