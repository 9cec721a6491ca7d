"""What agents used, by conversation and by the project's day."""

from datetime import date, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.budget import Spent
from textback.core.ids import ConversationId, ProjectId
from textback.db.driver import Statement
from textback.db.tables import usage_days

d = usage_days.c


def counting(rows: str, only: str = "true") -> str:
    """A statement that adds to projects' days what `rows` say for which `only` holds.

    They have a project, its day, turns, tokens and cost.
    """
    return f"""
    insert into usage_days as d (project_id, day, turns, tokens, cost_usd)
    select project, day, sum(turns), sum(tokens), sum(cost)
    from {rows}
    where {only}
    group by project, day
    order by project, day
    on conflict (project_id, day) do update set turns = d.turns + excluded.turns,
        tokens = d.tokens + excluded.tokens, cost_usd = d.cost_usd + excluded.cost_usd
"""  # noqa: S608 - our own words


_ONE: Final = """
    (select cast(:project as text) as project, cast(:day as date) as day,
        cast(:turns as int) as turns, cast(:tokens as bigint) as tokens,
        cast(:cost as float) as cost) one
"""
_ADD: Final = Statement(f"""
    with talk as (
        update conversations set turns_taken = turns_taken + cast(:turns as int),
            tokens_used = tokens_used + cast(:tokens as bigint),
            cost_usd = cost_usd + cast(:cost as float)
        where id = :conversation
    )
    {counting(_ONE)}
""")  # noqa: S608 - our own words


async def add(
    c: AsyncConnection,
    conversation_id: ConversationId,
    project_id: ProjectId,
    spent: Spent,
    *,
    day: date,
) -> None:
    """Call it last, with the conversation locked: all turns of a project meet at the day's row."""
    given = {"conversation": conversation_id, "project": project_id, "day": day}
    used = {"turns": spent.turns, "tokens": spent.tokens, "cost": spent.cost_usd}
    await _ADD.rows(c, **given, **used)


async def of_day(c: AsyncConnection, project_id: ProjectId, day: date) -> Spent:
    row = (
        await c.execute(
            select(d.turns, d.tokens, d.cost_usd).where(d.project_id == project_id, d.day == day)
        )
    ).one_or_none()
    if row is None:
        return Spent()
    return Spent(turns=row.turns, tokens=row.tokens, cost_usd=row.cost_usd)


async def tell(c: AsyncConnection, project_id: ProjectId, day: date, *, now: datetime) -> bool:
    """Whether it has yet to be said that the day's budget is used up; from now on it was."""
    first = await c.scalar(
        insert(usage_days)
        .values(project_id=project_id, day=day, told_at=now)
        .on_conflict_do_update(
            index_elements=[d.project_id, d.day],
            set_={"told_at": now},
            where=d.told_at.is_(None),
        )
        .returning(d.day)
    )
    return first is not None
