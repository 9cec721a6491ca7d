"""The walk through a flow that asks nobody: texts, edges, variables."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.flows import engine, scripted, talk
from tests.support.talk import Talk
from tests.support.turns import NOON, turn
from textback.core.engine import Said, TurnFailed, TurnReply
from textback.engines.flow import FlowConfig, FlowEngine

GREET = """
nodes:
  - id: hello
    say: "Hi {{first_name}}, still ok for {{slot}}?"
    edges:
      - {keywords: ["yes", "ok"], to: bye}
      - {matches: "(?i)\\\\bno\\\\b", to: when}
  - id: when
    say: "When then?"
    extract: [{name: hour, type: integer, pattern: "(\\\\d+) ?pm"}]
    edges: [{variable: hour, at_least: 6, to: late}]
    then: noted
  - {id: late, say: "We close at 6.", wait: false, then: when}
  - {id: noted, say: "{{hour}}pm it is.", end: true}
  - {id: bye, say: "See you!", end: true}
"""
ANA = {"first_name": "Ana", "slot": "2pm"}


async def test_a_flow_says_its_start_and_follows_the_first_edge_that_fits() -> None:
    talking = talk(GREET, variables=ANA)
    assert await scripted(talking, ["OK, great"]) == (
        "agent: Hi Ana, still ok for 2pm?\nuser: OK, great\nagent: See you!"
    )


async def test_an_end_ends_the_conversation_after_its_last_text() -> None:
    talking = talk(GREET, variables=ANA)
    await talking.opens()
    assert await talking.says("yes") == TurnReply(
        texts=("See you!",), end_conversation=True, state={"node": "bye", "came_from": "hello"}
    )


async def test_variables_are_taken_compared_and_said() -> None:
    talking = talk(GREET, variables=ANA)
    assert await scripted(talking, ["no", "7 pm", "5pm"]) == (
        "agent: Hi Ana, still ok for 2pm?\n"
        "user: no\nagent: When then?\n"
        "user: 7 pm\nagent: We close at 6.\nagent: When then?\n"
        "user: 5pm\nagent: 5pm it is."
    )


async def test_several_texts_are_one_input() -> None:
    talking = talk(GREET, variables=ANA)
    await talking.opens()
    assert (await talking.says("hm let me see", "yes that is fine")).texts == ("See you!",)


async def test_the_same_turn_run_again_says_the_same_and_leaves_the_same_state() -> None:
    flow = engine("""
        nodes:
          - id: hello
            say: ["one", "two", "three", "four", "five"]
            edges: [{keywords: ["x"], to: bye}]
          - {id: bye, end: true}
    """)
    request = Talk(flow).request("")
    answers = [await flow.reply(request) for _ in range(5)]
    assert answers == [answers[0]] * 5
    found: set[str] = set()
    for n in range(60):
        answer = await flow.reply(replace(request, turn_id=f"turn_{n}"))
        assert isinstance(answer, TurnReply)
        found |= set(answer.texts)
    assert found == {"one", "two", "three", "four", "five"}


async def test_the_callers_opener_stands_for_the_words_of_the_start() -> None:
    talking = talk(GREET, variables=ANA)
    talking.opened("Hello Ana! Your visit is at 2pm, all good?")
    assert (await talking.says("yes")).texts == ("See you!",)


async def test_after_the_callers_opener_what_is_unclear_is_answered_with_the_starts_words() -> None:
    talking = talk(GREET, variables=ANA)
    talking.opened("Your visit is at 2pm.")
    assert (await talking.says("what?")).texts == ("Hi Ana, still ok for 2pm?",)
    assert (await talking.says("yes")).texts == ("See you!",)


async def test_a_user_who_writes_first_hears_the_start() -> None:
    talking = talk(GREET, variables=ANA)
    assert (await talking.says("yes")).texts == ("Hi Ana, still ok for 2pm?",)
    assert (await talking.says("yes")).texts == ("See you!",)


async def test_a_start_without_words_answers_the_users_first_text() -> None:
    flow = """
        nodes:
          - {id: listen, wait: true, edges: [{keywords: ["hi"], to: hello}], then: bye}
          - {id: hello, say: "Hi!", edges: [{keywords: ["bye"], to: bye}]}
          - {id: bye, say: "Bye!", end: true}
    """
    assert (await talk(flow).says("hi")).texts == ("Hi!",)
    assert (await talk(flow).says("oh")).texts == ("Bye!",)
    assert not engine(flow).can_open
    assert engine(GREET).can_open


async def test_a_start_that_goes_straight_on_to_words_can_open() -> None:
    flow = """
        nodes:
          - {id: start, edges: [{variable: vip, known: true, to: vip}], then: hello}
          - {id: hello, say: "Hi!", then: hello}
          - {id: vip, say: "Welcome back!", then: hello}
    """
    assert engine(flow).can_open
    assert (await talk(flow).opens()).texts == ("Hi!",)
    assert (await talk(flow, variables={"vip": True}).opens()).texts == ("Welcome back!",)


async def test_nodes_that_do_not_wait_are_said_one_after_the_other() -> None:
    flow = """
        nodes:
          - {id: a, say: "One.", wait: false, then: b}
          - {id: b, say: "Two.", wait: false, then: c}
          - {id: c, say: "Three?", then: a}
    """
    talking = talk(flow)
    assert (await talking.opens()).texts == ("One.", "Two.", "Three?")
    assert (await talking.says("yes")).texts == ("One.", "Two.", "Three?")


async def test_what_fits_no_edge_is_asked_again_a_few_times_and_then_a_person_takes_over() -> None:
    talking = talk(GREET, variables=ANA)
    await talking.opens()
    for _ in range(2):
        reply = await talking.says("what?")
        assert reply.texts == ("Hi Ana, still ok for 2pm?",)
        assert reply.hand_off is None
    reply = await talking.says("what?")
    assert reply == TurnReply(
        texts=(),
        hand_off='the user said 3 times what fits no edge of "hello"',
        state={"node": "hello"},
    )


async def test_a_clear_answer_forgets_the_unclear_ones() -> None:
    talking = talk(GREET, variables=ANA)
    await scripted(talking, ["what?", "what?", "no", "7pm"])
    assert talking.state == {"node": "when", "came_from": "late", "variables": {"hour": 7}}


@pytest.mark.parametrize(
    ("unclear", "said", "ends"),
    [
        ('{say: "Yes or no?", times: 1, to: bye}', [("Yes or no?",), ("See you!",)], True),
        ('{say: "Yes or no?", times: 0, then: end}', [()], True),
        ("{times: 1}", [("Ok?",), ()], False),
    ],
)
async def test_what_is_unclear_goes_as_the_settings_say(
    unclear: str, said: list[tuple[str, ...]], *, ends: bool
) -> None:
    flow = f"""
        unclear: {unclear}
        nodes:
          - {{id: ask, say: "Ok?", edges: [{{keywords: ["yes"], to: bye}}]}}
          - {{id: bye, say: "See you!", end: true}}
    """
    talking = talk(flow)
    await talking.opens()
    replies = [await talking.says("?") for _ in said]
    assert [reply.texts for reply in replies] == said
    assert replies[-1].end_conversation is ends
    assert (replies[-1].hand_off is None) is ends


async def test_a_node_that_listens_in_silence_stays_silent_when_nothing_fits() -> None:
    flow = """
        nodes:
          - {id: listen, wait: true, edges: [{keywords: ["go"], to: bye}]}
          - {id: bye, say: "Bye!", end: true}
    """
    talking = talk(flow)
    for _ in range(9):
        assert (await talking.says("hm")).texts == ()
    assert (await talking.says("go")).texts == ("Bye!",)


async def test_until_it_is_met_the_flow_stays() -> None:
    flow = """
        nodes:
          - id: ask
            say: "Day and hour?"
            extract:
              - {name: day, pattern: "(?i)monday|tuesday"}
              - {name: hour, pattern: "(\\\\d+)pm"}
            until: {variables: [day, hour]}
            unclear: {say: "{{day}} {{hour}}: both, please.", times: 5}
            then: bye
          - {id: bye, say: "{{day}} {{hour}}.", end: true}
    """
    assert await scripted(talk(flow), ["tuesday", "at 3pm"]) == (
        "agent: Day and hour?\nuser: tuesday\nagent: tuesday : both, please.\n"
        "user: at 3pm\nagent: tuesday 3."
    )


HELP = """
nodes:
  - {id: ask, say: "Name?", edges: [{matches: "^A", to: bye}]}
  - {id: bye, say: "Bye!", end: true}
  - {id: where, say: "Main Street 1.", globally: {keywords: ["where"]}}
  - {id: person, say: "A moment.", hand_off: "{{who}} asks", globally: {keywords: ["human"]}}
