from collections.abc import AsyncGenerator, Generator
from io import StringIO

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, captured_logs, client, settings, started
from tests.support.kore import YAML
from tests.support.provision import provision
from textback.runtime import Runtime


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def rt(
    engine: AsyncEngine, database_url: str, redis_url: str, clock: Clock
) -> AsyncGenerator[Runtime]:
    await provision(engine, YAML)
    async with started(settings(database_url, redis_url), clock) as made:
        yield made


@pytest.fixture
async def http(rt: Runtime) -> AsyncGenerator[httpx.AsyncClient]:
    async with client(rt) as made:
        yield made


@pytest.fixture(autouse=True)
def logged() -> Generator[StringIO]:
    """What the process would write to its log."""
    with captured_logs() as found:
        yield found
