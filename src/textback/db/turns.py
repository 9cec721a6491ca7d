"""Turns: at most one waiting and one thinking per conversation, by unique index."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import turn as rule
from textback.core.events import Event
from textback.core.ids import AgentId, ConversationId, MessageId, TurnId, new_turn_id
from textback.db import events
from textback.db.tables import conversations
from textback.db.tables import turns as t
from textback.db.thinking import Thinking, begin

Outcome = Literal["answered", "silent", "failed", "dropped", "merged"]

UNDER_WAY = ("thinking", "awaiting")


async def text_came(
    c: AsyncConnection,
    conversation_id: ConversationId,
    *,
    now: datetime,
    delay: timedelta,
    not_before: datetime | None = None,
) -> None:
    """The user said something: put the waiting turn off until it is quiet, or begin one."""
    row = (
        await c.execute(
            select(t.c.id, t.c.first_text_at)
            .where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        due = rule.due_at(now=now, first_text_at=now, delay=delay)
        due = max(due, not_before or due)
        await _add(c, conversation_id, first_text_at=now, due_at=due, opener_id=None, now=now)
    else:
        due = rule.due_at(now=now, first_text_at=row.first_text_at, delay=delay)
        due = max(due, not_before or due)
        await c.execute(update(t).where(t.c.id == row.id).values(due_at=due))
        await events.wake(c, "turns")


async def agent_opens(
    c: AsyncConnection, conversation_id: ConversationId, opener_id: MessageId, *, now: datetime
) -> None:
    await _add(c, conversation_id, first_text_at=now, due_at=now, opener_id=opener_id, now=now)


async def claim_due(
    c: AsyncConnection,
    *,
    now: datetime,
    margin: timedelta,
    limit: int,
    except_agents: Sequence[AgentId] = (),
) -> list[Thinking]:
    """Take up to `limit` due turns, each with all that its engine needs.

    The lease is the engine's own deadline and `margin` for recording what came of it.
    """
    other = t.alias("other")
    rows = await c.execute(
        select(t.c.id)
        .join(conversations, conversations.c.id == t.c.conversation_id)
        .where(
            t.c.state == "waiting",
            t.c.due_at <= now,
            conversations.c.agent_id.not_in(except_agents),
            ~exists().where(
                other.c.conversation_id == t.c.conversation_id, other.c.state.in_(UNDER_WAY)
            ),
        )
        .order_by(t.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=t)
    )
    return [await begin(c, TurnId(row.id), now=now, margin=margin) for row in rows.all()]


async def is_held(c: AsyncConnection, turn: Thinking) -> bool:
    """Whether the lease still holds, as it will until the transaction ends."""
    found = await c.scalar(
        select(t.c.id)
        .where(t.c.id == turn.id, t.c.state == "thinking", t.c.lease_until == turn.lease_until)
        .with_for_update()
    )
    return found is not None


async def end(c: AsyncConnection, turn: Thinking, outcome: Outcome, *, now: datetime) -> bool:
    """Compare and set: False when the lease ran out and somebody else has taken the turn."""
    result = await c.execute(
        update(t)
        .where(t.c.id == turn.id, t.c.state == "thinking", t.c.lease_until == turn.lease_until)
        .values(state="ended", lease_until=None, ended_at=now, outcome=outcome)
    )
    return result.rowcount == 1


async def give_back(c: AsyncConnection, turn: Thinking, *, due_at: datetime) -> None:
    """Unfinished through no fault of the engine's: it runs again, or joins the one that waits.

    Call with the conversation locked.
    """
    if await is_held(c, turn):
        attempts = turn.attempts - 1
        await _wait_again(c, turn.id, turn.conversation_id, due_at=due_at, attempts=attempts)


async def leases_run_out(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Turns whose worker is gone wait again; gives how many."""
    rows = await c.execute(
        select(t.c.id, t.c.conversation_id, t.c.attempts)
        .join(conversations, conversations.c.id == t.c.conversation_id)
        .where(t.c.state == "thinking", t.c.lease_until <= now)
        .limit(limit)
        # The conversation too: a text that comes now may be making the waiting turn.
        .with_for_update(skip_locked=True, key_share=True, of=[t, conversations])
    )
    found = rows.all()
    for row in found:
        await _wait_again(c, row.id, row.conversation_id, due_at=now, attempts=row.attempts)
    return len(found)


async def drop_waiting(
    c: AsyncConnection, conversation_id: ConversationId, *, why: str, now: datetime
) -> None:
    """End the waiting turn, with its event."""
    dropped = await c.scalar(
        update(t)
        .where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
        .values(state="ended", due_at=None, ended_at=now, outcome="dropped")
        .returning(t.c.id)
    )
    if dropped is not None:
        data = {"turn_id": dropped, "why": why}
        event = Event(kind="turn.dropped", conversation_id=conversation_id, data=data)
        await events.append(c, [event], now=now)


async def is_pending(c: AsyncConnection, conversation_id: ConversationId) -> bool:
    """Whether the agent has yet to answer, or to open."""
    found = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state != "ended").limit(1)
    )
    return found is not None


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    return await c.scalar(
        select(func.min(t.c.due_at)).where(t.c.state == "waiting", t.c.due_at > now)
    )


async def _wait_again(
    c: AsyncConnection, turn_id: str, conversation_id: str, *, due_at: datetime, attempts: int
) -> None:
    waiting = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
    )
    if waiting is not None:  # it will hear everything this one would have
        values = {"state": "ended", "ended_at": due_at, "outcome": "merged"}
    else:
        values = {"state": "waiting", "due_at": due_at, "attempts": attempts}
    opener = await c.scalar(
        update(t)
        .where(t.c.id == turn_id)
        .values(lease_until=None, upto_seq=None, **values)
        .returning(t.c.opener_id)
    )
    if waiting is not None and opener is not None:  # and it keeps the promise
        await c.execute(update(t).where(t.c.id == waiting).values(opener_id=opener))
    await events.wake(c, "turns")


async def _add(
    c: AsyncConnection,
    conversation_id: ConversationId,
    *,
    first_text_at: datetime,
    due_at: datetime,
    opener_id: MessageId | None,
    now: datetime,
) -> None:
    await c.execute(
        insert(t).values(
            id=new_turn_id(now),
            conversation_id=conversation_id,
            state="waiting",
            first_text_at=first_text_at,
            due_at=due_at,
            opener_id=opener_id,
        )
    )
    await events.wake(c, "turns")
