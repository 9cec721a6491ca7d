"""The project's rate limit: exact over processes, told in headers, and there without Redis too."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    EXPIRING_KEY,
    ODD_ENVIRONMENT,
    ODD_YAML,
    client,
    headers,
    is_accepted,
    is_refused,
    send,
    settings,
    started,
    stored,
    until,
)
from tests.support.provision import provision
from tests.support.valkey import Valkey
from textback.limiter import FallbackLimiter, LocalLimiter, RedisLimiter
from textback.runtime import Runtime
from textback.settings import Settings

TIGHT = headers(EXPIRING_KEY, "conn-tight")
"""5 per hour."""
AMPLE = timedelta(seconds=10)
"""For a Redis that answers: a busy machine must not look like a dead one."""


def patient(rt: Runtime, redis_url: str) -> Runtime:
    """With a Redis that is waited for as long as it takes."""
    limiter = FallbackLimiter(
        RedisLimiter(redis_url, timeout=AMPLE),
        LocalLimiter(time.monotonic),
        on_change=lambda lost: pytest.fail(f"Redis was lost: {lost}"),
        clock=time.monotonic,
    )
    return replace(rt, quota=limiter)


@pytest.fixture
async def two(
    provisioned: AsyncEngine, found: Settings, redis_url: str
) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Two API processes' worth of applications on one Postgres and one Redis."""
    assert provisioned is not None
    async with AsyncExitStack() as stack:
        clients = list[httpx.AsyncClient]()
        for _ in range(2):
            rt = patient(await stack.enter_async_context(started(found)), redis_url)
            stack.push_async_callback(rt.quota.close)
            clients.append(await stack.enter_async_context(client(rt)))
        yield clients


async def at_once(
    clients: list[httpx.AsyncClient], count: int, asked: dict[str, str] | None = None
) -> list[httpx.Response]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(send(clients[n % len(clients)], asked=asked or TIGHT))
            for n in range(count)
        ]
    return [task.result() for task in tasks]


async def test_the_limit_is_exact_over_two_processes(
    two: list[httpx.AsyncClient], engine: AsyncEngine
) -> None:
    answers = await at_once(two, 40)
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len(accepted) == 5
    assert (await stored(engine))["messages"] == 5
    left = {answer.headers["ratelimit"].split(";")[1] for answer in accepted}
    assert left == {"r=4", "r=3", "r=2", "r=1", "r=0"}
    for answer in answers:
        if answer not in accepted:
            is_refused(answer, 429, counted=True)


async def test_over_the_limit_is_429_and_says_when_to_come_back(http: httpx.AsyncClient) -> None:
    for _ in range(5):
        is_accepted(await send(http, asked=TIGHT))
    answer = await send(http, asked=TIGHT)
    is_refused(answer, 429, counted=True, saying="rate limit")
    wait = int(answer.headers["retry-after"])
    assert 700 <= wait <= 720  # a fifth of the hour refills one
    assert answer.headers["ratelimit-policy"] == '"project";q=5;w=3600'
    name, left, full_in = answer.headers["ratelimit"].split(";")
    assert (name, left) == ('"project"', "r=0")
    assert 3580 <= int(full_in.removeprefix("t=")) <= 3600
    assert f"{wait} s" in answer.json()["detail"]


async def test_each_project_has_a_limit_of_its_own(http: httpx.AsyncClient) -> None:
    for _ in range(6):
        await send(http, asked=TIGHT)
    is_accepted(await send(http))


async def test_wrong_requests_count_and_those_refused_before_the_limit_do_not(
    http: httpx.AsyncClient,
) -> None:
    for _ in range(10):
        await send(http, asked=headers("unknown", "conn-tight"))
        await send(http, asked=headers(EXPIRING_KEY, None))
    for _ in range(4):
        is_refused(await send(http, b"{", TIGHT), 400, counted=True)
    is_accepted(await send(http, asked=TIGHT))
    is_refused(await send(http, b"{", TIGHT), 429, counted=True)


async def test_a_replay_is_answered_over_the_limit_and_costs_nothing(
    http: httpx.AsyncClient,
) -> None:
    asked = TIGHT | {"Idempotency-Key": "once"}
    first = await send(http, asked=asked)
    for _ in range(10):
        again = await send(http, asked=asked)
        assert is_accepted(again) == is_accepted(first)
        assert "ratelimit" not in again.headers
    for _ in range(4):
        is_accepted(await send(http, asked=TIGHT))
    is_refused(await send(http, asked=TIGHT), 429, counted=True)
    is_accepted(await send(http, asked=asked))


async def test_twins_at_the_same_time_count_once(
    two: list[httpx.AsyncClient], engine: AsyncEngine
) -> None:
    twins = await at_once(two, 4, TIGHT | {"Idempotency-Key": "twins"})
    assert len({is_accepted(answer) for answer in twins}) == 1
    assert (await stored(engine))["messages"] == 1
    rest = await at_once(two, 6)
    assert sorted(answer.status_code for answer in rest) == [202] * 4 + [429] * 2


async def test_a_changed_limit_holds_from_the_next_request_on(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for _ in range(5):
        is_accepted(await send(http, asked=TIGHT))
    await provision(engine, ODD_YAML.replace("requests: 5,", "requests: 50,"), ODD_ENVIRONMENT)
    answer = await send(http, asked=TIGHT)
    is_refused(answer, 429, counted=True)
    assert answer.headers["ratelimit-policy"] == '"project";q=50;w=3600'
    assert int(answer.headers["retry-after"]) <= 72  # a fiftieth of the hour


async def test_what_was_used_up_of_an_hour_does_not_hold_back_those_who_have_a_limit_of_a_minute(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for _ in range(5):
        is_accepted(await send(http, asked=TIGHT))
    is_refused(await send(http, asked=TIGHT), 429, counted=True)
    minute = ODD_YAML.replace("requests: 5, per_seconds: 3600", "requests: 5, per_seconds: 60")
    await provision(engine, minute, ODD_ENVIRONMENT)
    is_accepted(await send(http, asked=TIGHT))


# --- Without Redis -----------------------------------------------------------------------------


def events(logged: StringIO, prefix: str) -> list[str]:
    found = [json.loads(line)["event"] for line in logged.getvalue().splitlines()]
    return [event for event in found if event.startswith(prefix)]


def gauge(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0


async def test_without_redis_the_api_accepts_by_a_local_limit_says_so_and_recovers(
    provisioned: AsyncEngine, database_url: str, mortal: Valkey, logged: StringIO
) -> None:
    assert provisioned is not None
    lost_before = gauge("textback_limiter_fallbacks_total")
    async with started(settings(database_url, mortal.url)) as rt, client(rt) as http:
        for _ in range(3):
            is_accepted(await send(http, asked=TIGHT))
        mortal.kill()
        statuses = [(await send(http, asked=TIGHT)).status_code for _ in range(7)]
        # This process's own limit: full at first, and then as strict.
        assert statuses == [202] * 5 + [429] * 2
        answer = await send(http, asked=TIGHT)
        is_refused(answer, 429, counted=True)
        assert events(logged, "limiter.") == ["limiter.local"]
        assert gauge("textback_limiter_local") == 1
        assert gauge("textback_limiter_fallbacks_total") == lost_before + 1
        assert "textback_limiter_local 1.0" in (await http.get("/metrics")).text

        mortal.start()

        async def accepted() -> bool:
            return (await send(http, asked=TIGHT)).status_code == 202

        await until(accepted, every=0.1)
        assert events(logged, "limiter.") == ["limiter.local", "limiter.shared"]
        assert gauge("textback_limiter_local") == 0
