from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.world import World


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    """The usual deployment, in which nothing has happened yet."""
    made = World(engine)
    await made.provision()
    yield made
    await made.close()
