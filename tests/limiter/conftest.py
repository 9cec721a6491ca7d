from collections.abc import AsyncGenerator, Generator

import pytest

from tests.support.limits import AMPLE, Ask, asking
from tests.support.valkey import Valkey
from textback.limiter import RedisLimiter


@pytest.fixture
def redis(redis_url: str) -> Generator[Ask]:
    with asking(redis_url) as ask:
        yield ask


@pytest.fixture
async def limiter(redis_url: str) -> AsyncGenerator[RedisLimiter]:
    limiter = RedisLimiter(redis_url, timeout=AMPLE)
    yield limiter
    await limiter.close()


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Generator[Valkey]:
    """A server for one test to kill."""
    valkey = Valkey(tmp_path_factory.mktemp("mortal"))
    valkey.start()
    yield valkey
    valkey.kill()
