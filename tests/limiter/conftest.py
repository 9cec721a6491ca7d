from collections.abc import AsyncGenerator, Generator

import pytest

from tests.support.limits import AMPLE, Ask, asking
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
