"""That limits hold per process is said for as long as Redis is away, and no longer."""

import asyncio
import json
from io import StringIO

from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, is_accepted, send, settings, started, until
from tests.support.valkey import Valkey


def is_local() -> bool:
    return REGISTRY.get_sample_value("textback_limiter_local") == 1


async def test_a_process_that_nobody_asks_for_anything_hears_that_redis_is_back(
    provisioned: AsyncEngine, database_url: str, mortal: Valkey, logged: StringIO
) -> None:
    assert provisioned is not None
    async with started(settings(database_url, mortal.url)) as rt, client(rt) as http:
        mortal.kill()
        is_accepted(await send(http))
        await asyncio.sleep(1.5)
        assert is_local()

        mortal.start()

        async def is_shared() -> bool:
            return not is_local()

        await until(is_shared, every=0.1)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    lost, found = [line for line in lines if line["event"].startswith("limiter.")]
    assert (lost["event"], found["event"]) == ("limiter.local", "limiter.shared")
    assert "correlation_id" in lost
    assert "correlation_id" not in found  # no request found it out


async def test_a_process_that_ends_while_redis_is_away_looks_for_it_no_more(
    provisioned: AsyncEngine, database_url: str, mortal: Valkey
) -> None:
    assert provisioned is not None
    before = asyncio.all_tasks()
    async with started(settings(database_url, mortal.url)) as rt, client(rt) as http:
        mortal.kill()
        is_accepted(await send(http))
        assert is_local()
    assert asyncio.all_tasks() == before
