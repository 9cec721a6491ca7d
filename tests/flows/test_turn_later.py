"""An answer that is posted later: recorded once, refused when too late, not waited for in vain."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.deployment import FALLBACK, HTTP, hour, second
from tests.support.world import World
from textback.core.engine import Later, TurnFailed, TurnReply, Usage
from textback.core.ids import TurnId
from textback.db.thinking import Thinking
from textback.flows import turn

WITHIN = timedelta(minutes=5)
LATER = Later(within=WITHIN)


async def await_it(world: World, text: str = "Hello") -> Thinking:
    await world.hear(text)
    (thinking,) = await world.claim_turns()
    assert await turn.await_answer(world.db, thinking, within=WITHIN, now=second(1)) == "awaiting"
    return thinking


async def said(world: World) -> list[str]:
    return [text.text for text in await world.ours()]


async def test_an_answer_that_is_posted_in_time_is_queued(world: World):
    thinking = await await_it(world)

    assert await world.post(thinking, "Hi", now=second(60)) == "recorded"

    assert await said(world) == ["Hi"]
    assert [found.outcome for found in await world.turns()] == ["answered"]


async def test_nobody_else_runs_a_turn_whose_answer_is_awaited(world: World):
    thinking = await await_it(world)

    await world.rescue_turns(now=thinking.lease_until + timedelta(seconds=1))

    assert await world.claim_turns(now=second(200)) == []
    assert await world.post(thinking, "Hi", now=second(200)) == "recorded"


async def test_an_answer_that_is_posted_again_changes_nothing(world: World):
    thinking = await await_it(world)
    await world.post(thinking, "Hi", now=second(2))

    assert await world.post(thinking, "Hi", now=second(3)) == "late"

    assert await said(world) == ["Hi"]


async def test_answers_that_are_posted_at_once_are_one(world: World):
    thinking = await await_it(world)

    async with asyncio.TaskGroup() as group:
        posts = [group.create_task(world.post(thinking, "Hi", now=second(2))) for _ in range(5)]

    assert sorted(str(post.result()) for post in posts) == ["late"] * 4 + ["recorded"]
    assert await said(world) == ["Hi"]


async def test_an_answer_may_overtake_the_word_that_it_comes_later(world: World):
    await world.hear("Hello")
    (thinking,) = await world.claim_turns()

    assert await world.post(thinking, "Hi", now=second(1)) == "recorded"
    assert await turn.await_answer(world.db, thinking, within=WITHIN, now=second(2)) is None

    assert await said(world) == ["Hi"]
    assert [found.state for found in await world.turns()] == ["ended"]


async def test_an_answer_is_taken_while_its_worker_cannot_renew_its_lease(world: World):
    """As after an outage of the database: nobody else has the turn, and the word may yet come."""
    await world.hear("Hello")
    (thinking,) = await world.claim_turns()
    late = thinking.lease_until + timedelta(seconds=1)

    assert await world.post(thinking, "Hi", now=late) == "recorded"
    assert await turn.await_answer(world.db, thinking, within=WITHIN, now=late) is None
    await world.rescue_turns(now=late)

    assert await world.claim_turns(now=hour(1)) == []
    assert await said(world) == ["Hi"]


async def test_an_answer_to_a_turn_that_was_taken_from_its_worker_is_refused(world: World):
    await world.hear("Hello")
    (thinking,) = await world.claim_turns()
    late = thinking.lease_until + timedelta(seconds=1)
    await world.rescue_turns(now=late)

    assert await world.post(thinking, "Hi", now=late) == "late"
    (again,) = await world.claim_turns(now=late)
    assert await world.post(thinking, "Hi", now=late) == "late"
    assert await world.answer(again, "Hello to you", now=late) == "answered"

    assert await said(world) == ["Hello to you"]


async def test_what_was_not_posted_in_time_fails_once_and_is_refused(world: World):
    thinking = await await_it(world)
    end = second(1) + WITHIN

    assert await world.post(thinking, "Hi", now=end) == "late"
    await world.rescue_turns(now=end)
    await world.rescue_turns(now=end)
    assert await world.post(thinking, "Hi", now=end) == "late"

    assert await said(world) == [FALLBACK]
    assert [found.outcome for found in await world.turns()] == ["failed"]
    assert "turn.failed" in await world.events(thinking.conversation_id)


async def test_an_overdue_opener_fails_without_a_word(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    (opening,) = await world.claim_turns()
    await world.answer(opening, LATER)

    await world.rescue_turns(now=hour(1))

    assert (await world.text(promised.message_id)).error_code == "agent_failed"
    assert (await world.talk(promised.conversation_id)).reason == "agent_failed"


async def test_an_opener_may_be_written_later(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    (opening,) = await world.claim_turns()
    await world.answer(opening, LATER)

    assert await world.post(opening, "Good morning.", now=second(9)) == "recorded"

    assert (await world.text(promised.message_id)).text == "Good morning."


async def test_who_says_more_while_the_answer_is_awaited_is_answered_to_everything(world: World):
    thinking = await await_it(world, "One")
    await world.hear("Two", now=second(2))

    assert await world.post(thinking, "To one", now=second(3)) == "late"
    (again,) = await world.claim_turns(now=second(3))
    await world.answer(again, LATER, now=second(4))
    assert await world.post(thinking, "To one", now=second(5)) == "late"
    assert await world.post(again, "To both", now=second(6)) == "recorded"

    assert again.heard == "One\nTwo"
    assert await said(world) == ["To both"]


async def test_a_word_that_it_comes_later_is_not_heard_when_the_user_said_more(world: World):
    await world.hear("One")
    (thinking,) = await world.claim_turns()
    await world.hear("Two", now=second(1))

    assert await world.answer(thinking, LATER, now=second(2)) == "restarted"

    (again,) = await world.claim_turns(now=second(2))
    assert again.heard == "One\nTwo"


async def test_an_answer_that_overtakes_but_came_too_late_for_what_the_user_said(world: World):
    await world.hear("One")
    (thinking,) = await world.claim_turns()
    await world.hear("Two", now=second(1))

    assert await world.post(thinking, "To one", now=second(2)) == "late"

    (again,) = await world.claim_turns(now=second(2))
    assert again.heard == "One\nTwo"


@pytest.mark.parametrize("how", ["STOP", "ended"])
async def test_an_answer_to_a_conversation_that_is_over_says_nothing(world: World, how: str):
    thinking = await await_it(world)
    if how == "STOP":
        await world.hear("STOP", now=second(2))
    else:
        await world.end(thinking.conversation_id, now=second(2))

    assert await world.post(thinking, "Hi", now=second(3)) == "late"

    assert "Hi" not in await said(world)
    assert [turn.outcome for turn in await world.turns()] == ["dropped"]


async def test_a_failure_that_is_posted_is_answered_with_the_fallback(world: World):
    thinking = await await_it(world)

    assert await world.post(thinking, TurnFailed("no"), now=second(2)) == "recorded"

    assert await said(world) == [FALLBACK]


@pytest.mark.parametrize("texts", [[" "], ["x" * 4000] * 2])
async def test_what_cannot_be_said_is_refused_and_a_better_answer_still_taken(
    world: World, texts: list[str]
):
    thinking = await await_it(world)

    refused = await world.post(thinking, TurnReply(texts=texts), now=second(2))
    assert isinstance(refused, TurnFailed)
    assert await world.post(thinking, "Hi", now=second(3)) == "recorded"

    assert await said(world) == ["Hi"]


async def test_no_other_run_and_no_other_turn_can_be_answered(world: World):
    thinking = await await_it(world)
    hi, now = TurnReply(texts=["Hi"]), second(2)

    assert await turn.answer_later(world.db, thinking.id, 2, hi, now=now) == "late"
    assert await turn.answer_later(world.db, TurnId("turn_x"), 1, hi, now=now) == "unknown"

    assert await said(world) == []
    assert await world.post(thinking, "Hi", now=second(3)) == "recorded"


@pytest.mark.parametrize(("within", "until"), [(timedelta(0), 1), (timedelta(days=9), 86_400)])
async def test_nothing_is_awaited_for_ever(world: World, within: timedelta, until: float):
    await world.hear("Hello")
    (thinking,) = await world.claim_turns()

    await world.answer(thinking, Later(within=within))

    (found,) = await world.turns()
    assert found.lease_until == second(until)


async def test_a_run_is_counted_once_whether_or_not_its_answer_comes_later(world: World):
    thinking = await await_it(world)
    used = TurnReply(texts=["Hi"], usage=Usage(input_tokens=7, output_tokens=2, cost_usd=0.5))
    await world.post(thinking, used, now=second(2))

    spent = await world.spent(thinking.conversation_id)
    assert (spent.turns, spent.tokens, spent.cost_usd) == (1, 9, 0.5)
