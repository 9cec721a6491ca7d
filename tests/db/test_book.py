"""What was provisioned is kept while it is known to be unchanged, and no longer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.support.provision import provision
from textback.db.book import TRUSTED_SECONDS, Book
from textback.db.session import transaction


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """Looks the policy of a project up, and counts how often it was read."""

    def __init__(self, book: Book) -> None:
        self.book, self.reads = book, 0

    async def name(self) -> str | None:
        async def load(c: AsyncConnection) -> str | None:
            self.reads += 1
            return await c.scalar(text("select name from accounts where id = 'acme'"))

        return await self.book.get("name", load)


async def rename(engine: AsyncEngine, name: str) -> None:
    async with transaction(engine) as c:
        await c.execute(text("update accounts set name = :name where id = 'acme'"), {"name": name})


class Pool:
    """What a pool in transaction mode is to who listens: it answers, and passes no news on."""

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url)
        self._socket = Path(str(url.query["host"])) / f".s.PGSQL.{url.query['port']}"
        self._pumps: list[asyncio.Task[None]] = []
        self.answers = asyncio.Semaphore(0)
        """One more whenever it is ready for a query."""

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}/textback?sslmode=disable"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.wait(self._pumps)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._pumps += [asyncio.create_task(self._up(reader, back))]
        self._pumps += [asyncio.create_task(self._down(there, writer))]

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while sent := await reader.read(65_536):
            writer.write(sent)
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(5)
                rest = await reader.readexactly(int.from_bytes(head[1:]) - 4)
                if head[:1] == b"K":  # the session's number, and what cancels its statements
                    rest = bytes(4) + rest[4:]
                if head[:1] != b"A":
                    writer.write(head + rest)
                if head[:1] == b"Z":
                    self.answers.release()
        writer.close()


@asynccontextmanager
async def kept_fresh(book: Book, database_url: str) -> AsyncGenerator[None]:
    task = asyncio.create_task(book.keep_fresh(database_url))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_change_is_known_at_once_and_what_did_not_change_is_not_read_again(
    engine: AsyncEngine, database_url: str
) -> None:
    await provision(engine)
    reader = Reader(Book(engine))
    async with kept_fresh(reader.book, database_url), asyncio.timeout(30):
        reads = -1
        while reads < reader.reads:  # until it is heard
            reads = reader.reads
            assert await reader.name() == "Acme Dental"
            assert await reader.name() == "Acme Dental"
            await asyncio.sleep(0.001)
        await rename(engine, "Acme")
        while await reader.name() != "Acme":  # noqa: ASYNC110 - it is the book that is told
            await asyncio.sleep(0.001)


async def test_who_does_not_hear_of_changes_reads_each_time(engine: AsyncEngine) -> None:
    await provision(engine)
    reader = Reader(Book(engine))
    assert [await reader.name(), await reader.name()] == ["Acme Dental"] * 2
    await rename(engine, "Acme")
    assert await reader.name() == "Acme"
    assert reader.reads == 3


async def test_behind_a_pool_that_passes_no_news_on_everything_is_read_each_time(
    engine: AsyncEngine, database_url: str
) -> None:
    await provision(engine)
    reader, pool = Reader(Book(engine)), Pool(database_url)
    async with pool as url, kept_fresh(reader.book, url):
        for _ in ("connected", "listening", "asked", "asked again"):
            async with asyncio.timeout(30):
                await pool.answers.acquire()
        assert await reader.name() == "Acme Dental"
        await rename(engine, "Acme")
        assert await reader.name() == "Acme"


async def test_who_has_not_heard_from_postgres_for_a_second_trusts_nothing(
    engine: AsyncEngine,
) -> None:
    await provision(engine)
    clock = Clock()
    reader = Reader(Book(engine, clock=clock))
    reader.book.confirm(clock.now)
    await reader.name()
    await rename(engine, "Acme")  # nobody tells
    clock.now += TRUSTED_SECONDS * 0.9
    assert await reader.name() == "Acme Dental"
    clock.now += TRUSTED_SECONDS * 0.2
    assert await reader.name() == "Acme"


async def test_what_was_read_while_it_changed_is_not_kept(engine: AsyncEngine) -> None:
    await provision(engine)
    book = Book(engine, clock=Clock())
    book.confirm(100.0)

    async def old(c: AsyncConnection) -> str | None:
        found = await c.scalar(text("select name from accounts where id = 'acme'"))
        await rename(engine, "Acme")
        book.forget()  # as Postgres tells
        return found

    assert await book.get("name", old) == "Acme Dental"
    assert await Reader(book).name() == "Acme"


async def test_what_is_not_there_is_looked_for_again(engine: AsyncEngine) -> None:
    await provision(engine)
    book = Book(engine, clock=Clock())
    book.confirm(100.0)
    asked = 0

    async def none(c: AsyncConnection) -> None:
        del c
        nonlocal asked
        asked += 1

    for _ in range(3):
        assert await book.get("key", none) is None
    assert asked == 3
