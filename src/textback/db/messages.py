"""Outbound texts: adding, moving and finding them, and the claims that make the row the queue."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import and_, exists, func, insert, or_, select, true, update
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
    claim,
    dropped,
)
from textback.core.optout import every_number_of
from textback.core.phone import Phone
from textback.db import events, parts
from textback.db.message_rows import message_of, row_of, size_of, state_of, word_of
from textback.db.parts import Behind
from textback.db.tables import events as events_table
from textback.db.tables import messages as t
from textback.db.tables import opt_outs


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
            priority=1 if new.kind == "opener" else 0,  # a person waiting beats a campaign
            follows=behind.message_id if behind else None,
            part_wait=behind.wait if behind else None,
        )
    )
    await events.append(c, [facts.of_message(new)], now=now)
    await events.wake(c, "messages")


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
    if (event := facts.of_message(after)) != facts.of_message(before):
        await events.append(c, [event], now=now)
    # What waited behind it may go.
    if released or isinstance(after, Queued) or isinstance(before, Uncertain):
        await events.wake(c, "messages")


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


async def claim_due(
    c: AsyncConnection,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    except_numbers: Sequence[Phone] = (),
    except_carriers: Sequence[CarrierId] = (),
    only_carrier: CarrierId | None = None,
) -> tuple[list[Sending], list[Suppressed]]:
    """Take up to `limit` due texts: those to send, and those that must not be any more.

    Oldest first, replies before openers: `due_at` only says not before when, so that a text which
    was put off keeps its place. A new one is due at once, even if the clock that wrote it is ahead.

    A text that a worker held at the time of the opt-out is queued again, and dropped here.

    Per number pair only the oldest can be due, and only while none before it is under way or being
    settled: texts reach the carrier in the order they were accepted.
    """
    other = t.alias("other")
    of_pair = and_(other.c.agent_number == t.c.agent_number, other.c.user_number == t.c.user_number)
    # By value, not as `exists`: that may become a join, which is quadratic in what one pair queues.
    oldest = select(other.c.seq).where(of_pair, other.c.state == "queued")
    is_oldest = t.c.seq == oldest.order_by(other.c.seq).limit(1).scalar_subquery()
    under_way = exists().where(
        of_pair,
        or_(
            other.c.state == "sending",
            and_(other.c.state == "uncertain", other.c.look_up_at.is_not(None)),
        ),
    )
    of_all = every_number_of("") + t.c.project_id
    opted_out = exists().where(
        opt_outs.c.agent_number.in_([t.c.agent_number, of_all]),
        opt_outs.c.user_number == t.c.user_number,
        opt_outs.c.opted_in_at.is_(None),
        t.c.kind != "notice",  # it confirms the opt-out, or helps to end it
    )
    rows = await c.execute(
        select(t, opted_out.label("opted_out"))
        .where(t.c.state == "queued", or_(t.c.due_at <= now, t.c.due_at == t.c.created_at))
        .where(t.c.agent_number.not_in(except_numbers), t.c.carrier_id.not_in(except_carriers))
        .where(true() if only_carrier is None else t.c.carrier_id == only_carrier)
        .where(is_oldest, ~under_way)
        .order_by(t.c.priority, t.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True, of=t)
    )
    sending: list[Sending] = []
    late: list[Suppressed] = []
    for row in rows.mappings().all():
        queued = state_of(row)
        if not isinstance(queued, Queued):
            continue
        if row["opted_out"] or queued.expires_at <= now:
            reason: DropReason = "opted_out" if row["opted_out"] else "expired"
            late.append(dropped(queued, reason=reason, now=now))
            await save(c, queued, late[-1], now=now)
        else:
            sending.append(claim(queued, now=now, lease=lease))
    if sending:
        await c.execute(
            update(t)
            .where(t.c.id.in_([m.id for m in sending]))
            .values(
                state="sending",
                due_at=None,
                part_wait=None,
                claimed_at=now,
                lease_until=now + lease,
            )
        )
        await events.append(c, [facts.of_message(m) for m in sending], now=now)
    return sending, late


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
        await events.append(c, [facts.of_message(m) for m in late], now=now)
        await events.wake(c, "messages")  # what waited behind them may go
    return len(late)


async def claim_look_ups(
    c: AsyncConnection, *, now: datetime, lease: timedelta, limit: int
) -> list[Uncertain]:
    """Take up to `limit` uncertain texts that are due to be looked up, each for `lease`."""
    rows = await c.execute(
        select(t)
        .where(t.c.state == "uncertain", t.c.look_up_at <= now)
        .order_by(t.c.look_up_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    states = [state_of(row) for row in rows.mappings()]
    claimed = [replace(m, look_up_at=now + lease) for m in states if isinstance(m, Uncertain)]
    await c.execute(
        update(t).where(t.c.id.in_([m.id for m in claimed])).values(look_up_at=now + lease)
    )
    return claimed


async def leases_run_out(c: AsyncConnection, *, now: datetime, limit: int) -> list[Sending]:
    rows = await c.execute(
        select(t)
        .where(t.c.state == "sending", t.c.lease_until <= now)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [m for m in map(state_of, rows.mappings()) if isinstance(m, Sending)]


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    """When the next text that is not yet due will be."""
    later = select(func.min(t.c.due_at)).where(t.c.state == "queued", t.c.due_at > now)
    return await c.scalar(later)


async def next_look_up(c: AsyncConnection) -> datetime | None:
    return await c.scalar(select(func.min(t.c.look_up_at)).where(t.c.state == "uncertain"))


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
