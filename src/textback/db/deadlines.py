"""Conversations that time alone will change: claimed when their deadline is reached."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, select, text, true
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import events as facts
from textback.core.conversation import NAMES, Closed, Conversation, Engaged, Live, Paused
from textback.core.errors import StaleError
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, ConversationId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.db.conversation_rows import row_of, state_of
from textback.db.tables import conversations as t
from textback.db.tables import numbers, turns

# As `conversations.save` does it for one.
_MOVE: Final = text("""
    update conversations c set
        state = n.state, active_at = n.active_at, warned_at = n.warned_at,
        paused_until = n.paused_until, closed_at = n.closed_at, reason = n.reason,
        deadline_at = n.deadline_at,
        analysis_due_at = case when n.state = 'closed' and n.was <> 'opened' and exists (
            select from agent_versions v where v.agent_id = c.agent_id
                and v.number = c.agent_version and v.analysis is not null
        ) then cast(:now as timestamptz) end
    from jsonb_to_recordset(cast(:rows as jsonb)) as n(
        id text, was text, state text, active_at timestamptz, warned_at timestamptz,
        paused_until timestamptz, closed_at timestamptz, reason text, deadline_at timestamptz)
    where c.id = n.id and c.state = n.was
""")
_MOVED: Final = (
    "id", "state", "active_at", "warned_at", "paused_until", "closed_at", "reason", "deadline_at",
)  # fmt: skip


@frozen
class Hold:
    """Nobody is taken to be silent while a reply may be lost that is still being looked for."""

    swept_since: datetime
    """Of numbers that were swept after this, nothing is missing."""
    over_if_due_by: datetime | None
    """Deadlines before this are held no longer."""


async def claim_due(
    c: AsyncConnection, *, now: datetime, limit: int, hold: Hold | None = None
) -> list[tuple[Live, ProjectId]]:
    """Locked until the commit; others that look at the same time get other rows."""
    rows = await c.execute(
        select(t)
        .where(t.c.deadline_at <= now, _is_free(hold))
        .order_by(t.c.deadline_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    due: list[tuple[Live, ProjectId]] = []
    for row in rows.mappings():
        state = state_of(row)
        if not isinstance(state, Closed):
            due.append((state, ProjectId(row["project_id"])))
    return due


def _is_free(hold: Hold | None) -> ColumnElement[bool]:
    if hold is None:
        return true()
    is_behind = (
        select(numbers.c.number)
        .where(
            numbers.c.number == t.c.agent_number,
            numbers.c.removed_at.is_(None),
            numbers.c.swept_until < hold.swept_since,
        )
        .exists()
    )
    if hold.over_if_due_by is None:
        return ~is_behind
    return (t.c.deadline_at <= hold.over_if_due_by) | ~is_behind


async def next_deadline(c: AsyncConnection, *, after: datetime) -> datetime | None:
    """The first to come. What is due and was left alone is looked at again by polling."""
    return await c.scalar(
        select(t.c.deadline_at).where(t.c.deadline_at > after).order_by(t.c.deadline_at).limit(1)
    )


async def awaited(c: AsyncConnection, ids: Collection[ConversationId]) -> set[ConversationId]:
    """Those in which the agent has yet to answer, or to open; as `turns.is_pending`."""
    found = select(turns.c.conversation_id).where(
        turns.c.conversation_id.in_(ids), turns.c.state != "ended"
    )
    return {ConversationId(each) for each in await c.scalars(found)}


async def carriers_of(c: AsyncConnection, of: Collection[Phone]) -> dict[Phone, CarrierId]:
    """As `tenants.carrier_of`."""
    rows = await c.execute(
        select(numbers.c.number, numbers.c.carrier_id).where(numbers.c.number.in_(of))
    )
    return {Phone(row.number): CarrierId(row.carrier_id) for row in rows}


async def save(
    c: AsyncConnection,
    moves: Sequence[tuple[Live, Conversation]],
    *,
    policies: Sequence[IdlePolicy],
    now: datetime,
) -> None:
    """Compare and set what time has changed, without events. Raises StaleError."""
    rows: list[dict[str, Any]] = []
    for (before, after), policy in zip(moves, policies, strict=True):
        row = row_of(after, policy)
        rows.append({name: row[name] for name in _MOVED} | {"was": NAMES[type(before)]})
    done = await c.execute(_MOVE, {"rows": to_json(rows).decode(), "now": now})
    if done.rowcount != len(moves):
        raise StaleError(moves[0][0].id)


def told(before: Live, after: Conversation) -> list[Event]:
    """What is told of it; of a deadline that was only put off nothing is."""
    if type(after) is type(before):
        return []
    if isinstance(before, Paused) and isinstance(after, Engaged):
        return [facts.resumed(after)]
    return [facts.of_conversation(after)]
