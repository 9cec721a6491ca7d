"""Who keeps house in the database of a worker of pytest-xdist, over connections that outlive tests.

A new connection to Postgres costs ten times what is asked over it: Postgres starts a process that
knows no table yet, and SQLAlchemy has compiled no statement. So what each test does alike, at its
beginning and at its end, is asked from here: to provision, and to leave no row behind.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db.session import create_engine
from textback.db.tables import metadata
from textback.flows.provision import Report

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")
Apply = Callable[[AsyncEngine], Awaitable[Report]]

_TABLES = [table.name for table in metadata.tables.values()]
_HAS_ROWS = "select " + " or ".join(f"exists (select from {name})" for name in _TABLES)  # noqa: S608 - ours
# A fifth of the time of TRUNCATE, which makes new files and flushes them.
_WIPE = ";".join(f"DELETE FROM {name}" for name in _TABLES)  # noqa: S608 - ours
_SETTINGS = {
    # As a replica Postgres checks no foreign keys, so that the order does not matter.
    "session_replication_role": "replica",
    # A test that left a transaction open fails here instead of hanging.
    "lock_timeout": "5s",
}

# The last is of a connection that heard Postgres' last words, and has yet to see its end.
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True)
class Kept:
    """What one apply to an empty database reported, and each table's rows after it."""

    report: Report
    rows: Sequence[tuple[str, bytes]]


class Keeper:
    """Use as a context manager. Works in a thread of its own, whatever loop a test runs in."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._db = create_engine(database_url)
        self._connection: Connection | None = None
        self._lock = asyncio.Lock()
        self._kept: dict[Hashable, Kept] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="keeper")

    def __enter__(self) -> Self:
        self._thread.start()
        _keepers.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _keepers.remove(self)
        self._wait(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def wipe(self) -> None:
        """Leave no row in any table."""
        self._wait(self._wipe())

    async def provision(self, what: Hashable, engine: AsyncEngine, apply: Apply) -> Report:
        """Apply `what`; if nothing was in the database before, it is remembered, and only written.

        What is written then are the rows that the first apply wrote, byte by byte. The engine has
        an open connection afterwards in any case.
        """
        report = await self._away(self._provision(what, apply))
        if report is None:
            return await apply(engine)
        async with engine.connect():
            return report

    async def ask(self, query: str, *values: object) -> Any:
        """The first value of the answer, seen from outside of any transaction of the test's."""
        return await self._away(self._ask(query, *values))

    def keeps(self, engine: AsyncEngine) -> bool:
        """Whether the engine leads to the database of this keeper."""
        return engine.url == self._db.url

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _away(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _provision(self, what: Hashable, apply: Apply) -> Report | None:
        async with self._connected() as c:
            if await c.fetchval(_HAS_ROWS):
                return None
            kept = self._kept.get(what)
            if kept is None:
                report = await apply(self._db)
                copies = [(name, await _copy(c, name)) for name in _TABLES]
                self._kept[what] = Kept(report, [(name, rows) for name, rows in copies if rows])
                return report
            async with c.transaction():
                for name, rows in kept.rows:
                    await c.copy_to_table(name, source=BytesIO(rows), format="binary")
            return kept.report

    async def _ask(self, query: str, *values: object) -> Any:
        async with self._connected() as c:
            return await c.fetchval(query, *values)

    async def _wipe(self) -> None:
        async with self._connected() as c:
            await c.execute(_WIPE)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection]:
        """The one connection, for one at a time; a new one if a test ended all that there were."""
        async with self._lock:
            try:
                if self._connection is not None:
                    await self._connection.fetchval("select 1")
            except _LOST:
                self._connection = None
                await self._db.dispose()
            if self._connection is None:
                self._connection = await asyncpg.connect(self._url, server_settings=_SETTINGS)
            yield self._connection

    async def _close(self) -> None:
        await self._db.dispose()
        if self._connection is not None:
            await self._connection.close()


async def _copy(c: Connection, name: str) -> bytes | None:
    if not await c.fetchval(f"select exists (select from {name})"):  # noqa: S608 - ours
        return None
    into = BytesIO()
    await c.copy_from_table(name, output=into, format="binary")
    return into.getvalue()


_keepers: list[Keeper] = []


def keeper_of(engine: AsyncEngine) -> Keeper | None:
    """Whoever keeps the engine's database; None for one that a test made for itself."""
    return next((keeper for keeper in _keepers if keeper.keeps(engine)), None)


async def ask(engine: AsyncEngine, query: str, *values: object) -> Any:
    """Ask the keeper of the engine's database: cheaper than over a connection of the test's."""
    keeper = keeper_of(engine)
    assert keeper is not None, "nobody keeps this database"
    return await keeper.ask(query, *values)
