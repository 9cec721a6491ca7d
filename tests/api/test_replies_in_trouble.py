"""An answer that is posted while Postgres restarts, hangs, or stops in the middle of a commit."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, is_refused, settings, started
from tests.support.deployment import NOW
from tests.support.ports import free_port
from tests.support.replies import ENGINE, asked, is_taken, post, said
from tests.support.wire import Wire
from tests.support.world import World
from textback.api import replies

SOON = replies.DEADLINE + 1


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision(agent={"engine": ENGINE})
    yield made
    await made.close()


@pytest.fixture
async def wire(
    world: World,  # noqa: ARG001 - what is at its end
    database_url: str,
) -> AsyncGenerator[Wire]:
    async with Wire(database_url) as made:
        yield made


@asynccontextmanager
async def behind(wire: Wire, redis_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    found = settings(wire.url, redis_url)
    async with started(found, Clock(NOW)) as rt, client(rt) as http:
        try:
            yield http
        finally:  # so that nothing has to wait for the frozen ones
            wire.cut()


async def test_nobody_at_the_databases_address_is_503_at_once(redis_url: str) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/textback"
    async with started(settings(url, redis_url), Clock(NOW)) as rt, client(rt) as http:
        answer = await post(http, "/v1/turns/turn_01kk2v5m7xq1t8c9d0e2f3g4h5/1/reply")
    is_refused(answer, 503, counted=False, saying="try again")
    assert answer.headers["retry-after"] == "2"


async def test_a_restart_of_postgres_before_an_answer_does_not_cost_it(
    world: World, wire: Wire, redis_url: str
) -> None:
    async with behind(wire, redis_url) as http:
        is_taken(await post(http, await asked(world)))
        wire.cut()  # every pooled connection is dead, and nobody has noticed
        await wire.mend()
        thinking = await asked(world)
        is_taken(await post(http, thinking))
    assert await said(world) == ["Done.", "Done."]


async def test_a_postgres_that_hangs_holds_no_answer_longer_than_the_deadline(
    world: World, wire: Wire, redis_url: str
) -> None:
    async with behind(wire, redis_url) as http:
        is_taken(await post(http, await asked(world)))
        thinking = await asked(world)
        wire.freeze()
        began = time.monotonic()
        is_refused(await post(http, thinking), 503, counted=False)
        assert time.monotonic() - began < SOON
        wire.cut()
        await wire.mend()
        is_taken(await post(http, thinking))


@pytest.mark.parametrize("deliver", [False, True], ids=["not arrived", "arrived"])
async def test_an_answer_cut_off_in_its_commit_counts_once_when_it_comes_again(
    world: World, wire: Wire, redis_url: str, *, deliver: bool
) -> None:
    thinking = await asked(world)
    async with behind(wire, redis_url) as http:
        wire.freeze_at(b"insert into messages", b"COMMIT", deliver=deliver)
        is_refused(await post(http, thinking), 503, counted=False)
        assert await said(world) == (["Done."] if deliver else [])
        wire.cut()
        await wire.mend()
        is_taken(await post(http, thinking), 200 if deliver else 202)
        is_taken(await post(http, thinking), 200)
    assert await said(world) == ["Done."]
