"""What `/metrics` says about all processes together: doubt, and how late things are."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, execute, send, settings, started
from tests.support.ports import free_port

Gauges = dict[tuple[str, str], float]


@pytest.fixture
def gauges(http: httpx.AsyncClient) -> Callable[[], Awaitable[Gauges]]:
    async def read() -> Gauges:
        families = text_string_to_metric_families((await http.get("/metrics")).text)
        return {
            (sample.name.removeprefix("textback_"), "".join(sample.labels.values())): sample.value
            for family in families
            if family.type == "gauge"
            for sample in family.samples
        }

    return read


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


async def test_without_a_database_the_rest_is_still_told(redis_url: str) -> None:
    nobody = settings(f"postgresql://postgres@127.0.0.1:{free_port()}/textback", redis_url)
    async with started(nobody) as rt, client(rt) as alone:
        answer = await alone.get("/metrics")
    assert answer.status_code == 200
    assert "textback_http_request_seconds" in answer.text
    assert 'textback_reachable{store="postgres"} 0.0' in answer.text
    assert 'textback_reachable{store="redis"} 1.0' in answer.text
    assert "textback_oldest_due_seconds{" not in answer.text  # nobody knows
