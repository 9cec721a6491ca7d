"""What an account has, for edges that show or choose it: its agents and its SMS numbers."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId
from textback.core.phone import Phone
from textback.db.session import transaction
from textback.db.tables import agent_versions, agents, carriers, conversations, numbers, projects


@frozen
class HeldAgent:
    id: str
    account_id: str
    source: str
    """file or api: who manages it."""
    extra: Mapping[str, Any]
    """What dialects keep of it."""
    engine: Mapping[str, Any]
    """Of its production version, without secrets."""
    greeting: str | None
    fallback: str | None
    created_at: datetime
    changed_at: datetime
    """When its production version was made."""


@frozen
class HeldNumber:
    number: str
    project_id: str
    environment: str
    agent_id: str
    """Who answers there, where nobody names an agent."""
    carrier_id: str
    carrier_kind: str
    source: str
    replies: bool
    registration: str | None
    config: Mapping[str, Any]
    """What dialects keep of it."""


async def agents_of(
    db: AsyncEngine, account_id: AccountId, *, limit: int, offset: int, oldest: bool = False
) -> list[HeldAgent]:
    """The newest first; or the oldest."""
    query = _agents(agents.c.account_id == account_id)
    if oldest:
        query = query.order_by(None).order_by(_FIRST.c.created_at, agents.c.id)
    async with transaction(db) as c:
        rows = await c.execute(query.limit(limit).offset(offset))
        return [_agent(row) for row in rows.mappings()]


async def agent(db: AsyncEngine, agent_id: str) -> HeldAgent | None:
    """Whosever it is; None also when it was removed."""
    if not agent_id.isprintable():  # Postgres takes no NUL, and an id has none
        return None
    async with transaction(db) as c:
        row = (await c.execute(_agents(agents.c.id == agent_id))).mappings().one_or_none()
    return None if row is None else _agent(row)


async def numbers_of(db: AsyncEngine, account_id: AccountId) -> list[HeldNumber]:
    """All that text by SMS."""
    async with transaction(db) as c:
        rows = await c.execute(_numbers(account_id))
        return [_number(row) for row in rows.mappings()]


async def number(db: AsyncEngine, account_id: AccountId, wanted: str) -> HeldNumber | None:
    if not wanted.isprintable():
        return None
    query = _numbers(account_id).where(numbers.c.number == wanted)
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else _number(row)


async def number_for(
    db: AsyncEngine, account_id: AccountId, agent_id: AgentId, user: Phone
) -> HeldNumber | None:
    """One of the agent's own: the one last used with this user, else the first by its digits."""
    last = (
        select(func.max(conversations.c.opened_at))
        .where(
            conversations.c.agent_number == numbers.c.number, conversations.c.user_number == user
        )
        .correlate(numbers)
        .scalar_subquery()
    )
    query = _numbers(account_id).where(_answers == agent_id)
    query = query.order_by(None).order_by(last.desc().nulls_last(), numbers.c.number).limit(1)
    async with transaction(db) as c:
        row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else _number(row)


_DEFAULTS = numbers.c.config["defaults"]  # `core.defaults`

_answers = func.coalesce(_DEFAULTS["agent_id"].astext, numbers.c.agent_id, projects.c.agent_id)


_FIRST = agent_versions.alias("first")


def _agents(which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    first, production = _FIRST, agent_versions.alias("production")
    return (
        select(
            agents.c.id,
            agents.c.account_id,
            agents.c.source,
            agents.c.extra,
            production.c.engine,
            production.c.greeting,
            production.c.fallback,
            first.c.created_at,
            production.c.created_at.label("changed_at"),
        )
        .join(first, (first.c.agent_id == agents.c.id) & (first.c.number == 1))
        .join(
            production,
            (production.c.agent_id == agents.c.id) & (production.c.number == agents.c.production),
        )
        .where(which, agents.c.removed_at.is_(None))
        .order_by(first.c.created_at.desc(), agents.c.id)
    )


def _numbers(account_id: AccountId) -> Select[*tuple[Any, ...]]:
    n = numbers.c
    return (
        select(
            n.number,
            n.project_id,
            n.environment,
            n.carrier_id,
            n.source,
            n.registration,
            n.config,
            (n.replies & (_DEFAULTS["replies"].astext.is_distinct_from("false"))).label("replies"),
            _answers.label("agent_id"),
            carriers.c.kind.label("carrier_kind"),
        )
        .join(projects, projects.c.id == n.project_id)
        .join(carriers, carriers.c.id == n.carrier_id)
        .where(
            projects.c.account_id == account_id,
            n.removed_at.is_(None),
            projects.c.removed_at.is_(None),
            n.number.regexp_match("^[+0-9]"),
        )
        .order_by(n.number)
    )


def _agent(row: RowMapping) -> HeldAgent:
    return HeldAgent(**{f.name: row[f.name] for f in fields(HeldAgent)})


def _number(row: RowMapping) -> HeldNumber:
    return HeldNumber(**{f.name: row[f.name] for f in fields(HeldNumber)})


@frozen
class HeldCarrier:
    id: str
    account_id: str
    kind: str
    account_sid: str
    auth_token: str
    """Sealed."""
    base_url: str
    source: str
    public_only: bool
    is_removed: bool


async def carrier_of_sid(db: AsyncEngine, account_sid: str) -> HeldCarrier | None:
    """Whosever it is; the removed ones too."""
    return await _carrier(db, carriers.c.account_sid == account_sid)


async def carrier_of(db: AsyncEngine, carrier_id: str) -> HeldCarrier | None:
    return await _carrier(db, carriers.c.id == carrier_id)


async def _carrier(db: AsyncEngine, which: ColumnElement[bool]) -> HeldCarrier | None:
    t = carriers.c
    columns = [
        t.id,
        t.account_id,
        t.kind,
        t.account_sid,
        t.auth_token,
        t.base_url,
        t.source,
        t.public_only,
    ]
    query = select(*columns, t.removed_at.is_not(None).label("is_removed")).where(which)
    async with transaction(db) as c:
        found = (await c.execute(query)).mappings().one_or_none()
    return None if found is None else HeldCarrier(**found)


async def is_taken(db: AsyncEngine, wanted: Phone) -> bool:
    """Whether anybody has the number."""
    t = numbers.c
    query = select(t.number).where(t.number == wanted, t.removed_at.is_(None))
    async with transaction(db) as c:
        return await c.scalar(query) is not None


async def projects_of(db: AsyncEngine, account_id: AccountId) -> list[str]:
    """Their ids."""
    t = projects.c
    query = select(t.id).where(t.account_id == account_id, t.removed_at.is_(None)).order_by(t.id)
    async with transaction(db) as c:
        return list(await c.scalars(query))