"""


async def test_an_aside_is_answered_from_anywhere_and_the_flow_goes_on_where_it_was() -> None:
    assert await scripted(talk(HELP), ["Where are you?", "Ana"]) == (
        "agent: Name?\nuser: Where are you?\nagent: Main Street 1.\nuser: Ana\nagent: Bye!"
    )


async def test_a_global_node_hands_off_with_its_reason_filled() -> None:
    talking = talk(HELP, variables={"who": "Ana"})
    await talking.opens()
    reply = await talking.says("a human please")
    assert (reply.texts, reply.hand_off) == (("A moment.",), "Ana asks")


async def test_a_nodes_own_edge_goes_before_a_global_node() -> None:
    talking = talk(HELP)
    await talking.opens()
    assert (await talking.says("A human")).texts == ("Bye!",)


async def test_after_a_person_gave_it_back_the_flow_goes_on_where_the_node_says() -> None:
    flow = """
        nodes:
          - {id: ask, say: "Ok?", then: person}
          - {id: person, hand_off: "help", then: after}
          - {id: after, say: "All solved?", edges: [{keywords: ["yes"], to: bye}]}
          - {id: bye, say: "Bye!", end: true}
    """
    talking = talk(flow)
    await scripted(talking, ["hm"])
    assert (await talking.says("thanks")).texts == ("All solved?",)
    assert (await talking.says("yes")).texts == ("Bye!",)


async def test_when_it_is_to_go_on_by_itself_it_says_where_it_is() -> None:
    talking = talk(GREET, variables=ANA)
    await scripted(talking, ["no"])
    assert (await talking.opens()).texts == ("When then?",)


async def test_a_conversation_may_start_at_another_node() -> None:
    talking = talk(GREET, variables=ANA)
    talking.start_node = "when"
    assert await scripted(talking, ["4pm"]) == ("agent: When then?\nuser: 4pm\nagent: 4pm it is.")


async def test_a_conversation_is_sent_to_a_node_once_not_at_each_turn() -> None:
    talking = talk(GREET, variables=ANA)
    await talking.opens()
    talking.start_node = "when"
    assert (await talking.says("7pm")).texts == ("We close at 6.", "When then?")
    assert (await talking.says("4pm")).texts == ("4pm it is.",)


async def test_a_start_node_that_is_not_there_begins_at_the_start_and_is_noted() -> None:
    talking = talk(GREET, variables=ANA)
    talking.start_node = "nowhere"
    assert (await talking.opens()).texts == ("Hi Ana, still ok for 2pm?",)
    assert talking.state["note"] == 'there is no node "nowhere" to start at'


@pytest.mark.parametrize(
    "state",
    [
        {"node": "gone", "variables": {"hour": 3}},
        {"node": 7},
        {"summary": "of another engine", "upto": 3},
        {"node": "hello", "variables": "?"},
        {"node": ["hello"], "unclear": {}},
    ],
)
async def test_a_state_that_does_not_fit_begins_again(state: dict[str, object]) -> None:
    talking = talk(GREET, variables=ANA)
    talking.transcript.append(Said(role="user", text="hey", at=turn().now))
    talking.state = state
    assert (await talking.says("yes")).texts == ("Hi Ana, still ok for 2pm?",)
    assert "again" in str(talking.state["note"])
    assert (await talking.says("yes")).texts == ("See you!",)


async def test_variables_that_were_kept_without_a_place_are_known_at_the_start() -> None:
    talking = talk(GREET, variables=ANA)
    talking.state, talking.start_node = {"variables": {"hour": 4}}, "noted"
    assert (await talking.opens()).texts == ("4pm it is.",)
    assert "note" not in talking.state


async def test_there_are_no_phone_numbers_to_be_said() -> None:
    flow = """
        nodes:
          - id: a
            say: >-
              [{{from}}{{to}}{{phone_number}}] {{call_id}} {{now_utc}} {{objective}}
              {{lastUserMessage}}
            then: a
    """
    talking = talk(flow)
    talking.objective = "remind"
    assert (await talking.opens()).texts == ("[] conv_01 2026-03-01T12:00:00Z remind ",)
    assert (await talking.says("hi {{from}}")).texts == (
        "[] conv_01 2026-03-01T12:00:00Z remind hi {{from}}",
    )


async def test_what_users_say_is_not_filled_a_second_time() -> None:
    flow = """
        nodes:
          - {id: a, say: "Name?", extract: [{name: who, pattern: ".+"}], then: b}
          - {id: b, say: "Hi {{who}}.", then: a}
    """
    talking = talk(flow, variables={"secret": "x"})
    await talking.opens()
    assert (await talking.says("{{secret}}")).texts == ("Hi {{secret}}.",)


async def test_a_text_whose_variables_are_all_empty_is_not_said() -> None:
    flow = "nodes: [{id: a, say: '{{nothing}}', then: a}]"
    assert (await talk(flow).opens()).texts == ()


async def test_a_pattern_that_backtracks_for_ever_fails_its_own_turn_and_no_other() -> None:
    nodes: list[object] = [
        {"id": "a", "wait": True, "edges": [{"matches": "(a|aa)+$", "to": "b"}], "then": "b"},
        {"id": "b", "say": "Ok.", "end": True},
    ]
    flow = FlowEngine(
        FlowConfig.model_validate({"nodes": nodes}),
        model=None,
        clock=lambda: NOON,
        match_budget=timedelta(seconds=0.2),
    )
    async with asyncio.TaskGroup() as group:
        bad = group.create_task(flow.reply(turn("a" * 60 + "b")))
        good = await flow.reply(turn("aa"))
        assert not bad.done()
    assert isinstance(good, TurnReply)
    failed = bad.result()
    assert isinstance(failed, TurnFailed)
    assert "(a|aa)+$" in failed.reason


async def test_a_flow_whose_patterns_never_end_holds_up_no_other() -> None:
    nodes: list[object] = [
        {"id": "a", "wait": True, "edges": [{"matches": "(a|aa)+$", "to": "b"}], "then": "b"},
        {"id": "b", "say": "Ok.", "end": True},
    ]
    endless, other = (
        FlowEngine(
            FlowConfig.model_validate({"nodes": nodes}),
            model=None,
            clock=lambda: NOON,
            match_budget=timedelta(seconds=0.2),
        )
        for _ in range(2)
    )
    walking = [asyncio.create_task(endless.reply(turn("a" * 60 + "b"))) for _ in range(64)]
    await asyncio.sleep(0)
    assert isinstance(await other.reply(turn("aa")), TurnReply)
    assert sum(task.done() for task in walking) < 32
    await asyncio.wait(walking)
    assert all(isinstance(task.result(), TurnFailed) for task in walking)


async def test_what_led_to_a_node_is_not_taken_for_its_answer() -> None:
    flow = """
        nodes:
          - {id: sort, edges: [{keywords: ["hush"], to: hush}], then: listen}
          - {id: hush, wait: true, then: heard}
          - {id: listen, wait: true, then: heard}
          - {id: heard, say: "Heard {{lastUserMessage}}.", end: true}
    """
    assert (await talk(flow).says("hello")).texts == ("Heard hello.",)
    talking = talk(flow)
    assert (await talking.says("hush")).texts == ()
    assert (await talking.says("hello")).texts == ("Heard hello.",)


async def test_the_callers_data_may_be_nested() -> None:
    flow = """
        nodes:
          - {id: a, edges: [{variable: customer.tier, equals: gold, to: gold}], then: b}
          - {id: b, say: "Hello.", end: true}
          - {id: gold, say: "Dear {{customer.name}}!", end: true}
    """
    gold = {"customer": {"tier": "Gold", "name": "Ana"}}
    assert (await talk(flow, variables=gold).opens()).texts == ("Dear Ana!",)
    assert (await talk(flow).opens()).texts == ("Hello.",)
