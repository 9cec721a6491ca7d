"""Who may not be texted from which number. Rows are kept: an opt-in ends one, never removes it."""

from datetime import datetime
from typing import Literal

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import new_opt_out_id
from textback.core.phone import Phone
from textback.db.tables import numbers
from textback.db.tables import opt_outs as t

Source = Literal["keyword", "carrier"]


async def stands(c: AsyncConnection, agent: Phone, user: Phone) -> bool:
    found = await c.scalar(
        select(t.c.id).where(
            t.c.user_number == user, t.c.agent_number == agent, t.c.opted_in_at.is_(None)
        )
    )
    return found is not None


async def of_project(c: AsyncConnection, project_id: str, user: Phone) -> list[Phone]:
    """The project's numbers that `user` opted out of, the latest first."""
    found = await c.scalars(
        select(t.c.agent_number)
        .join(numbers, numbers.c.number == t.c.agent_number)
        .where(
            t.c.user_number == user,
            t.c.opted_in_at.is_(None),
            numbers.c.project_id == project_id,
        )
        .order_by(t.c.opted_out_at.desc())
    )
    return [Phone(n) for n in found]


async def decided_since(
    c: AsyncConnection, agent: Phone, user: Phone, *, since: datetime, opted_in: bool
) -> bool:
    """Whether the user opted in (or else out) after that moment."""
    when = t.c.opted_in_at if opted_in else t.c.opted_out_at
    found = await c.scalar(
        select(t.c.id)
        .where(t.c.user_number == user, t.c.agent_number == agent, when > since)
        .limit(1)
    )
    return found is not None


async def opted_out(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    source: Source,
    words: str | None,
    carrier_message_id: str | None,
    now: datetime,
) -> bool:
    """Record it; False when it already stood."""
    result = await c.execute(
        insert(t)
        .values(
            id=new_opt_out_id(now),
            agent_number=agent,
            user_number=user,
            opted_out_at=now,
            source=source,
            words=words,
            carrier_message_id=carrier_message_id,
        )
        .on_conflict_do_nothing(
            index_elements=["user_number", "agent_number"], index_where=t.c.opted_in_at.is_(None)
        )
    )
    return result.rowcount == 1


async def opted_in(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    words: str,
    carrier_message_id: str,
    now: datetime,
) -> bool:
    """End the standing opt-out; False when there was none."""
    result = await c.execute(
        update(t)
        .where(t.c.user_number == user, t.c.agent_number == agent, t.c.opted_in_at.is_(None))
        .values(
            opted_in_at=now, opted_in_words=words, opted_in_carrier_message_id=carrier_message_id
        )
    )
    return result.rowcount == 1
