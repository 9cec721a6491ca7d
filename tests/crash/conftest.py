from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.world import World
from textback.db.session import create_engine

MANY = {"requests": 100_000, "per_seconds": 60}


@pytest.fixture
async def doomed(database_url: str) -> AsyncGenerator[World]:
    """The same deployment as a process sees it that will die, with its own connections."""
    engine = create_engine(database_url)
    made = World(engine)
    yield made
    await made.close()
    await engine.dispose()


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    """The usual deployment, without limits: many users live through one test."""
    made = World(engine)
    limits = {"per_sender": MANY, "per_project": MANY, "repeats": {"count": 1000}}
    await made.provision(project={"inbound_limits": limits})
    yield made
    await made.close()
