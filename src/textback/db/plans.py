"""Questions that edges ask about planned sends and batches; nothing here changes anything."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, Select, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.commands import SendText
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.db.session import transaction
from textback.db.tables import batches, messages, planned_sends

COMMAND = TypeAdapter(SendText)


@frozen
class PlannedSend:
    """A send that is, or was, not due at once; or a row of a batch."""

    id: str
    """Also of the text that it becomes."""
    conversation_id: str
    """The one it will open, or opened or went on with."""
    account_id: str
    project_id: str
    connector_id: str | None
    environment: str
    batch_id: str | None
    row: int | None
    """Of the batch, from 1."""
    user_number: str
    """As given, if it is no number."""
    agent_number: str | None
    text: str | None
    variables: Mapping[str, Any]
    metadata: Mapping[str, Any]
    send_at: datetime | None
    ignores_quiet_hours: bool
    dialect: str
    extra: Mapping[str, Any]
    state: str
    """planned, accepted, refused or cancelled."""
    planned_for: datetime | None
    """While it is planned."""
    why: str | None
    """scheduled, quiet_hours or batch: why it is, or was, not sent at once."""
    created_at: datetime
    ended_at: datetime | None
    problem: str | None
    """Of a refused one: the refusal's name."""
    error: str | None
    """And its sentence."""
    message_state: str | None = None
    """What became of the text of an accepted one."""
    message_error: str | None = None
    message_error_code: str | None = None
    carrier_message_id: str | None = None
    sent_at: datetime | None = None


@frozen
class BatchRecord:
    id: str
    account_id: str
    project_id: str
    connector_id: str | None
    environment: str
    name: str | None
    state: str
    """draft, running, paused, cancelled or done."""
    total: int
    """Rows, also the refused ones."""
    created_at: datetime
    send_at: datetime | None
    ended_at: datetime | None
    dialect: str
    agent_number: str | None
    agent_id: str | None
    """If one was named."""
    text: str | None
    extra: Mapping[str, Any]


@frozen
class Progress:
    """How many rows of a batch are where. `accepted` is the sum of those after it."""

    planned: int = 0
    held: int = 0
    """Of the planned ones, those that wait for a moment: scheduled, or for quiet hours to end."""
    refused: int = 0
    cancelled: int = 0
    accepted: int = 0
    queued: int = 0
    """Also those a worker has, and those in doubt."""
    sent: int = 0
    delivered: int = 0
    failed: int = 0
    suppressed: int = 0


async def find(db: AsyncEngine, account_id: AccountId, send_id: str) -> PlannedSend | None:
    """Whatever became of it; None: the account has no such one."""
    async with transaction(db) as c:
        return await get(c, account_id, send_id)


async def get(c: AsyncConnection, account_id: AccountId, send_id: str) -> PlannedSend | None:
    t = planned_sends.c
    found = await c.execute(_sends().where(t.id == send_id, t.account_id == account_id))
    row = found.mappings().one_or_none()
    return None if row is None else _send(row)


async def list_sends(
    db: AsyncEngine,
    account_id: AccountId,
    *,
    limit: int,
    before: str | None = None,
    project_id: str | None = None,
    state: str | None = None,
) -> list[PlannedSend]:
    """The latest first, without rows of batches; `before`: an id, and only those made before it."""
    t = planned_sends.c
    query = _sends().where(t.account_id == account_id, t.batch_id.is_(None))
    for column, wanted in ((t.project_id, project_id), (t.state, state)):
        query = query if wanted is None else query.where(column == wanted)
    if before is not None:
        query = query.where(t.id < before)
    async with transaction(db) as c:
        found = await c.execute(query.order_by(t.id.desc()).limit(limit))
        return [_send(row) for row in found.mappings()]


async def find_batch(db: AsyncEngine, account_id: AccountId, batch_id: str) -> BatchRecord | None:
    async with transaction(db) as c:
        return await get_batch(c, account_id, batch_id)


async def get_batch(c: AsyncConnection, account_id: AccountId, batch_id: str) -> BatchRecord | None:
    t = batches.c
    found = await c.execute(select(batches).where(t.id == batch_id, t.account_id == account_id))
    row = found.mappings().one_or_none()
    return None if row is None else _batch(row)


