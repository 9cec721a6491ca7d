"""Postgres away: 503 with Retry-After, quickly, and nothing promised that was not stored."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    BODY,
    client,
    headers,
    is_accepted,
    is_refused,
    send,
    settings,
    started,
    stored,
)
from tests.support.hooks import INBOUND, TEXT, post
from tests.support.ports import free_port
from tests.support.wire import Wire

KEYED = headers(**{"Idempotency-Key": "order-17"})


@pytest.fixture
async def wire(provisioned: AsyncEngine, database_url: str) -> AsyncGenerator[Wire]:
    assert provisioned is not None
    async with Wire(database_url) as made:
        yield made


@pytest.fixture
async def wired(wire: Wire, redis_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with started(settings(wire.url, redis_url)) as rt, client(rt) as http:
        yield http


async def test_nobody_at_the_databases_address_is_503_at_once(redis_url: str) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/textback"
    async with started(settings(url, redis_url)) as rt, client(rt) as http:
        began = time.monotonic()
        answer = await send(http)
        assert time.monotonic() - began < 2.5  # it would wait 3 s to connect
    is_refused(answer, 503, counted=False, saying="try again")
    assert answer.headers["retry-after"] == "2"


async def test_a_database_that_is_not_there_is_503(database_url: str, redis_url: str) -> None:
    """As with a password that was changed: the operator repairs it, callers come again."""
    nowhere = database_url.replace("/textback?", "/nowhere?")
    async with started(settings(nowhere, redis_url)) as rt, client(rt) as http:
        is_refused(await send(http), 503, counted=False)


async def test_a_database_that_went_away_is_503_and_the_first_request_after_it_is_back_works(
    wired: httpx.AsyncClient, wire: Wire, engine: AsyncEngine
) -> None:
    async with asyncio.TaskGroup() as group:  # so that several connections are in the pool
        for _ in range(4):
            group.create_task(send(wired))
    before = await stored(engine)
    wire.cut()
    for _ in range(2):
        is_refused(await send(wired), 503, counted=False)
        is_refused(await send(wired, asked=KEYED), 503, counted=False)
        is_refused(await post(wired, INBOUND, TEXT), 503, counted=False)
    assert await stored(engine) == before
    await wire.mend()
    for _ in range(6):
        is_accepted(await send(wired))


@pytest.mark.parametrize(
    ("markers", "counted"),
    [
        ([b"FROM api_keys"], False),
        ([b"join idempotency_keys"], False),
        ([b"pg_try_advisory_xact_lock"], True),
        ([b"from opt_outs"], True),
        ([b"insert into idempotency_keys"], True),
        ([b"insert into conversations"], True),
        ([b"insert into conversations", b"COMMIT"], True),
    ],
)
async def test_a_database_that_goes_away_in_the_middle_is_503_and_nothing_is_stored(
    wired: httpx.AsyncClient,
    wire: Wire,
    engine: AsyncEngine,
    markers: list[bytes],
    *,
    counted: bool,
) -> None:
    wire.cut_at(*markers)
    is_refused(await send(wired, asked=KEYED), 503, counted=counted)
    assert wire.cuts == 1
    assert await stored(engine) == {}
    await wire.mend()
    is_accepted(await send(wired, asked=KEYED))


async def test_a_commit_whose_answer_was_lost_is_503_and_the_retry_makes_no_second_text(
    wired: httpx.AsyncClient, wire: Wire, engine: AsyncEngine
) -> None:
    wire.cut_at(b"insert into messages", b"COMMIT", deliver=True)
    is_refused(await send(wired, asked=KEYED), 503, counted=True)
    await wire.mend()
    again = await send(wired, asked=KEYED)
    is_accepted(again)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await stored(engine))["messages"] == 1


async def mended_soon(wire: Wire) -> None:
    async with asyncio.timeout(10):
        while not wire.cuts:  # noqa: ASYNC110 - it is the wire that changes
            await asyncio.sleep(0.005)
    await wire.mend()


# Where the number is named, one statement is all: its end is the commit.
ways = pytest.mark.parametrize(
    ("named", "commit"), [({}, b"COMMIT"), ({"agent_number": AGENT}, BODY["message"].encode())]
)


@ways
async def test_a_commit_that_took_hold_unseen_is_a_202_once_the_database_is_back(
    wired: httpx.AsyncClient,
    wire: Wire,
    engine: AsyncEngine,
    named: dict[str, Any],
    commit: bytes,
) -> None:
    # Without an idempotency key: told 503, this caller would send the text a second time.
    wire.cut_at(b"insert into messages", commit, deliver=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(mended_soon(wire))
        answer = group.create_task(send(wired, **named))
    is_accepted(answer.result())
    assert (await stored(engine))["messages"] == 1


@ways
async def test_a_commit_that_did_not_take_hold_is_503_although_the_database_is_back(
    wired: httpx.AsyncClient,
    wire: Wire,
    engine: AsyncEngine,
    named: dict[str, Any],
    commit: bytes,
) -> None:
    wire.cut_at(b"insert into messages", commit)
    async with asyncio.TaskGroup() as group:
        group.create_task(mended_soon(wire))
        answer = group.create_task(send(wired, **named))
    is_refused(answer.result(), 503, counted=True)
    assert await stored(engine) == {}


async def test_more_requests_than_connections_wait_for_their_turn(
    wired: httpx.AsyncClient,
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send(wired, user_number=f"+1415555{n:04}")) for n in range(60)]
    assert {task.result().status_code for task in tasks} == {202}
