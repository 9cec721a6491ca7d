"""What `/metrics` says about all processes together: doubt, and how late things are."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, execute, send, settings, started, until
from tests.support.doubles import Plenty
from tests.support.ports import free_port
from tests.support.wire import Wire
from textback.core.gcra import Denied, Granted, Rate
from textback.db.session import transaction

Gauges = dict[tuple[str, str], float]


class Breaking(Plenty):
    """Does not answer, or breaks off who asks it."""

    def __init__(self, *, forever: bool) -> None:
        self._forever = forever
        self.is_mended = False

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        if self._forever:
            await asyncio.Event().wait()
        if not self.is_mended:
            raise asyncio.CancelledError
        return await super().take(key, rate, units)


async def gauges_of(http: httpx.AsyncClient) -> Gauges:
    families = text_string_to_metric_families((await http.get("/metrics")).text)
    return {
        (sample.name.removeprefix("textback_"), "".join(sample.labels.values())): sample.value
        for family in families
        if family.type == "gauge"
        for sample in family.samples
    }


@pytest.fixture
def gauges(http: httpx.AsyncClient) -> Callable[[], Awaitable[Gauges]]:
    return partial(gauges_of, http)


async def test_texts_in_doubt_are_counted_by_who_has_to_settle_them(
    http: httpx.AsyncClient, engine: AsyncEngine, gauges: Callable[[], Awaitable[Gauges]]
) -> None:
    for _ in range(3):
        await send(http)
    in_doubt = "update messages set state = 'uncertain', due_at = null, claimed_at = now(),"
    await execute(engine, f"{in_doubt} uncertain_at = now(), look_up_at = now()")
    await execute(
        engine,
        "update messages set look_up_at = null where seq = (select min(seq) from messages)",
    )

    found = await gauges()

    assert found["uncertain", "look_up"] == 2
    assert found["uncertain", "operator"] == 1


async def test_how_long_the_oldest_text_has_been_due_is_told(
    http: httpx.AsyncClient, clock: Clock, gauges: Callable[[], Awaitable[Gauges]]
) -> None:
    await send(http)
    before = await gauges()
    clock.pass_(timedelta(seconds=90))

    after = await gauges()

    late = after["oldest_due_seconds", "messages"] - before["oldest_due_seconds", "messages"]
    assert late == pytest.approx(90, abs=5)
    assert after["oldest_due_seconds", "conversations"] == 0  # its deadline is a day away
    assert ("swept_seconds", "") in after


async def test_a_text_that_is_put_off_again_and_again_is_late_all_the_same(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    clock: Clock,
    gauges: Callable[[], Awaitable[Gauges]],
) -> None:
    await send(http)
    clock.pass_(timedelta(seconds=300))
    await execute(engine, "update messages set due_at = due_at + interval '330 seconds'")

    late = (await gauges())["oldest_due_seconds", "messages"]
    assert late == pytest.approx(300, abs=5)


async def test_an_opener_that_its_agent_has_yet_to_write_is_not_late(
    http: httpx.AsyncClient,
    engine: AsyncEngine,
    clock: Clock,
    gauges: Callable[[], Awaitable[Gauges]],
) -> None:
    await send(http)
    clock.pass_(timedelta(seconds=300))
    await execute(engine, "update messages set due_at = '9999-01-01'")

    assert (await gauges())["oldest_due_seconds", "messages"] == 0


async def test_without_a_database_the_rest_is_still_told(redis_url: str) -> None:
    nobody = settings(f"postgresql://postgres@127.0.0.1:{free_port()}/textback", redis_url)
    async with started(nobody) as rt, client(rt) as alone:
        answer = await alone.get("/metrics")
    assert answer.status_code == 200
    assert "textback_http_request_seconds" in answer.text
    assert 'textback_reachable{store="postgres"} 0.0' in answer.text
    assert 'textback_reachable{store="redis"} 1.0' in answer.text
    assert "textback_oldest_due_seconds{" not in answer.text  # nobody knows


async def test_a_store_that_hangs_is_not_taken_for_two(database_url: str, redis_url: str) -> None:
    async with Wire(database_url) as wire, started(settings(wire.url, redis_url)) as rt:
        wire.freeze()
        async with client(rt) as http:
            found = await gauges_of(http)
        wire.cut()
        assert (found["reachable", "postgres"], found["reachable", "redis"]) == (0, 1)

        await wire.mend()
        async with client(replace(rt, pace=Breaking(forever=True))) as http:
            found = await gauges_of(http)
        assert (found["reachable", "postgres"], found["reachable", "redis"]) == (1, 0)
        assert ("uncertain", "operator") in found


async def test_a_database_whose_queues_are_locked_is_reached(
    engine: AsyncEngine, gauges: Callable[[], Awaitable[Gauges]]
) -> None:
    async with transaction(engine) as c:
        await c.execute(text("lock table messages"))
        found = await gauges()
    assert found["reachable", "postgres"] == 1
    assert ("waiting", "messages") not in found


async def test_a_look_that_was_broken_off_is_not_the_last_one(
    database_url: str, redis_url: str
) -> None:
    breaking = Breaking(forever=False)
    async with (
        started(settings(database_url, redis_url)) as rt,
        client(replace(rt, pace=breaking)) as http,
    ):
        found = await gauges_of(http)
        assert (found["reachable", "postgres"], found["reachable", "redis"]) == (1, 0)
        breaking.is_mended = True

        async def is_reached() -> bool:
            return (await gauges_of(http))["reachable", "redis"] == 1

        await until(is_reached, every=0.5)
