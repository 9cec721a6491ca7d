"""A transaction has begun, or nothing is done in it: what is said to be committed is there."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.wire import Wire
from textback.core.errors import Unavailable
from textback.db.driver import Statement
from textback.db.session import create_engine, transaction

SHORT = 0.3

MAKE = text("create table kept (n int)")
NOTE = Statement("insert into kept values (cast(:n as int))")
END_ALL = text(
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)
NOTED = text("select array_agg(n order by n) from kept")

Write = Callable[[AsyncEngine, int], Coroutine[Any, Any, None]]


@pytest.fixture
async def wire(database_url: str) -> AsyncGenerator[Wire]:
    async with Wire(database_url) as wire:
        yield wire


@pytest.fixture
async def db(wire: Wire) -> AsyncGenerator[AsyncEngine]:
    engine = create_engine(wire.url, pool_size=1, statement_seconds=SHORT)
    async with transaction(engine) as c:
        await c.execute(MAKE)
    yield engine
    wire.thaw()
    async with transaction(engine) as c:
        await c.execute(text("drop table kept"))
    await engine.dispose()


async def by_driver(db: AsyncEngine, n: int) -> None:
    async with transaction(db) as c:
        await NOTE.rows(c, n=n)


async def by_sqlalchemy(db: AsyncEngine, n: int) -> None:
    async with transaction(db) as c:
        await c.execute(text("insert into kept values (:n)"), {"n": n})


async def by_itself(db: AsyncEngine, n: int) -> None:
    await NOTE.committed(db, n=n)


async def all_of(db: AsyncEngine) -> list[int] | None:
    async with transaction(db) as c:
        found: list[int] | None = await c.scalar(NOTED)
    return found


WRITES = [by_driver, by_sqlalchemy, by_itself]


@pytest.mark.parametrize("write", WRITES[:2])
async def test_a_transaction_that_began_too_late_is_not_said_to_be_committed(
    db: AsyncEngine, wire: Wire, write: Write
) -> None:
    await write(db, 1)
    wire.freeze()
    late = asyncio.create_task(write(db, 2))
    await asyncio.sleep(SHORT * 1.5)  # the driver has given up waiting by now
    wire.thaw()
    with pytest.raises(Unavailable):
        await late
    await write(db, 3)
    assert await all_of(db) == [1, 3]


@pytest.mark.parametrize("after", WRITES)
@pytest.mark.parametrize("write", WRITES[:2])
async def test_a_beginning_that_was_cut_short_is_nobody_elses(
    db: AsyncEngine, wire: Wire, write: Write, after: Write
) -> None:
    await write(db, 1)
    wire.freeze()
    cut = asyncio.create_task(write(db, 2))
    await asyncio.sleep(SHORT / 10)  # it waits for the answer to BEGIN
    cut.cancel()
    wire.thaw()
    with pytest.raises(asyncio.CancelledError):
        await cut
    for n in (3, 4):
        await after(db, n)
    assert await all_of(db) == [1, 3, 4]


async def test_who_goes_on_after_a_beginning_that_failed_writes_nothing(
    db: AsyncEngine, wire: Wire
) -> None:
    await by_driver(db, 1)

    async def write() -> None:
        async with transaction(db) as c:
            wire.freeze()
            with suppress(TimeoutError):
                await NOTE.rows(c, n=2)
            wire.thaw()
            await NOTE.rows(c, n=3)

    with pytest.raises(ResourceClosedError):
        await write()
    assert await all_of(db) == [1]


async def test_what_the_driver_says_as_a_transaction_begins_is_heard_in_its_own_words(
    db: AsyncEngine, wire: Wire
) -> None:
    async def begin() -> None:
        async with transaction(db) as c:
            wire.break_()
            await NOTE.rows(c, n=2)

    with pytest.raises(Unavailable) as refused:
        await begin()
    assert isinstance(refused.value.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError)


@pytest.mark.parametrize("deliver", [False, True])
async def test_a_connection_that_breaks_as_a_transaction_begins_is_a_database_out_of_reach(
    db: AsyncEngine, wire: Wire, *, deliver: bool
) -> None:
    await by_driver(db, 1)
    wire.break_at(b"BEGIN", deliver=deliver)
    with pytest.raises(Unavailable):
        await by_driver(db, 2)
    await by_driver(db, 3)
    assert await all_of(db) == [1, 3]


@pytest.mark.parametrize("write", WRITES)
async def test_a_connection_that_postgres_has_ended_is_out_of_reach_before_its_end_is_seen(
    db: AsyncEngine, wire: Wire, engine: AsyncEngine, write: Write
) -> None:
    # The driver's own words for it are no error of Postgres, nor one of the wire.
    await write(db, 1)
    wire.hold_ends()
    async with transaction(engine) as c:
        await c.execute(END_ALL)
    await wire.last_words.wait()
    await asyncio.sleep(SHORT / 10)  # they have arrived
    with pytest.raises(Unavailable) as raised:
        await write(db, 2)
    assert "InternalClientError" in repr(_causes(raised.value))
    wire.break_()
    await write(db, 3)
    assert await all_of(db) == [1, 3]


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None:
        found.append(at)
        at = at.__cause__
    return found
