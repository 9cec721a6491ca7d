"""Questions that edges ask about opt-outs. An account's are those of its numbers and projects.

The list goes by `ix_opt_outs_agent` of each, and stops at its limit.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, literal, select, true
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.optout import every_number_of
from textback.db.session import transaction
from textback.db.tables import numbers, opt_outs, projects


@frozen
class OptOutRecord:
    id: str
    agent_number: str
    """Or `project:ID`."""
    project_id: str
    """Of the number, or meant as a whole."""
    user_number: str
    opted_out_at: datetime
    source: str
    words: str | None
    reason: str | None
    opted_in_at: datetime | None
    """None: it stands."""
    opted_in_source: str | None
    opted_in_words: str | None
    opted_in_reason: str | None


@frozen
class OptOutFilter:
    """None: whatever it is."""

    id: str | None = None
    user_number: str | None = None
    agent_number: str | None = None
    project: str | None = None
    """Of all its numbers, and of itself as a whole."""
    standing: bool | None = None


async def list_opt_outs(
    db: AsyncEngine,
    account_id: AccountId,
    which: OptOutFilter,
    *,
    limit: int,
    before: str | None = None,
) -> list[OptOutRecord]:
    """The latest first; `before`: an id."""
    t = opt_outs.c
    of_numbers = (
        select(numbers.c.number.label("agent_number"), numbers.c.project_id)
        .join(projects, projects.c.id == numbers.c.project_id)
        .where(projects.c.account_id == account_id)
    )
    of_projects = select(
        (literal(every_number_of("")) + projects.c.id).label("agent_number"),
        projects.c.id.label("project_id"),
    ).where(projects.c.account_id == account_id)
    whose = of_numbers.union_all(of_projects).subquery("whose")
    mine = (
        select(*(t[name] for name in OptOutRecord.__dataclass_fields__ if name != "project_id"))
        .where(t.agent_number == whose.c.agent_number, *_where(which))
        .order_by(t.id.desc())
        .limit(limit)
        .correlate(whose)
    )
    if before is not None:
        mine = mine.where(t.id < before)
    page = mine.lateral("page")
    query = (
        select(page, whose.c.project_id)
        .select_from(whose.join(page, true()))
        .order_by(page.c.id.desc())
        .limit(limit)
    )
    if which.project is not None:
        query = query.where(whose.c.project_id == which.project)
    if which.agent_number is not None:
        query = query.where(whose.c.agent_number == which.agent_number)
    async with transaction(db) as c:
        return [OptOutRecord(**row) for row in (await c.execute(query)).mappings()]


async def find_opt_out(
    db: AsyncEngine, account_id: AccountId, opt_out_id: str
) -> OptOutRecord | None:
    """None: the account has no such one."""
    found = await list_opt_outs(db, account_id, OptOutFilter(id=opt_out_id), limit=1)
    return found[0] if found else None


def _where(which: OptOutFilter) -> list[ColumnElement[bool]]:
    t = opt_outs.c
    found: list[ColumnElement[bool]] = []
    if which.id is not None:
        found.append(t.id == which.id)
    if which.user_number is not None:
        found.append(t.user_number == which.user_number)
    if which.standing is not None:
        found.append(t.opted_in_at.is_(None) if which.standing else t.opted_in_at.is_not(None))
    return found
