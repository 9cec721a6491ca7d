"""Alive, ready, counted."""

import asyncio
import json
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    client,
    correlation_id,
    execute,
    is_refused,
    send,
    served,
    settings,
    started,
)
from tests.support.ports import free_port
from tests.support.wire import Wire
from textback.db import migrate
from textback.runtime import Runtime
from textback.settings import DIALECTS, Settings


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


@pytest.mark.parametrize(
    "path",
    [
        *("/health/live", "/health/ready", "/metrics", "/docs", "/docs/native", "/docs/nobody"),
        *("/openapi.json", "/openapi/native.json", "/docs/assets/swagger-ui.css"),
    ],
)
async def test_who_asks_for_the_head_alone_gets_it_as_with_the_body(rt: Runtime, path: str) -> None:
    """RFC 9110, 9.3.2. On one connection: a body would be taken for the next answer."""
    async with served(rt) as url, httpx.AsyncClient(base_url=url, trust_env=False) as http:
        head, whole = await http.head(path), await http.get(path)
    assert head.content == b""
    assert (head.status_code, whole.status_code) == (404 if "nobody" in path else 200,) * 2
    assert len(whole.content) > 0
    changes = {"date", "x-polyai-correlation-id"}
    if path == "/metrics":  # that it was asked for is counted
        changes.add("content-length")
    told = [
        {name: value for name, value in each.headers.items() if name not in changes}
        for each in (head, whole)
    ]
    assert told[0] == told[1]


async def test_an_api_describes_no_head(http: httpx.AsyncClient) -> None:
    for document in ("/openapi.json", *(f"/openapi/{name}.json" for name in DIALECTS)):
        paths = (await http.get(document)).json()["paths"]
        assert not any("head" in of for of in paths.values())
        assert not any(path.startswith(("/health", "/metrics", "/docs")) for path in paths)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("GET", f"/{each}") for each in ("metrics", "health/live", "docs", "openapi.json")],
        *[("GET", f"/{each}") for each in ("docs/native", "openapi/native.json")],
        *(("HEAD", "/metrics"), ("DELETE", "/metrics"), ("POST", "/v1/outbound-sms")),
        *(("POST", "/hooks/twilio/inbound"), ("POST", "/v1/sms")),
        ("POST", "/v1/admin/api-keys/key_01kk2v5m7xq1t8c9d0e2f3g4h5/rotate"),
        ("GET", "/docs/assets/swagger-ui.css"),
    ],
)
async def test_a_path_with_a_newline_behind_it_is_another_path_which_nobody_serves(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    """Else who keeps `/metrics` from others by its name, as proxies do, keeps it from nobody."""
    answer = await http.request(method, f"{path}%0a")
    if method == "HEAD":
        assert answer.status_code == 404
        return
    said = is_refused(answer, 404, counted=False)
    assert said.startswith(f"There is nothing at {path}%0A;")


async def test_paths_nobody_serves_are_counted_together(http: httpx.AsyncClient) -> None:
    """Else whoever scans us makes a time series of each path."""
    for n in range(3):
        await http.get(f"/scan-{n}.php")
        await http.post(f"/hooks/scan-{n}/inbound")
    said = (await http.get("/metrics")).text
    assert "scan-" not in said
    assert 'route="none"' in said
