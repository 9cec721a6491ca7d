"""The rows of a batch: adding them all, and ending many at once."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Planned
from textback.core.frozen import frozen
from textback.core.ids import BatchId, ConversationId, MessageId
from textback.db.tables import planned_sends as t

EXPIRED = "It could not be sent in time: its validity was over before its turn came."


@frozen
class NewRow:
    """Of a batch."""

    id: MessageId
    conversation_id: ConversationId
    row: int
    user_number: str
    own: Mapping[str, Any]
    """What its command has of its own."""
    due_at: datetime | None
    """None: it is refused."""
    why: Planned | None
    problem: str | None
    error: str | None


_MANY: Final = 1000
"""Rows in one statement."""

_ADD_ROWS: Final = text("""
    insert into planned_sends (id, conversation_id, account_id, project_id, connector_id,
        environment, batch_id, "row", user_number, command, state, due_at, why, created_at,
        ended_at, problem, error)
    select r.id, r.conversation_id, b.account_id, b.project_id, b.connector_id, b.environment, b.id,
        r.row, r.user_number, r.own, case when r.due_at is null then 'refused' else 'planned' end,
        r.due_at, r.why, :now, case when r.due_at is null then cast(:now as timestamptz) end,
        r.problem, r.error
    from batches b, jsonb_to_recordset(cast(:rows as jsonb)) as r(id text, conversation_id text,
        "row" int, user_number text, own jsonb, due_at timestamptz, why text, problem text,
        error text)
    where b.id = :batch_id
    order by r.row
""")


async def add_rows(
    c: AsyncConnection, batch_id: BatchId, rows: Sequence[NewRow], *, now: datetime
) -> None:
    """In their order. The batch is there, and says whose they are."""
    for start in range(0, len(rows), _MANY):
        some = [
            {
                "id": r.id,
                "conversation_id": r.conversation_id,
                "row": r.row,
                "user_number": r.user_number,
                "own": r.own,
                "due_at": None if r.due_at is None else r.due_at.isoformat(),
                "why": r.why,
                "problem": r.problem,
                "error": r.error,
            }
            for r in rows[start : start + _MANY]
        ]
        values = {"batch_id": batch_id, "now": now, "rows": json.dumps(some, allow_nan=False)}
        await c.execute(_ADD_ROWS, values)


async def refused_at_once(c: AsyncConnection, batch_id: BatchId) -> list[Mapping[str, Any]]:
    """The rows of a batch that were wrong when it was made: row, to, problem, error."""
    found = await c.execute(
        select(t.c.row, t.c.user_number.label("to"), t.c.problem, t.c.error)
        .where(t.c.batch_id == batch_id, t.c.state == "refused", t.c.ended_at == t.c.created_at)
        .order_by(t.c.row)
    )
    return [dict(row) for row in found.mappings()]


async def cancel_rows(c: AsyncConnection, batch_id: BatchId, *, now: datetime) -> int:
    """How many there were to cancel."""
    done = await c.execute(
        update(t)
        .where(t.c.batch_id == batch_id, t.c.state == "planned")
        .values(state="cancelled", due_at=None, ended_at=now)
    )
    return done.rowcount


async def missed(
    c: AsyncConnection, batch_id: BatchId, *, due_before: datetime, limit: int, now: datetime
) -> list[MessageId]:
    """Refuse up to `limit` rows that were due before; gives their ids."""
    some = (
        select(t.c.id)
        .where(t.c.batch_id == batch_id, t.c.state == "planned", t.c.due_at < due_before)
        .order_by(t.c.due_at, t.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    gone = {
        "state": "refused",
        "due_at": None,
        "ended_at": now,
        "problem": "Expired",
        "error": EXPIRED,
    }
    done = await c.scalars(update(t).where(t.c.id.in_(some)).values(gone).returning(t.c.id))
    return [MessageId(each) for each in done]
