"""A replica answers lists and reports; whoever asks for what was just written asks the primary."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from io import StringIO

import httpx
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, settings, started
from tests.support.native import get, send
from tests.support.standby import Standby
from textback.cli import doctor_roads
from textback.core.errors import Unavailable
from textback.db.listen import listen
from textback.db.replica import AGAIN_SECONDS, Reading
from textback.db.session import create_engine, transaction
from textback.embedded import Servers


@pytest.fixture(scope="module")
def standby(servers: Servers) -> Generator[Standby]:
    with Standby(servers) as made:
        yield made


@pytest.fixture
async def http(
    provisioned: AsyncEngine,  # noqa: ARG001 - what it asks for
    standby: Standby,
    database_url: str,
    redis_url: str,
) -> AsyncGenerator[httpx.AsyncClient]:
    found = settings(database_url, redis_url, replica_url=standby.url)
    async with started(found) as rt, client(rt) as made:
        yield made


async def on(db: AsyncEngine, statement: str) -> object:
    async with transaction(db) as c:
        return await c.scalar(text(statement))


async def test_lists_lag_as_the_replica_does_and_what_was_just_sent_is_found(
    http: httpx.AsyncClient, engine: AsyncEngine, standby: Standby
) -> None:
    replica = create_engine(standby.url, pool_size=2)
    await standby.follow(engine)
    await on(replica, "select pg_wal_replay_pause()")
    sent = await send(http)
    talk, one = sent["conversation_id"], sent["message_id"]
    try:
        assert (await get(http, f"/messages/{one}"))["id"] == one
        assert (await get(http, f"/conversations/{talk}"))["id"] == talk
        assert (await get(http, f"/conversations/{talk}/messages"))["data"][0]["id"] == one
        for path in ("/messages", "/conversations", "/events"):
            assert (await get(http, path))["data"] == []
    finally:
        await on(replica, "select pg_wal_replay_resume()")
    await standby.follow(engine)
    await replica.dispose()
    assert [each["id"] for each in (await get(http, "/messages"))["data"]] == [one]
    assert [each["id"] for each in (await get(http, "/conversations"))["data"]] == [talk]
    assert len((await get(http, "/events"))["data"]) > 1


async def test_what_the_replica_lacks_is_looked_for_at_the_primary_and_it_is_never_written_to(
    engine: AsyncEngine, database_url: str, standby: Standby
) -> None:
    replica = create_engine(standby.url, pool_size=2, read_only=True)
    reading = Reading(engine, replica)

    async def where(db: AsyncEngine) -> str | None:
        return "primary" if db is engine else None

    assert await reading.ask(on, "select pg_is_in_recovery()") is True
    assert await reading.find(where) == "primary"
    assert await reading.ask(where) is None
    await reading.close()
    # Nor would it be, if it became a primary, or the wrong URL was given.
    wrong = create_engine(database_url, pool_size=1, read_only=True)
    with pytest.raises(Unavailable):
        await on(wrong, "create table anything ()")
    await wrong.dispose()


async def test_without_its_replica_everything_is_answered_and_that_is_told_once(
    http: httpx.AsyncClient, standby: Standby, logged: StringIO
) -> None:
    def lost() -> tuple[float | None, float | None]:
        times = REGISTRY.get_sample_value("textback_replica_fallbacks_total")
        return REGISTRY.get_sample_value("textback_replica_lost"), times

    _, before = lost()
    sent = await send(http)
    standby.stop()
    for _ in range(3):
        assert [each["id"] for each in (await get(http, "/messages"))["data"]] == [
            sent["message_id"]
        ]
    assert lost() == (1, (before or 0) + 1)
    assert logged.getvalue().count("replica.lost") == 1
    standby.start()


async def test_a_replica_that_was_lost_is_asked_again_by_one_at_a_time(
    engine: AsyncEngine,
) -> None:
    now, changes, gate = 0.0, list[bool](), asyncio.Event()
    away = create_engine("postgresql://postgres@127.0.0.1:9/textback", pool_size=1)
    reading = Reading(engine, away, clock=lambda: now, on_change=changes.append)
    asked = list[str]()

    async def question(db: AsyncEngine) -> object:
        asked.append("primary" if db is engine else "replica")
        if now > AGAIN_SECONDS and db is away:
            await gate.wait()
            return True
        return await on(db, "select true")

    assert await reading.ask(question)
    assert await reading.ask(question)
    assert (asked, changes) == (["replica", "primary", "primary"], [True])
    asked.clear()
    now = AGAIN_SECONDS + 1
    probe = asyncio.create_task(reading.ask(question))
    await asyncio.sleep(0)
    assert await reading.ask(question)
    gate.set()
    assert await probe
    assert (asked, changes) == (["replica", "primary"], [True, False])
    await reading.ask(question)
    assert asked[-1] == "replica"
    await reading.close()


async def test_who_cannot_listen_where_it_is_sent_tries_again_a_second_later_and_says_so_once(
    standby: Standby, logged: StringIO
) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.8):
            await listen(standby.url, lambda _: None)  # a standby refuses it
    assert logged.getvalue().count("listen.lost") == 1


async def test_doctor_says_where_each_way_to_postgres_leads(
    engine: AsyncEngine, standby: Standby, database_url: str, redis_url: str
) -> None:
    elsewhere = database_url.replace("/textback?", "/postgres?")

    async def said(**ways: str) -> list[tuple[bool, str]]:
        found = settings(database_url, redis_url, **ways)
        return [(each.ok, each.what) for each in await doctor_roads.findings(found, engine)]

    well = [(True, "a stalled process keeps its locks for 10 s")]
    heard = [(True, "workers hear at once that a text is due (LISTEN)")]
    assert await said() == [*well, *heard]
    replica = (True, "replica reached, and up to date")
    assert await said(direct_url=database_url, replica_url=standby.url) == [*well, *heard, replica]
    # A notification is heard in its own database alone.
    deaf, wrong = (await said(direct_url=elsewhere, replica_url=elsewhere))[1:]
    assert (deaf[0], "over TEXTBACK_DIRECT_URL nothing is heard" in deaf[1]) == (False, True)
    assert (wrong[0], "another database" in wrong[1]) == (False, True)
    away = (await said(replica_url="postgresql://postgres@127.0.0.1:9/textback"))[-1]
    assert (away[0], "cannot be reached" in away[1]) == (False, True)
