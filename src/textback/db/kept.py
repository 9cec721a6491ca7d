"""Connections that stay at hand: who comes next takes the one that came back last (ADR 37)."""

import asyncio
from typing import Any, TypeAlias, cast

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import AsyncAdaptedQueuePool, PoolProxiedConnection

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class KeptPool(AsyncAdaptedQueuePool):
    """SQLAlchemy's pool opens connections, bounds their number and lets callers wait for one.

    What was given back stays here while nobody waits. To hand a connection out and to take it back
    costs SQLAlchemy several times what a short statement costs this process; and its pool hands
    them out in turn, each with a process of Postgres whose caches have gone cold meanwhile.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as SQLAlchemy has it
        super().__init__(*args, **kwargs)
        self._idle: list[AsyncConnection] = []
        self._waiting = 0

    def connect(self) -> PoolProxiedConnection:
        """For who asks SQLAlchemy: what is at hand is theirs as well."""
        if self._idle:
            _sync(self._idle.pop()).close()
        self._waiting += 1
        try:
            return super().connect()
        finally:
            self._waiting -= 1

    def dispose(self) -> None:
        while self._idle:
            _sync(self._idle.pop()).close()
        super().dispose()

    def drop(self) -> None:
        """Lose what is idle."""
        while self._idle:
            lose(self._idle.pop())

    async def take(self, db: AsyncEngine) -> AsyncConnection:
        """Raises as `db.connect`."""
        while self._idle:
            connection = self._idle.pop()
            if _is_clean(connection):
                return connection
            lose(connection)
        return await db.connect()

    async def give_back(self, connection: AsyncConnection, error: BaseException | None) -> None:
        """`error`: what it failed with, if that does not say that the connection is lost."""
        if not _is_clean(connection) or connection.engine.pool is not self:  # or all were let go
            lose(connection)
        elif self._waiting:
            await asyncio.shield(connection.close())
        elif error is None or isinstance(error, Exception):
            self._idle.append(connection)
        else:  # cut short: the driver may still be taking its statement back
            self._idle.insert(0, connection)


def of(db: AsyncEngine) -> KeptPool:
    return cast("KeptPool", db.pool)


def driver_of(connection: AsyncConnection) -> Driver:
    return cast("Any", _sync(connection).connection.driver_connection)


def _sync(connection: AsyncConnection) -> Connection:
    if connection.sync_connection is None:
        msg = "a connection at hand is one that was opened"
        raise RuntimeError(msg)
    return connection.sync_connection


def _is_clean(connection: AsyncConnection) -> bool:
    sync = _sync(connection)
    if sync.closed or sync.invalidated:
        return False
    driver: Any = driver_of(connection)
    # The last is told of a transaction that was asked for, also while Postgres has not answered.
    return not (driver.is_closed() or driver.is_in_transaction() or driver._top_xact)  # noqa: SLF001


def lose(connection: AsyncConnection) -> None:
    """Instead of giving it back: it ends without a word to a database that may never answer."""
    sync = _sync(connection)
    if not sync.closed and not sync.invalidated:
        driver_of(connection).terminate()
        sync.invalidate()
    sync.close()
