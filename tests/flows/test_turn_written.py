"""An answer that is one text and nothing else is written at once, as any other is in steps."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support.asked import asked_of
from tests.support.deployment import NEIGHBOUR, minute, second
from tests.support.rows_read import forget_counts, rows_read
from tests.support.stored import stored
from tests.support.webhooks import Postman
from tests.support.world import World
from textback.core.engine import TurnReply, Usage
from textback.core.phone import Phone
from textback.db import conversations, thinking

USED = Usage(input_tokens=100, output_tokens=20, cost_usd=0.25)
FIRST = "\u201cOne\u201d" + " and so on" * 8  # one segment when it is written plainly, and else two


async def answered(world: World, user: Phone, *texts: str) -> str:
    await world.hear("Hello", user=user)
    (turn,) = await world.claim_turns(now=second(2))
    reply = TurnReply(texts=texts, state={"node": "menu"}, usage=USED)
    assert await world.answer(turn, reply, now=second(3)) == "answered"
    return turn.conversation_id


async def test_it_is_written_as_the_first_of_two_is(world: World) -> None:
    await Postman(world).endpoint()
    both = await stored(world, await answered(world, NEIGHBOUR, FIRST, "Two"))
    one = await stored(world, await answered(world, Phone("+14155550188"), FIRST))

    assert both["messages"].pop()["text"] == "Two"
    assert both["events"].pop()["kind"] == "message.queued"
    assert both["webhook_deliveries"].pop()["state"] == "waiting"
    for rows in (both, one):
        seq, upto = rows["conversations"][0].pop("heard_seq"), rows["turns"][0].pop("upto_seq")
        assert seq == upto != 0
        assert rows["messages"].pop(0)["text"] == "Hello"
    assert one == both
    assert one["messages"][0]["segments_saved"] == 1


async def test_the_usual_answer_takes_two_round_trips(world: World) -> None:
    await world.hear("Hello")
    (turn,) = await world.claim_turns(now=second(2))
    async with asked_of(world.db) as asked:
        assert await world.answer(turn, "Yes?", now=second(3)) == "answered"
    assert [each.split()[0] for each in asked] == ["select", "with"]


async def test_each_is_counted_to_its_conversation_and_to_the_day(world: World) -> None:
    for n in range(3):
        await answered(world, Phone(f"+1415555018{n}"), "Yes?")
    rows = await Postman(world).rows("select turns, tokens, cost_usd from usage_days")
    assert [tuple(row.values()) for row in rows] == [(3, 360, 0.75)]
    talks = await Postman(world).rows("select turns_taken, tokens_used from conversations")
    assert [tuple(row.values()) for row in talks] == [(1, 120)] * 3


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ("again_at = '2026-03-02 09:00:09Z'", "restarted"),
        ("state = 'waiting', due_at = now(), lease_until = null, upto_seq = null", None),
        ("run = run + 1", None),
    ],
    ids=["the user said more", "its lease was lost", "it runs elsewhere"],
)
async def test_what_became_of_the_turn_while_its_conversation_was_locked_is_seen(
    world: World, change: str, outcome: str | None
) -> None:
    await world.hear("Hello")
    (turn,) = await world.claim_turns(now=second(2))
    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await conversations.lock(c, turn.conversation_id)
        answer = group.create_task(world.answer(turn, "Yes?", now=second(3)))
        await world.blocked(1)
        await c.execute(text(f"update turns set {change}"))  # noqa: S608 - ours
    assert answer.result() == outcome
    assert [each.text for each in await world.ours()] == []


@pytest.fixture
async def one(world: World) -> AsyncGenerator[AsyncConnection]:
    """A connection that keeps its plans."""
    async with world.db.connect() as c:
        yield c


async def test_a_claim_reads_what_it_takes_however_much_there_is(
    world: World, one: AsyncConnection
) -> None:
    """Its plans are from when there was little, and nothing was counted since."""

    async def claim() -> int:
        found = await thinking.claim(one, now=minute(9), lease=timedelta(minutes=1), limit=5)
        await one.commit()
        return len(found)

    await forget_counts(one)
    for n in range(6):
        await world.hear("Hello", user=Phone(f"+141555502{n:02}"), now=second(n))
        assert await claim() == 1
    async with world.transaction() as c:
        for statement in _MORE:
            await c.execute(text(statement), {"many": MANY})
    await world.hear("Hello", user=NEIGHBOUR, now=minute(1))
    before = {table: await rows_read(one, table) for table in _READ}
    assert await claim() == 1
    read = {table: await rows_read(one, table) - before[table] for table in _READ}
    assert sum(read.values()) < 20, read


MANY = 3000
_READ = ("turns", "conversations", "messages", "agent_versions", "projects", "tool_calls")
_MORE = (
    """
    insert into conversations (id, account_id, project_id, agent_id, agent_version, agent_number,
        user_number, state, opened_at, active_at, closed_at, reason)
    select c.id || n, account_id, project_id, agent_id, agent_version, agent_number,
        '+1212' || lpad(n::text, 7, '0'), 'closed', opened_at, active_at, now(), 'idle'
    from (select * from conversations limit 1) c, generate_series(1, :many) n
    """,
    """
    insert into turns (id, conversation_id, state, first_text_at, ended_at, outcome)
    select 'ended_' || c.id, c.id, 'ended', opened_at, now(), 'answered'
    from conversations c where c.state = 'closed'
    """,
    """
    insert into messages (id, conversation_id, project_id, carrier_id, agent_number, user_number,
        direction, state, kind, text, created_at, carrier_message_id)
    select 'more_' || c.id, c.id, m.project_id, m.carrier_id, m.agent_number, c.user_number,
        'inbound', 'received', 'text', 'Hello', m.created_at, 'SM' || c.id
    from conversations c, (select * from messages where direction = 'inbound' limit 1) m
    where c.state = 'closed'
    """,
    """
    insert into tool_calls (id, turn_id, conversation_id, name, arguments, began_at)
    select 'call_' || t.id, t.id, t.conversation_id, 'look', '{}', now()
    from turns t where state = 'ended'
    """,
)