async def list_batches(
    db: AsyncEngine,
    account_id: AccountId,
    *,
    limit: int,
    before: str | None = None,
    offset: int = 0,
    project_id: str | None = None,
    state: str | None = None,
    dialect: str | None = None,
) -> list[BatchRecord]:
    """The latest first; `before`: an id, and only those made before it."""
    t = batches.c
    query = select(batches).where(t.account_id == account_id)
    for column, wanted in ((t.project_id, project_id), (t.state, state), (t.dialect, dialect)):
        query = query if wanted is None else query.where(column == wanted)
    if before is not None:
        query = query.where(t.id < before)
    query = query.order_by(t.id.desc()).limit(limit).offset(offset)
    async with transaction(db) as c:
        return [_batch(row) for row in (await c.execute(query)).mappings()]


async def progress(
    db: AsyncEngine, batch_ids: Sequence[str], *, now: datetime
) -> Mapping[str, Progress]:
    """Counted from their rows: up to 10,000 each, so ask for few."""
    async with transaction(db) as c:
        return await count(c, batch_ids, now=now)


async def count(
    c: AsyncConnection, batch_ids: Sequence[str], *, now: datetime
) -> dict[str, Progress]:
    t, m = planned_sends.c, messages.c
    unsent = case((m.state.in_(["queued", "sending", "uncertain"]), "queued"), else_=m.state)
    # What the agent says by itself, in a conversation that it goes on with, has other ids.
    became = func.coalesce(unsent, "sent")
    held = case((t.due_at > now, "held"), else_="planned")
    kind = case((t.state == "accepted", became), (t.state == "planned", held), else_=t.state)
    rows = await c.execute(
        select(t.batch_id, kind.label("kind"), func.count().label("n"))
        .select_from(planned_sends.outerjoin(messages, (m.id == t.id) & (t.state == "accepted")))
        .where(t.batch_id.in_(batch_ids))
        .group_by(t.batch_id, kind)
    )
    counts: dict[str, dict[str, int]] = {each: {} for each in batch_ids}
    for row in rows:
        counts[row.batch_id][row.kind] = row.n
    return {each: _progress(found) for each, found in counts.items()}


async def rows(
    db: AsyncEngine,
    batch_id: str,
    *,
    limit: int,
    after: int = 0,
    state: str | None = None,
) -> list[PlannedSend]:
    """In order, from behind row `after`, with what became of their texts."""
    t = planned_sends.c
    query = _sends().where(t.batch_id == batch_id, t.row > after).order_by(t.row).limit(limit)
    async with transaction(db) as c:
        found = await c.execute(query if state is None else query.where(t.state == state))
        return [_send(row) for row in found.mappings()]


def whole(of_batch: Mapping[str, Any] | None, own: Mapping[str, Any]) -> dict[str, Any]:
    """A command as it was stored: what a row has of its own goes before what its batch has."""
    return {**(of_batch or {}), **own}


def _progress(counted: Mapping[str, int]) -> Progress:
    became = {"queued", "sent", "delivered", "failed", "suppressed"}
    accepted = sum(n for kind, n in counted.items() if kind in became)
    planned = counted.get("planned", 0) + counted.get("held", 0)
    return Progress(**{**counted, "planned": planned, "accepted": accepted})


def _sends() -> Select[Any]:
    t, m = planned_sends, messages
    shared = batches.c.command.label("shared")
    became = [
        m.c.state.label("message_state"),
        m.c.error.label("message_error"),
        m.c.error_code.label("message_error_code"),
        m.c.carrier_message_id,
        m.c.sent_at,
    ]
    tables = t.outerjoin(batches, batches.c.id == t.c.batch_id).outerjoin(m, m.c.id == t.c.id)
    return select(t, shared, *became).select_from(tables)


_SEND = [f.name for f in fields(PlannedSend)]
_OF_COMMAND = ("agent_number", "text", "variables", "metadata", "ignores_quiet_hours", "dialect",
               "extra")  # fmt: skip


def _send(row: RowMapping) -> PlannedSend:
    command = whole(row["shared"], row["command"])
    columns = {name: row[name] for name in _SEND if name in row}
    send_at = command["send_at"]
    return PlannedSend(
        **columns,
        **{name: command[name] for name in _OF_COMMAND},
        send_at=None if send_at is None else datetime.fromisoformat(send_at),
        planned_for=row["due_at"],
    )


def _batch(row: RowMapping) -> BatchRecord:
    command = row["command"]
    columns = {f.name: row[f.name] for f in fields(BatchRecord) if f.name in row}
    return BatchRecord(
        **columns,
        agent_number=command["agent_number"],
        agent_id=command["agent"]["agent_id"],
        text=command["text"],
    )
