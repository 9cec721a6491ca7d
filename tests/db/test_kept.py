"""Connections stay at hand, as long as nobody waits for one and nothing is wrong with them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.support.deployment import AGENT, USER
from tests.support.wire import Wire
from textback.core.errors import NothingToSay, Unavailable
from textback.db import kept, locks
from textback.db.kept import Driver
from textback.db.session import create_engine, single, transaction

SHORT = 0.3


@pytest.fixture
async def db(database_url: str) -> AsyncGenerator[AsyncEngine]:
    engine = create_engine(database_url)
    yield engine
    await engine.dispose()


async def two(db: AsyncEngine) -> tuple[Driver, Driver]:
    """Both at hand: the first that is handed out, and the second."""
    async with single(db) as first, single(db) as second:
        pass
    return first, second


async def at_hand(db: AsyncEngine) -> Driver:
    async with single(db) as driver:
        return driver


async def pid(c: AsyncConnection) -> int:
    return await c.scalar(text("select pg_backend_pid()"))


async def end(database_url: str, *pids: int) -> None:
    other = create_engine(database_url, pool_size=1)
    async with transaction(other) as c:
        gone = text("select pg_terminate_backend(p, 5000) from unnest(cast(:pids as int[])) p")
        await c.execute(gone, {"pids": list(pids)})
    await other.dispose()


async def until_closed(*drivers: Driver) -> None:
    async with asyncio.timeout(2):
        while not all(driver.is_closed() for driver in drivers):  # noqa: ASYNC110 - the driver sees it
            await asyncio.sleep(0.001)


async def test_who_comes_next_has_the_connection_that_came_back_last(db: AsyncEngine) -> None:
    first, second = await two(db)
    async with transaction(db) as c:
        assert await pid(c) == first.get_server_pid()
        assert await at_hand(db) is second
        assert await at_hand(db) is second
    assert await at_hand(db) is first


async def test_who_asks_the_pool_itself_has_it_too(db: AsyncEngine) -> None:
    first, _ = await two(db)
    async with db.connect() as c:
        assert await pid(c) == first.get_server_pid()


async def test_after_a_refusal_it_stays_at_hand_and_nothing_is_left_of_it(db: AsyncEngine) -> None:
    first, _ = await two(db)

    async def refuse() -> None:
        async with transaction(db) as c:
            await c.execute(text("create table never (n int)"))
            raise NothingToSay("nothing")

    with pytest.raises(NothingToSay):
        await refuse()
    async with transaction(db) as c:
        assert await pid(c) == first.get_server_pid()
        assert await c.scalar(text("select to_regclass('never')")) is None


async def test_after_a_lock_that_was_waited_for_in_vain_it_stays_at_hand(
    db: AsyncEngine, database_url: str
) -> None:
    first, _ = await two(db)

    async def wait() -> None:
        async with transaction(db) as c:
            await c.execute(text("set local lock_timeout = '10ms'"))
            await locks.pair(c, AGENT, USER)

    other = create_engine(database_url)
    async with transaction(other) as c:
        await locks.pair(c, AGENT, USER)
        with pytest.raises(Unavailable):
            await wait()
    assert await at_hand(db) is first
    await other.dispose()


@pytest.mark.parametrize("directly", [False, True])
async def test_who_waits_for_a_connection_has_the_next_that_comes_back(
    database_url: str, *, directly: bool
) -> None:
    db = create_engine(database_url, pool_size=1)

    async def ask() -> int:
        async with db.connect() if directly else transaction(db) as c:
            return await pid(c)

    async with transaction(db) as c:
        used = await pid(c)
        waits = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waits)
    async with asyncio.timeout(2):
        assert [await task for task in waits] == [used] * 3
    assert (await at_hand(db)).get_server_pid() == used
    await db.dispose()


async def test_one_that_postgres_ended_meanwhile_is_not_handed_out(
    db: AsyncEngine, database_url: str
) -> None:
    lost = await two(db)
    await end(database_url, *(driver.get_server_pid() for driver in lost))
    await until_closed(*lost)
    assert await (await at_hand(db)).fetchval("select 1") == 1


async def in_a_statement(db: AsyncEngine, database_url: str) -> None:
    async def fetch() -> None:
        async with single(db) as driver:
            await driver.fetch("select pg_sleep(10)")

    driver = await at_hand(db)
    task = asyncio.create_task(fetch())
    await asyncio.sleep(0.05)
    await end(database_url, driver.get_server_pid())
    await task


async def in_a_transaction(db: AsyncEngine, database_url: str) -> None:
    async with transaction(db) as c:
        await end(database_url, await pid(c))
        await c.execute(text("select 1"))


@pytest.mark.parametrize("lose_one", [in_a_statement, in_a_transaction])
async def test_where_one_was_lost_the_others_are_not_trusted(
    db: AsyncEngine, database_url: str, lose_one: Callable[[AsyncEngine, str], Awaitable[None]]
) -> None:
    both = await two(db)
    with pytest.raises(Unavailable):
        await lose_one(db, database_url)
    assert [driver.is_closed() for driver in both] == [True, True]


async def test_one_that_does_not_answer_is_closed_and_the_others_stay(database_url: str) -> None:
    async with Wire(database_url) as wire:
        db = create_engine(wire.url, statement_seconds=SHORT)
        first, second = await two(db)

        async def wait() -> None:
            async with single(db) as driver:
                await driver.fetch("select pg_sleep(10)")

        with pytest.raises(Unavailable):
            await wait()
        assert first.is_closed()
        assert await at_hand(db) is second
        await db.dispose()


async def test_one_that_comes_back_after_all_were_let_go_is_closed(db: AsyncEngine) -> None:
    async with single(db) as driver:
        await db.dispose()
    assert driver.is_closed()


async def test_one_of_which_nobody_knows_whether_it_began_a_transaction_is_not_handed_out(
    database_url: str,
) -> None:
    async with Wire(database_url) as wire:
        db = create_engine(wire.url, pool_size=1)
        pool = kept.of(db)
        connection = await pool.take(db)
        driver = kept.driver_of(connection)
        wire.freeze()
        begin = asyncio.create_task(driver.transaction().start())
        await asyncio.sleep(0)
        await pool.give_back(connection, None)
        assert driver.is_closed()
        await asyncio.wait([begin])
        wire.thaw()
        assert await at_hand(db) is not driver
        await db.dispose()


async def test_one_that_was_cut_short_is_the_last_to_be_handed_out(db: AsyncEngine) -> None:
    first, second = await two(db)

    async def wait() -> None:
        async with single(db) as driver:
            await driver.fetch("select pg_sleep(10)")

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(2), single(db) as one, single(db) as other:
        assert (one, other) == (second, first)
        assert await other.fetchval("select 1") == 1


async def test_nothing_stays_open_once_the_engine_is_disposed_of(db: AsyncEngine) -> None:
    both = await two(db)
    await db.dispose()
    assert [driver.is_closed() for driver in both] == [True, True]


async def test_a_database_that_does_not_answer_is_not_waited_for_at_the_end(
    database_url: str,
) -> None:
    async with Wire(database_url) as wire:
        db = create_engine(wire.url)
        async with db.connect() as asked:  # of SQLAlchemy, which has it back
            both = await two(db)
            await asked.execute(text("select 1"))
        wire.freeze()
        async with asyncio.timeout(1):
            await db.dispose()
        assert [driver.is_closed() for driver in both] == [True, True]
