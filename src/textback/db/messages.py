"""Outbound texts: adding, moving and finding them, and the claims that make the row the queue."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import events as facts
from textback.core.errors import StaleError
from textback.core.ids import CarrierId, MessageId, ProjectId
from textback.core.message import (
    NEVER,
    Delivered,
    DropReason,
    Failed,
    Message,
    Queued,
    Sending,
    Sent,
    Suppressed,
    Uncertain,
    dropped,
)
from textback.core.phone import Phone
from textback.db import events, many, parts, traces
from textback.db.message_rows import (
    message_of,
    new_row,
    priority_of,
    row_of,
    size_of,
    state_of,
    word_of,
)
from textback.db.parts import Behind
from textback.db.tables import events as events_table
from textback.db.tables import messages as t

_IN_DOUBT: Final = t.c.uncertain_at.is_not(None)  # the words of the index of look-ups


async def add(
    c: AsyncConnection,
    new: Queued | Suppressed | Failed | Sent,
    *,
    project_id: ProjectId,
    saved: int = 0,
    behind: Behind | None = None,
    now: datetime,
) -> None:
    """Insert one outbound text, with its event. The caller holds the pair or the conversation.

    `saved`: segments that folding has saved. `behind`: the text before it, of the same answer.
    """
    await c.execute(
        insert(t).values(
            **row_of(new),
            **size_of(new, saved=saved),
            project_id=project_id,
            direction="outbound",
            priority=priority_of(new),
            follows=behind.message_id if behind else None,
            part_wait=behind.wait if behind else None,
            **traces.here(),
        )
    )
    await events.append(c, [facts.of_message(new)], now=now, wake="messages")


async def add_many(c: AsyncConnection, new: Sequence[tuple[Queued, ProjectId]]) -> None:
    """As `add`, of texts that follow no other, without events."""
    if new:
        rows = [new_row(text, project_id) for text, project_id in new]
        await many.insert(c, (t, rows), wake="messages")


async def save(
    c: AsyncConnection, before: Message, after: Message, *, saved: int = 0, now: datetime
) -> None:
    """Compare and set. Raises StaleError when the row is no longer in `before`'s state.

    A claim is known by its lease: a worker that wakes up late finds somebody else's, and yields.
    What follows `after` of the same answer goes at once, or a little later (`db/parts.py`).
    """
    where = [t.c.id == before.id, t.c.state == word_of(before)]
    if isinstance(before, Sending):
        where.append(t.c.lease_until == before.lease_until)
    if isinstance(before, Uncertain):
        where.append(t.c.look_up_at.is_not_distinct_from(before.look_up_at))
    values = row_of(after)
    if after.text != before.text:
        values |= size_of(after, saved=saved)
    change = update(t).where(*where).values(values)
    done, released = await parts.move_on(c, change, before, after, now=now)
    if not done:
        raise StaleError(before.id)
    is_news = (event := facts.of_message(after)) != facts.of_message(before)
    # What waited behind it may go.
    goes_on = released or isinstance(after, Queued) or isinstance(before, Uncertain)
    wake: events.Queue | None = "messages" if goes_on else None
    await events.append(c, [event] if is_news else (), now=now, wake=wake)


async def lock(c: AsyncConnection, message_id: MessageId) -> Message | None:
    row = (await c.execute(select(t).where(t.c.id == message_id).with_for_update())).mappings()
    return message_of(row.one_or_none())


async def id_of(
    c: AsyncConnection, carrier_id: CarrierId, carrier_message_id: str
) -> MessageId | None:
    found = await c.scalar(
        select(t.c.id).where(
            t.c.carrier_id == carrier_id, t.c.carrier_message_id == carrier_message_id
        )
    )
    return None if found is None else MessageId(found)


async def find(c: AsyncConnection, message_id: MessageId) -> Message | None:
    """Not locked: it may have moved on by the time it is looked at."""
    row = await c.execute(select(t).where(t.c.id == message_id))
    return message_of(row.mappings().one_or_none())


async def expired(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Drop up to `limit` that have words and are past their validity, whatever holds them back."""
    rows = await c.execute(
        select(t)
        .where(t.c.state == "queued", t.c.expires_at <= now, t.c.due_at < NEVER)
        .order_by(t.c.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    states = [state_of(row) for row in rows.mappings()]
    late = [dropped(m, reason="expired", now=now) for m in states if isinstance(m, Queued)]
    if late:
        gone = {"state": "suppressed", "due_at": None, "dropped_at": now, "drop_reason": "expired"}
        await c.execute(update(t).where(t.c.id.in_([m.id for m in late])).values(gone))
        # What waited behind them may go.
        await events.append(c, [facts.of_message(m) for m in late], now=now, wake="messages")
    return len(late)


async def claim_look_ups(
    c: AsyncConnection, *, now: datetime, lease: timedelta, limit: int
) -> list[Uncertain]:
    """Take up to `limit` uncertain texts that are due to be looked up, each for `lease`."""
    rows = await c.execute(
        select(t)
        .where(_IN_DOUBT, t.c.look_up_at <= now)
        .order_by(t.c.look_up_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    states = [state_of(row) for row in rows.mappings()]
    claimed = [replace(m, look_up_at=now + lease) for m in states if isinstance(m, Uncertain)]
    if claimed:
        ids = [m.id for m in claimed]
        await c.execute(update(t).where(t.c.id.in_(ids)).values(look_up_at=now + lease))
    return claimed


async def leases_run_out(c: AsyncConnection, *, now: datetime, limit: int) -> list[Sending]:
    rows = await c.execute(
        select(t)
        .where(t.c.state == "sending", t.c.lease_until <= now)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [m for m in map(state_of, rows.mappings()) if isinstance(m, Sending)]


async def next_look_up(c: AsyncConnection) -> datetime | None:
    return await c.scalar(select(func.min(t.c.look_up_at)).where(_IN_DOUBT))


async def drop_queued(
    c: AsyncConnection, agent: Phone, user: Phone, *, reason: DropReason, now: datetime
) -> None:
    """Drop what waits for the pair. What a worker already holds may still go out."""
    rows = await c.execute(
        select(t)
        .where(t.c.agent_number == agent, t.c.user_number == user, t.c.state == "queued")
        .order_by(t.c.seq)
        .with_for_update()
    )
    for queued in [state_of(row) for row in rows.mappings()]:
        if isinstance(queued, Queued):
            await save(c, queued, dropped(queued, reason=reason, now=now), now=now)


async def lock_queued(c: AsyncConnection, *, accepted_before: datetime, limit: int) -> list[Queued]:
    """Up to `limit` queued texts that have their words."""
    rows = await c.execute(
        select(t)
        .where(t.c.state == "queued", t.c.due_at < NEVER, t.c.created_at <= accepted_before)
        .order_by(t.c.priority, t.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [m for m in map(state_of, rows.mappings()) if isinstance(m, Queued)]


async def note_read(c: AsyncConnection, m: Delivered, *, now: datetime) -> None:
    """The user has seen it: told once, however often it is reported. Call with `m` locked."""
    e = events_table.c
    told = await c.scalar(select(e.id).where(e.message_id == m.id, e.kind == "message.read"))
    if told is None:
        await events.append(c, [facts.read(m)], now=now)
