"""Batches: adding and moving them, and whose turn it is."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import exists, func, literal, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Caller
from textback.core.frozen import frozen
from textback.core.ids import AccountId, BatchId, ProjectId
from textback.core.message import NEVER
from textback.core.phone import Phone
from textback.core.policy import Environment
from textback.db.tables import batches as t
from textback.db.tables import messages
from textback.db.tables import numbers as senders
from textback.db.tables import planned_sends as rows

BUSY = 1000
"""Texts that wait for a number, counted up to here: beyond it batches wait."""

State = Literal["draft", "running", "paused", "cancelled", "done"]


@frozen
class Held:
    """A batch, locked until the transaction ends: none of its rows is taken up meanwhile."""

    id: BatchId
    account_id: AccountId
    project_id: ProjectId
    state: State


@frozen
class Running:
    """A batch that has something to do. Not locked."""

    id: BatchId
    account_id: AccountId
    project_id: ProjectId
    environment: Environment
    agent_number: Phone | None
    is_worded: bool
    """Else the agent is to write each text."""
    served_at: datetime
    """When somebody last looked after it."""
    first_due: datetime | None
    """None: no row is planned any more."""


async def add(
    c: AsyncConnection,
    batch_id: BatchId,
    caller: Caller,
    *,
    name: str | None,
    state: State,
    total: int,
    send_at: datetime | None,
    dialect: str,
    command: Mapping[str, Any],
    extra: Mapping[str, object],
    now: datetime,
) -> None:
    await c.execute(
        insert(t).values(
            id=batch_id,
            account_id=caller.account_id,
            project_id=caller.project_id,
            connector_id=caller.connector_id,
            environment=caller.environment,
            name=name,
            state=state,
            total=total,
            created_at=now,
            send_at=send_at,
            served_at=now,
            dialect=dialect,
            command=command,
            extra=extra,
        )
    )


async def lock(c: AsyncConnection, account_id: AccountId, batch_id: str) -> Held | None:
    found = await c.execute(
        select(t.c.id, t.c.account_id, t.c.project_id, t.c.state)
        .where(t.c.id == batch_id, t.c.account_id == account_id)
        .with_for_update(key_share=True)
    )
    row = found.one_or_none()
    return (
        None
        if row is None
        else Held(
            id=BatchId(row.id),
            account_id=AccountId(row.account_id),
            project_id=ProjectId(row.project_id),
            state=row.state,
        )
    )


async def stays_running(c: AsyncConnection, batch_id: BatchId) -> bool:
    """Whether it runs; then it goes on to until the transaction ends."""
    found = await c.scalar(
        select(t.c.id).where(t.c.id == batch_id, t.c.state == "running").with_for_update(read=True)
    )
    return found is not None


async def moved(c: AsyncConnection, batch_id: BatchId, state: State, *, now: datetime) -> None:
    """To another state; the time before counts for no row that waits."""
    over = state in {"cancelled", "done"}
    values = {"state": state, "ended_at": now if over else None, "served_at": now}
    await c.execute(update(t).where(t.c.id == batch_id).values(values))
    if state == "running":
        waits = (rows.c.batch_id == batch_id, rows.c.state == "planned", rows.c.due_at < now)
        await c.execute(update(rows).where(*waits).values(due_at=now))


async def look(
    c: AsyncConnection, *, now: datetime, limit: int
) -> tuple[list[Running], datetime | None]:
    """Running batches with a row that is due, or without any; if none, when the next row is due.

    Whose account had its turn the longest ago comes first.
    """
    first = (
        select(rows.c.due_at)
        .where(rows.c.batch_id == t.c.id, rows.c.state == "planned")
        .order_by(rows.c.due_at)
        .limit(1)
        .correlate(t)
        .scalar_subquery()
    )
    given = t.c.command["text"].astext, t.c.command["template"].astext
    worded = or_(*(each.is_not(None) for each in given))
    running = (
        select(
            t.c.id,
            t.c.account_id,
            t.c.project_id,
            t.c.environment,
            t.c.served_at,
            t.c.command["agent_number"].astext.label("agent_number"),
            worded.label("is_worded"),
            first.label("first_due"),
        )
        .where(t.c.state == "running")
        .subquery()
    )
    r = running.c
    turn = func.max(r.served_at).over(partition_by=r.account_id)
    due = select(running).where(r.first_due.is_(None) | (r.first_due <= now))
    found = await c.execute(due.order_by(turn, r.account_id, r.served_at, r.id).limit(limit))
    if batches := [Running(**row) for row in found.mappings()]:
        return batches, None
    return [], await c.scalar(select(func.min(r.first_due)))


async def take(c: AsyncConnection, ids: Sequence[BatchId]) -> set[BatchId]:
    """Lock those that still run, and that nobody else works on this very moment."""
    found = await c.scalars(
        select(t.c.id)
        .where(t.c.id.in_(ids), t.c.state == "running")
        .order_by(t.c.id)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return {BatchId(each) for each in found}


async def served(c: AsyncConnection, ids: Sequence[BatchId], *, now: datetime) -> None:
    if ids:
        await c.execute(update(t).where(t.c.id.in_(ids)).values(served_at=now))


async def queued(
    c: AsyncConnection, numbers: Collection[Phone], *, promised: bool
) -> dict[Phone, int]:
    """Texts that wait for each number, counted up to `BUSY`; `promised`: also unwritten ones.

    Uncertain ones are not counted: they may stay so for days.
    """
    m, n = messages.c, senders.c
    waiting = (
        select(literal(1))
        .where(m.agent_number == n.number, m.state == "queued")
        .where(true() if promised else m.due_at < NEVER)
        .limit(BUSY)
        .correlate(senders)
        .subquery()
    )
    counted = select(func.count()).select_from(waiting).scalar_subquery()
    found = await c.execute(select(n.number, counted.label("n")).where(n.number.in_(numbers)))
    return {Phone(row.number): row.n for row in found}


async def finished(c: AsyncConnection, batch_id: BatchId, *, now: datetime) -> bool:
    """Done, if no row is planned any more. Call with it locked."""
    waits = exists().where(rows.c.batch_id == batch_id, rows.c.state == "planned")
    done = await c.execute(
        update(t)
        .where(t.c.id == batch_id, t.c.state == "running", ~waits)
        .values(state="done", ended_at=now)
    )
    return done.rowcount == 1
