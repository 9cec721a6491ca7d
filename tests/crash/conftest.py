from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.world import World
from textback.db.session import create_engine
from textback.embedded import Servers

MANY = {"requests": 100_000, "per_seconds": 60}


@pytest.fixture(scope="session")
def doomed_engine(servers: Servers) -> AsyncEngine:
    return create_engine(servers.database_url)


@pytest.fixture
async def doomed(
    database_url: str,  # noqa: ARG001 - what it asks for
    doomed_engine: AsyncEngine,
) -> AsyncGenerator[World]:
    """The same deployment as a process sees it that will die, with its own connections."""
    made = World(doomed_engine)
    yield made
    await made.close()
    await doomed_engine.dispose()


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    """The usual deployment, without limits: many users live through one test."""
    made = World(engine)
    limits = {"per_sender": MANY, "per_project": MANY, "repeats": {"count": 1000}}
    await made.provision(project={"inbound_limits": limits})
    yield made
    await made.close()
