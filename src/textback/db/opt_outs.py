"""Who may not be texted from which number. Rows are kept: an opt-in ends one, never removes it.

One whose agent number is `project:ID` counts for every number of that project (ADR 26).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import AccountId, ProjectId, new_opt_out_id
from textback.core.optout import every_number_of, project_of
from textback.core.phone import Phone
from textback.db.tables import conversations, messages, numbers, projects
from textback.db.tables import opt_outs as t

Source = Literal["keyword", "carrier", "caller", "import"]


@frozen
class OptOut:
    id: str
    agent_number: Phone
    """Or `project:ID`."""
    user_number: Phone
    opted_in_at: datetime | None


async def stands(c: AsyncConnection, agent: Phone, user: Phone) -> bool:
    """Of this number, or of its whole project."""
    found = await c.scalar(
        select(t.c.id).where(t.c.user_number == user, _covers(agent), t.c.opted_in_at.is_(None))
    )
    return found is not None


async def of_project(c: AsyncConnection, project_id: str, user: Phone) -> list[Phone]:
    """What of the project `user` opted out of, the latest first: numbers, or all of them."""
    ours = select(numbers.c.number).where(numbers.c.project_id == project_id)
    found = await c.scalars(
        select(t.c.agent_number)
        .where(
            t.c.user_number == user,
            t.c.opted_in_at.is_(None),
            or_(t.c.agent_number.in_(ours), t.c.agent_number == every_number_of(project_id)),
        )
        .order_by(t.c.opted_out_at.desc())
    )
    return [Phone(n) for n in found]


async def decided_since(
    c: AsyncConnection, agent: Phone, user: Phone, *, since: datetime, opted_in: bool
) -> bool:
    """Whether the user opted in (or else out) after that moment.

    Only the user's own word opts in here: a caller's does not outweigh a STOP that came late.
    """
    when = t.c.opted_in_at if opted_in else t.c.opted_out_at
    query = select(t.c.id).where(t.c.user_number == user, _covers(agent), when > since)
    if opted_in:
        query = query.where(t.c.opted_in_carrier_message_id.is_not(None))
    return await c.scalar(query.limit(1)) is not None


async def opted_out(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    source: Source,
    words: str | None,
    carrier_message_id: str | None,
    reason: str | None = None,
    now: datetime,
) -> bool:
    """Record it; False when it already stood. `agent`: a number, or every one of a project."""
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
            reason=reason,
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
    """The user said so: end what stands of this number and of its project; False: nothing did."""
    result = await c.execute(
        update(t)
        .where(t.c.user_number == user, _covers(agent), t.c.opted_in_at.is_(None))
        .values(
            opted_in_at=now,
            opted_in_source="keyword",
            opted_in_words=words,
            opted_in_carrier_message_id=carrier_message_id,
        )
    )
    return result.rowcount > 0


async def end(c: AsyncConnection, opt_out_id: str, *, reason: str, now: datetime) -> bool:
    """A caller says that the user may be texted again; False: it had ended."""
    result = await c.execute(
        update(t)
        .where(t.c.id == opt_out_id, t.c.opted_in_at.is_(None))
        .values(opted_in_at=now, opted_in_source="caller", opted_in_reason=reason)
    )
    return result.rowcount == 1


async def find(c: AsyncConnection, opt_out_id: str) -> OptOut | None:
    return await _one(c, t.c.id == opt_out_id)


async def standing(c: AsyncConnection, agent: Phone, user: Phone) -> OptOut | None:
    """Of exactly this number, or of exactly this project."""
    return await _one(
        c, (t.c.user_number == user) & (t.c.agent_number == agent) & t.c.opted_in_at.is_(None)
    )


async def owner(c: AsyncConnection, account_id: AccountId, agent: Phone) -> ProjectId | None:
    """The project whose number it is, or that it stands for, if that is the account's."""
    named = project_of(agent)
    query = select(projects.c.id).where(projects.c.account_id == account_id)
    if named is None:
        query = query.join(numbers, numbers.c.project_id == projects.c.id)
        query = query.where(numbers.c.number == agent)
    else:
        query = query.where(projects.c.id == named)
    found = await c.scalar(query)
    return None if found is None else ProjectId(found)


async def touched(c: AsyncConnection, project_id: ProjectId, user: Phone) -> list[Phone]:
    """The numbers that the project and the user have, or may have, something to say by."""
    talked = select(conversations.c.agent_number).where(
        conversations.c.project_id == project_id, conversations.c.user_number == user
    )
    ours = select(numbers.c.number).where(numbers.c.project_id == project_id)
    found = await c.scalars(talked.union(ours))
    return sorted(Phone(n) for n in found)


async def busy(c: AsyncConnection, agents: Sequence[Phone], user: Phone) -> list[Phone]:
    """Of these numbers, those with something to end: a live conversation, or a text that waits."""
    talk, m = conversations.c, messages.c
    live = select(talk.agent_number).where(
        talk.user_number == user, talk.agent_number.in_(agents), talk.state != "closed"
    )
    waiting = select(m.agent_number).where(
        m.user_number == user, m.agent_number.in_(agents), m.state == "queued"
    )
    return sorted(Phone(n) for n in await c.scalars(live.union(waiting)))


def _covers(agent: Phone) -> ColumnElement[bool]:
    whole = (
        select(literal(every_number_of("")) + numbers.c.project_id)
        .where(numbers.c.number == agent)
        .scalar_subquery()
    )
    return or_(t.c.agent_number == agent, t.c.agent_number == whole)


async def _one(c: AsyncConnection, which: ColumnElement[bool]) -> OptOut | None:
    row = (
        await c.execute(
            select(t.c.id, t.c.agent_number, t.c.user_number, t.c.opted_in_at).where(which)
        )
    ).one_or_none()
    if row is None:
        return None
    return OptOut(
        id=row.id,
        agent_number=Phone(row.agent_number),
        user_number=Phone(row.user_number),
        opted_in_at=row.opted_in_at,
    )
