"""Alive, ready, counted."""

import asyncio
import json
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, correlation_id, execute, send, settings, started
from tests.support.ports import free_port
from tests.support.wire import Wire
from textback.db import migrate
from textback.settings import Settings


@pytest.fixture
def nobody() -> Settings:
    """Neither a Postgres nor a Redis where they are said to be."""
    return settings(
        f"postgresql://postgres@127.0.0.1:{free_port()}/textback",
        f"redis://127.0.0.1:{free_port()}",
    )


async def ready(http: httpx.AsyncClient) -> tuple[int, dict[str, str]]:
    answer = await http.get("/health/ready")
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"status", "database", "redis"}
    correlation_id(answer)
    return answer.status_code, answer.json()


async def test_alive_needs_nothing_and_nobody(nobody: Settings) -> None:
    async with started(nobody) as rt, client(rt) as http:
        answer = await http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    correlation_id(answer)


async def test_ready_when_database_and_redis_answer(http: httpx.AsyncClient) -> None:
    assert await ready(http) == (200, {"status": "ok", "database": "ok", "redis": "ok"})


async def test_not_ready_without_a_database_and_says_so_at_once(nobody: Settings) -> None:
    async with started(nobody) as rt, client(rt) as http:
        began = time.monotonic()
        status, found = await ready(http)
        assert time.monotonic() - began < 2.5  # it would wait 3 s to connect
    assert (status, found["status"], found["database"]) == (503, "unavailable", "unreachable")
    assert found["redis"].startswith("unreachable")


async def test_not_ready_before_the_first_migration(
    empty_database_url: str, redis_url: str
) -> None:
    async with started(settings(empty_database_url, redis_url)) as rt, client(rt) as http:
        status, found = await ready(http)
        assert (status, found["status"]) == (503, "unavailable")
        assert "migrate" in found["database"]
        # What needs the tables fails in our shape meanwhile.
        answer = await send(http)
        assert (answer.status_code, list(answer.json())) == (500, ["detail"])


async def test_ready_as_soon_as_the_migrations_have_run(
    empty_database_url: str, redis_url: str
) -> None:
    async with started(settings(empty_database_url, redis_url)) as rt, client(rt) as http:
        await asyncio.to_thread(migrate.upgrade, empty_database_url)
        assert (await ready(http))[0] == 200


async def test_ready_on_the_schema_of_a_newer_version_and_not_of_an_older_one(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """A rolling upgrade migrates first: the processes of the old version serve on meanwhile."""
    for revision, status in (("9999", 200), ("0001", 503), (migrate.head(), 200)):
        await execute(engine, f"update alembic_version set version_num = '{revision}'")  # noqa: S608 - ours
        assert (await ready(http))[0] == status


async def test_without_redis_it_is_ready_and_tells(found: Settings) -> None:
    alone = found.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with started(alone) as rt, client(rt) as http:
        status, told = await ready(http)
    assert (status, told["status"], told["database"]) == (200, "ok", "ok")
    assert told["redis"].startswith("unreachable")


async def test_ready_again_when_the_database_is_back(database_url: str, redis_url: str) -> None:
    async with (
        Wire(database_url) as wire,
        started(settings(wire.url, redis_url)) as rt,
        client(rt) as http,
    ):
        assert (await ready(http))[0] == 200
        wire.cut()
        assert (await ready(http))[0] == 503
        await wire.mend()
        assert (await ready(http))[0] == 200


async def test_metrics_are_prometheus_and_hold_no_number(http: httpx.AsyncClient) -> None:
    await send(http)
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    answered = [
        s.labels
        for s in families["textback_http_request_seconds"].samples
        if s.name.endswith("_count")
    ]
    route = {"route": "/v1/outbound-sms", "dialect": "polyai"}
    assert route | {"method": "POST", "status": "2xx"} in answered
    assert any(sample.value for sample in families["textback_accepted"].samples)
    assert "+1415" not in json.dumps(answer.text)


async def test_paths_nobody_serves_are_counted_together(http: httpx.AsyncClient) -> None:
    """Else whoever scans us makes a time series of each path."""
    for n in range(3):
        await http.get(f"/scan-{n}.php")
        await http.post(f"/hooks/scan-{n}/inbound")
    said = (await http.get("/metrics")).text
    assert "scan-" not in said
    assert 'route="none"' in said
