"""Agents and their numbered versions. A conversation stays on the version it began with."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.engine import AnalysisSettings
from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId
from textback.core.policy import AgentLabel
from textback.db.tables import agent_versions as v
from textback.db.tables import agents, conversations

_HIGHEST = 2**31 - 1
"""What Postgres' integer holds."""

ANALYSIS = TypeAdapter(AnalysisSettings)


@frozen
class AgentVersion:
    agent_id: AgentId
    number: int
    created_at: datetime
    greeting: str | None
    fallback: str | None
    engine: Mapping[str, Any]
    """As in the provisioning file, without secrets."""
    secrets: Mapping[str, str]
    """Sealed, by their path in `engine`: `model.api_key`, `tools.0.secret`."""
    can_open: bool
    """Whether the engine can write an opener by itself."""
    nodes: Collection[str]
    """Where its flow, if it is one, can be told to start."""
    analysis: AnalysisSettings | None
    private_urls: Sequence[str] | None
    """Those in `engine` that may lead to private addresses; None: all."""


@frozen
class Agent:
    id: AgentId
    account_id: AccountId
    production: int
    draft: int | None


async def listed(c: AsyncConnection) -> list[Agent]:
    """All that were not removed."""
    rows = await c.execute(select(agents).where(agents.c.removed_at.is_(None)).order_by("id"))
    return [_agent(row) for row in rows.mappings()]


async def get(c: AsyncConnection, agent_id: AgentId) -> Agent | None:
    """None also when it was removed."""
    if not agent_id.isprintable():  # Postgres takes no NUL, and an id has none
        return None
    row = await c.execute(
        select(agents).where(agents.c.id == agent_id, agents.c.removed_at.is_(None))
    )
    found = row.mappings().one_or_none()
    return None if found is None else _agent(found)


async def find(c: AsyncConnection, agent_id: AgentId, number: int) -> AgentVersion | None:
    if not 0 < number <= _HIGHEST:
        return None
    row = await c.execute(select(v).where(v.c.agent_id == agent_id, v.c.number == number))
    found = row.mappings().one_or_none()
    return None if found is None else _version(found)


async def current(c: AsyncConnection, agent_id: AgentId, label: AgentLabel) -> AgentVersion:
    """What conversations begin with. An agent without a draft has its production version for one.

    The agent must exist; one that was removed still answers.
    """
    number = agents.c.production
    if label == "draft":
        number = func.coalesce(agents.c.draft, agents.c.production)
    row = await c.execute(
        select(v)
        .join(agents, and_(agents.c.id == v.c.agent_id, v.c.number == number))
        .where(agents.c.id == agent_id)
    )
    return _version(row.mappings().one())


async def choose(
    c: AsyncConnection, account_id: AccountId, agent_id: AgentId, version: AgentLabel | int
) -> AgentVersion | None:
    """What a caller asks for; None when the account or the agent has no such thing."""
    found = await get(c, agent_id)
    if found is None or found.account_id != account_id:
        return None
    if isinstance(version, int):
        return await find(c, agent_id, version)
    return await current(c, agent_id, version)


async def versions(c: AsyncConnection, agent_id: AgentId) -> list[AgentVersion]:
    """All that the agent ever had, oldest first."""
    rows = await c.execute(select(v).where(v.c.agent_id == agent_id).order_by(v.c.number))
    return [_version(row) for row in rows.mappings()]


async def live(c: AsyncConnection, agent_ids: Collection[AgentId]) -> dict[AgentId, dict[int, int]]:
    """How many conversations are live on which version of each; nothing where there are none."""
    if not agent_ids:
        return {}
    t = conversations.c
    rows = await c.execute(
        select(t.agent_id, t.agent_version, func.count().label("live"))
        .where(t.state != "closed", t.agent_id.in_(agent_ids))
        .group_by(t.agent_id, t.agent_version)
        .order_by(t.agent_id, t.agent_version)
    )
    found: dict[AgentId, dict[int, int]] = {}
    for row in rows:
        found.setdefault(AgentId(row.agent_id), {})[row.agent_version] = row.live
    return found


def _agent(row: RowMapping) -> Agent:
    return Agent(
        id=AgentId(row["id"]),
        account_id=AccountId(row["account_id"]),
        production=row["production"],
        draft=row["draft"],
    )


def _version(row: RowMapping) -> AgentVersion:
    return AgentVersion(
        agent_id=AgentId(row["agent_id"]),
        number=row["number"],
        created_at=row["created_at"],
        greeting=row["greeting"],
        fallback=row["fallback"],
        engine=row["engine"],
        secrets=row["secrets"],
        can_open=row["can_open"],
        nodes=row["nodes"],
        analysis=None if row["analysis"] is None else ANALYSIS.validate_python(row["analysis"]),
        private_urls=row["private_urls"],
    )
