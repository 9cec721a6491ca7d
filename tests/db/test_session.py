"""A transaction that nobody finishes does not hold its locks for long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.support.deployment import AGENT, USER
from tests.support.wire import Wire
from textback.core.errors import Unavailable
from textback.db import locks
from textback.db.driver import Statement
from textback.db.session import create_engine, savepoint, single, transaction

SHORT = 0.5

ONE = Statement("select 1")


async def holding_on(db: AsyncEngine, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """A transaction with a pair locked that does nothing while `meanwhile` happens."""
    async with transaction(db) as c:
        await locks.pair(c, AGENT, USER)
        await meanwhile()
        await c.execute(text("select 1"))


async def test_a_process_that_stalls_within_a_transaction_loses_its_locks(
    database_url: str, engine: AsyncEngine
) -> None:
    stalled = create_engine(database_url, idle_seconds=SHORT)
    waited: list[float] = []

    async def another_wants_them() -> None:
        began = time.monotonic()
        async with transaction(engine) as c:
            await locks.pair(c, AGENT, USER)
        waited.append(time.monotonic() - began)

    with pytest.raises(Unavailable):  # what it learns when it wakes up
        await holding_on(stalled, another_wants_them)
    assert SHORT * 0.9 < waited[0] < SHORT + 3
    async with transaction(stalled) as c:
        await c.execute(text("select 1"))
    await stalled.dispose()


async def test_a_machine_that_vanishes_within_a_transaction_loses_its_locks(
    database_url: str, engine: AsyncEngine
) -> None:
    # Its connection stays open for Postgres: nobody is there to close it.
    async with Wire(database_url) as wire:
        gone = create_engine(wire.url, idle_seconds=SHORT, statement_seconds=2)

        async def vanish() -> None:
            wire.freeze()
            async with asyncio.timeout(SHORT + 3), transaction(engine) as c:
                await locks.pair(c, AGENT, USER)

        with pytest.raises(Unavailable):
            await holding_on(gone, vanish)
        wire.cut()
        await gone.dispose()


async def by_driver(c: AsyncConnection) -> None:
    await ONE.rows(c)


async def by_sqlalchemy(c: AsyncConnection) -> None:
    await c.execute(text("select 1"))


@pytest.mark.parametrize("within", ["itself", "a savepoint"])
@pytest.mark.parametrize("ask", [by_driver, by_sqlalchemy])
async def test_whoever_is_cut_off_while_nobody_answers_ends_as_one_who_was_cut_off(
    database_url: str, ask: Callable[[AsyncConnection], Awaitable[None]], within: str
) -> None:
    # Told that the database is away instead, it would try again for as long as that is so.
    async with Wire(database_url) as wire:
        db = create_engine(wire.url, pool_size=1, statement_seconds=SHORT)

        async def work() -> None:
            async with transaction(db) as c:
                await ask(c)
                async with AsyncExitStack() as stack:
                    if within == "a savepoint":
                        await stack.enter_async_context(savepoint(c))
                    wire.freeze()
                    await ask(c)

        working = asyncio.create_task(work())
        await asyncio.sleep(SHORT / 2)  # it waits for an answer
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        wire.thaw()
        async with transaction(db) as c:
            await ask(c)
        await db.dispose()


async def test_the_limits_are_those_of_every_session(engine: AsyncEngine) -> None:
    async with transaction(engine) as c:
        assert await c.scalar(text("show idle_in_transaction_session_timeout")) == "10s"


@pytest.mark.parametrize("way", [transaction, single])
async def test_a_statement_that_was_given_up_does_not_go_on_to_wait_in_postgres(
    database_url: str,
    engine: AsyncEngine,
    way: Callable[[AsyncEngine], AbstractAsyncContextManager[Any]],
) -> None:
    """Else each repetition takes another of its connections, until there is none for anybody."""
    wait = Statement("select pg_advisory_xact_lock(4711)")
    waiting = text("select count(*) from pg_locks where locktype = 'advisory' and not granted")
    impatient = create_engine(database_url, statement_seconds=SHORT)
    async with transaction(engine) as holding:
        await holding.execute(text("select pg_advisory_xact_lock(4711)"))
        with pytest.raises(Unavailable):
            async with way(impatient) as c:
                await (
                    wait.rows(c) if way is transaction else c.fetch("select pg_advisory_lock(4711)")
                )
        async with asyncio.timeout(8):
            while await holding.scalar(waiting):  # noqa: ASYNC110 - Postgres tells nobody
                await asyncio.sleep(0.1)
    await impatient.dispose()


@pytest.mark.parametrize("way", [transaction, single])
async def test_a_database_that_lets_nobody_in_is_away_whichever_way_it_is_asked(
    database_url: str, way: Callable[[AsyncEngine], AbstractAsyncContextManager[object]]
) -> None:
    nowhere = create_engine(database_url.replace("/textback?", "/nowhere?"))
    with pytest.raises(Unavailable) as caught:
        async with way(nowhere):
            pass
    assert not caught.value.in_doubt
    await nowhere.dispose()
