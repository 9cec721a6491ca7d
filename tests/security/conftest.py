from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, settings, started
from tests.support.provision import provision
from textback.runtime import Runtime
from textback.settings import Settings


@pytest.fixture
def found(database_url: str, redis_url: str) -> Settings:
    return settings(database_url, redis_url)


@pytest.fixture
async def rt(engine: AsyncEngine, found: Settings) -> AsyncGenerator[Runtime]:
    """Of the standard deployment."""
    await provision(engine)
    async with started(found, Clock()) as made:
        yield made
