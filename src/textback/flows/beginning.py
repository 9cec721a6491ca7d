"""What a conversation begins with: what its caller asked for, or else what its number has."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import SendText
from textback.core.policy import AgentLabel, IdlePolicy
from textback.db import agents
from textback.db.agents import AgentVersion
from textback.db.conversation_rows import Brief
from textback.db.tenants import NumberRow, ProjectRow


async def agent_of(
    c: AsyncConnection, number: NumberRow, project: ProjectRow, label: AgentLabel
) -> AgentVersion:
    """Who answers there, where nobody names an agent."""
    agent_id, version = number.agent_id or project.agent_id, number.defaults.agent_version
    if number.defaults.agent_id == agent_id and version is not None:
        chosen = await agents.choose(c, project.account_id, agent_id, version)
        if chosen is not None:  # it may have been removed since
            return chosen
    return await agents.current(c, agent_id, label)


def brief(number: NumberRow, agent: AgentVersion, command: SendText | None = None) -> Brief:
    """`command` None: the user opens it."""
    usual = number.defaults
    is_usual = command is None or command.agent.agent_id is None
    start_node = usual.start_node if is_usual and usual.start_node in agent.nodes else None
    if command is None:
        return Brief(
            objective=usual.objective,
            variables=usual.variables,
            start_node=start_node,
            reopens=usual.reopens,
            extra=usual.extra,
            notify=usual.notify,
        )
    return Brief(
        objective=usual.objective if command.objective is None else command.objective,
        variables=_both(usual.variables, command.variables),
        start_node=command.agent.start_node or start_node,
        metadata=command.metadata,
        reopens=command.reopens and usual.reopens,
        dialect=command.dialect,
        extra=_both(usual.extra, command.extra),
        notify=command.notify or usual.notify,
    )


def idle(number: NumberRow, command: SendText | None = None) -> IdlePolicy | None:
    """None: as the project has it."""
    asked = None if command is None else command.idle
    usual = number.defaults.idle or (None if command is None else command.idle_if_new)
    return asked or usual


def _both(usual: Mapping[str, object], asked: Mapping[str, object]) -> Mapping[str, object]:
    return {**usual, **asked} if asked else usual
