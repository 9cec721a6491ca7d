"""A text that waits for others who have to do with its pair: what they did meanwhile counts."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.support.asked import asked_of
from tests.support.deployment import AGENT, CARRIER, NEIGHBOUR, NOW, USER, second
from tests.support.world import World
from textback.core.ports import Inbound
from textback.db import locks, thinking
from textback.db.book import Book
from textback.flows import inbound

BUDGET = {"replies": 1, "per_seconds": 3600}
HOLD = text("select from conversations where id = :id for no key update")


@pytest.mark.parametrize("before", [[], ["One"]])
async def test_it_comes_to_the_conversation_that_was_opened_meanwhile(
    world: World, before: list[str]
):
    for opener in before:
        await world.accept(opener)
    async with asyncio.TaskGroup() as group:
        async with world.transaction() as c:
            await locks.pair(c, AGENT, USER)
            accept = group.create_task(world.accept("Two", now=second(1)))
            await world.blocked(1)
            hear = group.create_task(world.hear("Hello", now=second(2)))
            await world.blocked(2)
        accepted, heard = await accept, await hear
    assert (heard.outcome, heard.conversation_id) == ("heard", accepted.conversation_id)
    assert [(live.id, live.state) for live in await world.live()] == [
        (accepted.conversation_id, "engaged")
    ]
    assert [due.conversation_id for due in await world.waiting()] == [accepted.conversation_id]


async def test_first_texts_wait_for_each_other_where_there_is_no_conversation(world: World):
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await locks.pair(c, AGENT, USER)
        hears = [group.create_task(world.hear(f"Text {n}")) for n in range(3)]
        other = group.create_task(world.hear("Hello", user=NEIGHBOUR))
        await world.blocked(3)
        assert (await other).outcome == "heard"
        assert not any(hear.done() for hear in hears)
    assert len({hear.result().conversation_id for hear in hears}) == 1


async def test_it_opens_a_conversation_when_its_own_was_closed_meanwhile(world: World):
    accepted = await world.accept()
    async with asyncio.TaskGroup() as group:
        async with world.transaction() as c:
            await c.execute(HOLD, {"id": accepted.conversation_id})
            group.create_task(world.end(accepted.conversation_id, now=second(1)))
            await world.blocked(1)
            hear = group.create_task(world.hear("Hello", now=second(2)))
            await world.blocked(2)
        heard = await hear
    assert heard.outcome == "heard"
    assert [(talk.id, talk.state) for talk in await world.talks()] == [
        (accepted.conversation_id, "closed"),
        (heard.conversation_id, "engaged"),
    ]


async def test_a_reply_that_was_written_meanwhile_counts_against_the_budget(world: World):
    await world.provision(project={"reply_budget": BUDGET, "while_thinking": "queue"})
    first = await world.hear("One")
    (thinking,) = await world.claim_turns()
    async with asyncio.TaskGroup() as group:
        async with world.transaction() as c:
            await c.execute(HOLD, {"id": first.conversation_id})
            group.create_task(world.answer(thinking, "Yes.", now=second(1)))
            await world.blocked(1)
            hear = group.create_task(world.hear("Two", now=second(2)))
            await world.blocked(2)
        heard = await hear
    assert (heard.outcome, heard.why) == ("unanswered", "reply_budget")
    assert await world.waiting() == []


@pytest.mark.parametrize(
    ("while_thinking", "recorded", "said"),
    [
        ("restart", "restarted", ["You said: One\nTwo"]),
        ("queue", "answered", ["Yes.", "You said: Two"]),
        ("ignore", "answered", ["Yes."]),
    ],
)
async def test_a_turn_that_begins_meanwhile_is_one_that_thinks(
    world: World, while_thinking: str, recorded: str, said: list[str]
):
    await world.provision(project={"while_thinking": while_thinking})
    await world.hear("One")
    async with asyncio.TaskGroup() as group:
        async with world.transaction() as c:
            (held,) = await thinking.claim(c, now=NOW, lease=timedelta(seconds=30), limit=9)
            hear = group.create_task(world.hear("Two", now=second(1)))
            await world.blocked(1)
        assert (await hear).outcome == "heard"
    assert await world.answer(held, "Yes.", now=second(2)) == recorded
    await world.think(now=second(2))
    assert [text.text for text in await world.ours()] == said


async def test_the_usual_text_takes_two_round_trips(world: World):
    """One that is heard in a live conversation, while its agent does not think."""
    await world.accept()
    book = Book(world.db, clock=lambda: 0.0)
    book.confirm(0.0)

    async def hear(n: int, user: str = USER) -> list[str]:
        said = Inbound(
            carrier_message_id=f"IN{n}", agent_number=AGENT, user_number=user, text=f"Text {n}"
        )
        async with asked_of(world.db) as asked:
            heard = await inbound.hear(world.db, CARRIER, said, look=book, now=second(n))
        assert heard.outcome == "heard"
        return [each.split()[0] for each in asked]

    usual, locked = ["with", "with"], ["BEGIN;", "with", "with", "with", "COMMIT;"]
    assert len(await hear(0, NEIGHBOUR)) > len(locked)  # it opens a conversation
    assert await hear(1) == usual  # and begins a turn
    assert await hear(2) == usual  # and puts it off
    await world.claim_turns(now=second(2))
    assert await hear(3) == ["with", *locked]  # and has it begin again
