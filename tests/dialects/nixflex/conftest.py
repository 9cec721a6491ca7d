from collections.abc import AsyncGenerator

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.dialects.nixflex.deployment import ENVIRONMENT, KEY, YAML
from tests.support.api import Clock, client, settings, started
from tests.support.fake_twilio import FakeTwilio
from tests.support.provision import provision
from textback.runtime import Runtime


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    async with FakeTwilio() as made:
        yield made


@pytest.fixture
async def rt(
    engine: AsyncEngine, database_url: str, redis_url: str, clock: Clock, twilio: FakeTwilio
) -> AsyncGenerator[Runtime]:
    await provision(engine, YAML, ENVIRONMENT)
    found = settings(database_url, redis_url, twilio_url=twilio.base_url, private_webhooks=True)
    async with started(found, clock) as made:
        yield made


@pytest.fixture
async def http(rt: Runtime) -> AsyncGenerator[httpx.AsyncClient]:
    """With the key that may do everything."""
    async with client(rt) as made:
        made.headers["Authorization"] = f"Bearer {KEY}"
        yield made
