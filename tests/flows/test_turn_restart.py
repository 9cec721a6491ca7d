"""A text that lands while the agent thinks: what is thought does not count, up to a point."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import FALLBACK, HTTP, hour, second
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.engine import Later, TurnFailed, TurnReply
from textback.core.policy import MOST_RESTARTS
from textback.core.turn import UnderWay
from textback.db.thinking import Thinking
from textback.flows import turn

FAILED = TurnFailed("no usable answer")
LATER = Later(within=timedelta(minutes=5))
QUEUE, IGNORE = {"while_thinking": "queue"}, {"while_thinking": "ignore"}


async def begin(world: World, *texts: str) -> Thinking:
    """The agent thinks about these."""
    for text in texts:
        await world.hear(text)
    (thinking,) = await world.claim_turns()
    return thinking


async def said(world: World) -> list[str]:
    return [text.text for text in await world.ours()]


async def test_the_half_made_answer_is_not_sent_and_one_answers_everything(world: World):
    first = await begin(world, "Can you come at 3?")
    await world.hear("No wait, at 4", now=second(1))

    assert await world.answer(first, "At 3 it is.", now=second(2)) == "restarted"
    (again,) = await world.claim_turns(now=second(2))
    assert await world.answer(again, "At 4 it is.", now=second(3)) == "answered"

    assert (again.id, again.run, again.heard) == (first.id, 2, "Can you come at 3?\nNo wait, at 4")
    assert await said(world) == ["At 4 it is."]
    assert await world.claim_turns(now=hour(1)) == []


async def test_that_it_runs_again_is_told(world: World):
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))
    await world.answer(first, "To one", now=second(2))

    assert (await world.events(first.conversation_id))[-1] == "turn.restarted"


@pytest.mark.parametrize("answer", [FAILED, TurnReply(texts=["x"] * 11), TurnReply(texts=[])])
async def test_a_failure_or_silence_that_came_too_late_is_not_told_either(
    world: World, answer: TurnReply | TurnFailed
):
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))

    assert await world.answer(first, answer, now=second(2)) == "restarted"
    await world.think(now=second(2), engine=EngineDouble("To both"))

    assert await said(world) == ["To both"]
    assert "turn.failed" not in await world.events(first.conversation_id)


async def test_it_runs_again_when_it_is_quiet_but_30_seconds_after_the_first_text(world: World):
    await world.provision(project={"reply_delay_seconds": 10})
    await world.hear("One")
    (first,) = await world.claim_turns(now=second(10))
    await world.hear("Two", now=second(11))
    await world.hear("Three", now=second(18))
    await world.hear("Four", now=second(25))

    await world.answer(first, "To one", now=second(26))

    assert await world.claim_turns(now=second(29)) == []
    (again,) = await world.claim_turns(now=second(30))
    assert again.heard == "One\nTwo\nThree\nFour"


async def test_a_text_after_the_answer_was_given_up_puts_the_turn_off_as_usual(world: World):
    await world.provision(project={"reply_delay_seconds": 5})
    await world.hear("One")
    (first,) = await world.claim_turns(now=second(5))
    await world.hear("Two", now=second(6))
    await world.answer(first, "To one", now=second(7))
    await world.hear("Three", now=second(8))

    assert await world.claim_turns(now=second(12)) == []
    (again,) = await world.claim_turns(now=second(13))
    assert again.heard == "One\nTwo\nThree"


async def test_who_never_stops_typing_is_answered_all_the_same(world: World):
    await world.hear("Text 0")
    outcomes = list[str | None]()
    for n in range(1, 2 * MOST_RESTARTS):
        (thinking,) = await world.claim_turns(now=second(n))
        await world.hear(f"Text {n}", now=second(n))
        outcomes.append(await world.answer(thinking, thinking.heard, now=second(n)))
    await world.think(now=second(9), engine=EngineDouble("To the rest"))

    assert outcomes == ["restarted"] * MOST_RESTARTS + ["answered", "restarted"]
    assert await said(world) == ["Text 0\nText 1\nText 2\nText 3", "To the rest"]
    assert await world.claim_turns(now=hour(1)) == []


async def test_two_texts_during_one_thought_count_once(world: World):
    first = await begin(world, "One")
    for n in range(1, 10):
        await world.hear(f"More {n}", now=second(n))
    await world.answer(first, "To one", now=second(10))

    (again,) = await world.claim_turns(now=second(10))
    assert again.restarts == 1


@pytest.mark.parametrize("way", ["given back", "rescued"])
async def test_a_turn_that_comes_back_before_its_answer_hears_everything(world: World, way: str):
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))

    if way == "rescued":
        await world.rescue_turns(now=first.lease_until)
    else:
        await turn.give_back(world.db, first, due_at=second(2))

    (again,) = await world.claim_turns(now=first.lease_until)
    assert (again.id, again.heard, again.restarts) == (first.id, "One\nTwo", 0)
    assert await world.answer(first, "To one", now=first.lease_until) is None
    assert await world.answer(again, "To both", now=first.lease_until) == "answered"
    assert await said(world) == ["To both"]


@pytest.mark.parametrize("way", ["given back", "rescued"])
async def test_a_turn_that_comes_back_waits_for_quiet(world: World, way: str):
    await world.provision(project={"reply_delay_seconds": 10})
    await world.hear("One")
    (first,) = await world.claim_turns(now=second(10))
    late = first.lease_until - timedelta(seconds=1)
    async with world.transaction() as c:  # it began long ago, and the cap is not reached
        await c.execute(sql("update turns set first_text_at = :at"), {"at": late})
    await world.hear("Two", now=late)

    if way == "rescued":
        await world.rescue_turns(now=first.lease_until)
    else:
        await turn.give_back(world.db, first, due_at=late)

    assert await world.claim_turns(now=late + timedelta(seconds=9)) == []
    (again,) = await world.claim_turns(now=late + timedelta(seconds=10))
    assert again.heard == "One\nTwo"


@pytest.mark.parametrize("how", ["STOP", "handed off", "ended"])
async def test_a_turn_of_a_conversation_that_is_over_does_not_run_again(world: World, how: str):
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))
    match how:
        case "STOP":
            await world.hear("STOP", now=second(2))
            expected = "dropped"
        case "handed off":
            await world.hand_off(first.conversation_id, now=second(2))
            expected = None
        case _:
            await world.end(first.conversation_id, now=second(2))
            expected = None

    assert await world.answer(first, "To one", now=second(3)) == expected

    assert "To one" not in await said(world)
    assert await world.claim_turns(now=hour(1)) == []
    assert {found.outcome for found in await world.turns()} == {"dropped"}


async def test_a_question_outlives_its_conversation_also_when_it_runs_again(world: World):
    first = await begin(world, "When are you open?")
    await world.hear("On Sunday", now=second(1))
    await world.accept("Your order is here.", now=second(2))

    assert await world.answer(first, "From 8 to 5.", now=second(3)) == "restarted"
    await world.think(now=second(3), engine=EngineDouble("On Sunday not."))

    assert await said(world) == ["Your order is here.", "On Sunday not."]


async def test_an_opener_that_is_begun_again_keeps_its_promised_id(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    (opening,) = await world.claim_turns()
    await world.hear("Hello?", now=second(1))

    assert await world.answer(opening, "Good morning.", now=second(2)) == "restarted"
    engine = EngineDouble("Good morning to you.")
    await world.think(now=second(2), engine=engine)

    assert [asked.heard for asked in engine.asked] == ["Hello?"]
    (text,) = await world.ours()
    assert (text.id, text.text, text.kind) == (
        promised.message_id,
        "Good morning to you.",
        "opener",
    )


async def test_which_thoughts_are_in_vain_is_known_at_once(world: World):
    first = await begin(world, "One")
    assert await turn.moot(world.db, {first.id: first.run}) == []

    await world.hear("Two", now=second(1))

    assert await turn.moot(world.db, {first.id: first.run}) == [first.id]
    await world.answer(first, "To one", now=second(2))
    (again,) = await world.claim_turns(now=second(2))
    assert await turn.moot(world.db, {again.id: again.run}) == []
    assert await turn.moot(world.db, {first.id: first.run}) == [first.id]
    await world.hand_off(first.conversation_id, now=second(3))
    assert await turn.moot(world.db, {again.id: again.run}) == [first.id]


async def test_texts_that_race_with_an_agent_that_begins_anew_are_each_answered(world: World):
    limits = {"per_sender": {"requests": 1000, "per_seconds": 1}}
    await world.provision(project={"inbound_limits": limits})
    texts = [f"Text {n}" for n in range(60)]
    answered = list[str]()

    async def user() -> None:
        for text in texts:
            await world.hear(text)
            await asyncio.sleep(0.002)

    async def agent() -> None:
        while len(answered) < len(texts):
            for thinking in await world.claim_turns():
                await asyncio.sleep(0)
                if await world.answer(thinking, TurnReply(texts=())) == "silent":
                    answered.extend(thinking.heard.split("\n"))

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(user())
        for _ in range(3):
            group.create_task(agent())

    assert answered == texts  # each by one answer, and in order
    assert await world.claim_turns(now=hour(1)) == []


# --- Other policies -----------------------------------------------------------------------------


async def test_with_queue_each_thought_counts(world: World):
    await world.provision(project=QUEUE)
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))

    assert await world.answer(first, "To one", now=second(2)) == "answered"
    await world.think(now=second(2), engine=EngineDouble("To two"))

    assert await said(world) == ["To one", "To two"]


async def test_with_ignore_a_text_gets_no_answer_of_its_own_and_is_not_forgotten(world: World):
    await world.provision(project=IGNORE)
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))

    assert await world.answer(first, "To one", now=second(2)) == "answered"
    assert await world.claim_turns(now=hour(1)) == []
    await world.hear("Three", now=second(60))
    engine = EngineDouble("To three")
    await world.think(now=second(60), engine=engine)

    (asked,) = engine.asked
    assert asked.heard == "Three"
    assert [text.text for text in asked.transcript] == ["One", "Two", "To one", "Three"]


async def test_with_ignore_a_turn_that_runs_again_hears_what_was_ignored(world: World):
    await world.provision(project=IGNORE)
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))
    await world.rescue_turns(now=first.lease_until)

    (again,) = await world.claim_turns(now=first.lease_until)

    assert again.heard == "One\nTwo"


async def test_a_policy_that_changes_while_the_agent_thinks_loses_no_text(world: World):
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))
    await world.provision(project=QUEUE)
    await world.hear("Three", now=second(2))
    await world.provision(project=IGNORE)
    await world.hear("Four", now=second(3))

    assert await world.answer(first, "To one", now=second(4)) == "restarted"
    (again,) = await world.claim_turns(now=second(4))

    assert again.heard == "One\nTwo\nThree\nFour"


async def test_what_waits_already_is_answered_whatever_the_policy_becomes(world: World):
    await world.provision(project=QUEUE)
    first = await begin(world, "One")
    await world.hear("Two", now=second(1))
    await world.provision(project=IGNORE)
    await world.hear("Three", now=second(2))

    await world.answer(first, "To one", now=second(3))
    (then,) = await world.claim_turns(now=second(3))

    assert then.heard == "Two\nThree"


@pytest.mark.parametrize("under_way", ["thinking", "awaiting"])
@pytest.mark.parametrize("policy", ["restart", "queue", "ignore"])
async def test_nothing_is_ever_left_unfinished(world: World, under_way: UnderWay, policy: str):
    await world.provision(project={"while_thinking": policy})
    first = await begin(world, "One")
    if under_way == "awaiting":
        assert await world.answer(first, LATER) == "awaiting"
    await world.hear("Two", now=second(1))

    for at in (minute for n in range(1, 20) if (minute := second(60 * n))):
        await world.rescue_turns(now=at)
        await world.think(now=at, engine=EngineDouble("Here."))

    assert {found.state for found in await world.turns()} == {"ended"}
    expected = {
        ("thinking", "restart"): ["Here."],
        ("thinking", "queue"): ["Here.", "Here."],  # its worker was gone, and both were one turn
        ("thinking", "ignore"): ["Here."],
        ("awaiting", "restart"): ["Here."],
        ("awaiting", "queue"): [FALLBACK, "Here."],
        ("awaiting", "ignore"): [FALLBACK],
    }
    if (under_way, policy) == ("thinking", "queue"):
        assert await said(world) == ["Here."]
    else:
        assert await said(world) == expected[under_way, policy]
