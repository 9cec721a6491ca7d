from collections.abc import AsyncGenerator, Generator
from io import StringIO

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    ODD_ENVIRONMENT,
    ODD_YAML,
    Clock,
    captured_logs,
    client,
    settings,
    started,
)
from tests.support.provision import provision
from textback.runtime import Runtime
from textback.settings import Settings


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provisioned(engine: AsyncEngine) -> AsyncEngine:
    await provision(engine, ODD_YAML, ODD_ENVIRONMENT)
    return engine


@pytest.fixture
def found(database_url: str, redis_url: str) -> Settings:
    return settings(database_url, redis_url)


@pytest.fixture
async def rt(
    provisioned: AsyncEngine,  # noqa: ARG001 - what it asks for
    found: Settings,
    clock: Clock,
) -> AsyncGenerator[Runtime]:
    async with started(found, clock) as made:
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
