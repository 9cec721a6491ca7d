"""What agents used, by conversation and by the project's day."""

from datetime import date, datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.budget import Spent
from textback.core.ids import ConversationId, ProjectId
from textback.db.tables import conversations, usage_days

d = usage_days.c


async def add(
    c: AsyncConnection,
    conversation_id: ConversationId,
    project_id: ProjectId,
    spent: Spent,
    *,
    day: date,
) -> None:
    """Call it last, with the conversation locked: all turns of a project meet at the day's row."""
    talk = conversations.c
    await c.execute(
        update(conversations)
        .where(talk.id == conversation_id)
        .values(
            turns_taken=talk.turns_taken + spent.turns,
            tokens_used=talk.tokens_used + spent.tokens,
            cost_usd=talk.cost_usd + spent.cost_usd,
        )
    )
    values = {"turns": spent.turns, "tokens": spent.tokens, "cost_usd": spent.cost_usd}
    await c.execute(
        insert(usage_days)
        .values(project_id=project_id, day=day, **values)
        .on_conflict_do_update(
            index_elements=[d.project_id, d.day],
            set_={name: d[name] + more for name, more in values.items()},
        )
    )


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
