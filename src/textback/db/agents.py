"""Agents and their numbered versions. A conversation stays on the version it began with."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.engine import AnalysisSettings
from textback.core.ids import AccountId, AgentId
from textback.core.policy import AgentLabel
from textback.db.tables import agent_versions as v
from textback.db.tables import agents

ANALYSIS = TypeAdapter(AnalysisSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentVersion:
    agent_id: AgentId
    number: int
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


async def find(c: AsyncConnection, agent_id: AgentId, number: int) -> AgentVersion | None:
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
    found = await c.scalar(
        select(agents.c.id).where(
            agents.c.id == agent_id,
            agents.c.account_id == account_id,
            agents.c.removed_at.is_(None),
        )
    )
    if found is None:
        return None
    if isinstance(version, int):
        return await find(c, agent_id, version)
    return await current(c, agent_id, version)


def _version(row: RowMapping) -> AgentVersion:
    return AgentVersion(
        agent_id=AgentId(row["agent_id"]),
        number=row["number"],
        greeting=row["greeting"],
        fallback=row["fallback"],
        engine=row["engine"],
        secrets=row["secrets"],
        can_open=row["can_open"],
        nodes=row["nodes"],
        analysis=None if row["analysis"] is None else ANALYSIS.validate_python(row["analysis"]),
    )
