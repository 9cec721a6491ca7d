"""Conversations that time alone will change: claimed when their deadline is reached."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.conversation import Closed, Live
from textback.core.ids import ProjectId
from textback.db.conversations import state_of
from textback.db.tables import conversations as t
from textback.db.tables import numbers


@dataclass(frozen=True, slots=True, kw_only=True)
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
