"""What is provisioned, as rows; and what an apply refused."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.provision import STANDARD_YAML, apply_file
from textback.core.ids import AgentId
from textback.db import agents, provisioning
from textback.db.agents import AgentVersion
from textback.db.provisioning import Key, Kind
from textback.db.session import transaction
from textback.flows.provision import Report
from textback.provisioning_file import FileRefused


async def everything(engine: AsyncEngine) -> dict[Kind, dict[Key, Any]]:
    async with transaction(engine) as c:
        return await provisioning.everything(c)


async def row(engine: AsyncEngine, kind: Kind, *key: str) -> Mapping[str, Any]:
    return (await everything(engine))[kind][key]


async def versions(engine: AsyncEngine, agent_id: str) -> list[AgentVersion]:
    """All that the agent has, oldest first."""
    async with transaction(engine) as c:
        return await agents.versions(c, AgentId(agent_id))


async def refused(
    engine: AsyncEngine,
    yaml_text: str,
    env: Mapping[str, str] | None = None,
    *,
    prune: bool = False,
) -> list[str]:
    """What stood in the way, as `line: path: problem`; nothing may have changed."""
    before = await everything(engine)
    with pytest.raises(FileRefused) as error:
        await apply_file(engine, yaml_text, env, prune=prune)
    assert await everything(engine) == before
    return [f"{p.line}: {p.path}: {p.problem}" for p in error.value.problems]


def changed(*replacements: tuple[str, str]) -> str:
    """The standard file with each first text, found once, replaced by the second."""
    text = STANDARD_YAML
    for old, new in replacements:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def without_globex() -> str:
    return STANDARD_YAML[: STANDARD_YAML.index("  - id: globex")]


def names(report: Report, what: str) -> list[str]:
    """Of what was "created", "updated" or "removed": `kind id`."""
    return sorted(f"{thing.kind} {thing.id}" for thing in getattr(report, what))
