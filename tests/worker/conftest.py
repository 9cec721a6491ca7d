from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import NOW
from tests.support.running import FOREVER, Shop
from tests.support.world import World


@pytest.fixture
async def shop(engine: AsyncEngine, database_url: str) -> AsyncGenerator[Shop]:
    """The usual deployment, and what a worker for it needs."""
    world = World(engine)
    await world.provision()
    await world.put_off_sweeps(NOW + FOREVER)
    made = Shop(world, database_url)
    yield made
    await made.close()
    await world.close()
