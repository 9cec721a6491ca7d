"""Statements that go to the driver as they are, where SQLAlchemy's part costs more than theirs.

That is ten times what the driver's own part costs (ADR 35); the connection and its transaction
stay SQLAlchemy's.
"""

import asyncio
import re
from typing import Any, Final, TypeAlias, cast

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.db import kept
from textback.db.session import single

_Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_OF_DRIVER: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_NAMED: Final = re.compile(r"(?<!:):([a-z_][a-z_0-9]*)")


class Statement:
    """SQL with `:names`, as in SQLAlchemy's `text`; written once, prepared once a connection."""

    def __init__(self, sql: str) -> None:
        self._names = tuple(dict.fromkeys(_NAMED.findall(sql)))
        places = {name: f"${place}" for place, name in enumerate(self._names, start=1)}
        self._sql = _NAMED.sub(lambda found: places[found[1]], sql)

    async def rows(self, c: AsyncConnection, **given: object) -> list[asyncpg.Record]:
        """In the transaction of `c`. Raises asyncpg's errors.

        JSON is given as it is written, and comes as what it says.
        """
        driver = await _driver(c)
        try:
            return await driver.fetch(self._sql, *[given[name] for name in self._names])
        except (TimeoutError, asyncio.CancelledError):
            # As SQLAlchemy does. To roll back would be to wait for who does not answer, and what
            # comes of that would be raised instead.
            kept.lose(c)
            raise

    async def committed(self, db: AsyncEngine, **given: object) -> list[asyncpg.Record]:
        """As a transaction of its own. Raises Unavailable, asyncpg's errors."""
        async with single(db) as driver:
            return await driver.fetch(self._sql, *[given[name] for name in self._names])


async def _driver(c: AsyncConnection) -> _Driver:
    held = c.sync_connection
    driver: Any = None if held is None else held.connection.driver_connection
    if held is None or driver is None or not driver.is_in_transaction():
        await _begin(c)
        driver = cast("Any", c.sync_connection).connection.driver_connection
    return cast("_Driver", driver)


async def _begin(c: AsyncConnection) -> None:
    """As SQLAlchemy does before the first statement that it sends itself, but without one.

    Without an answer nobody knows whether it has begun: what came after it might be in a
    transaction that is never committed.
    """
    adapter: Any = cast("Any", c.sync_connection).connection.dbapi_connection
    try:
        await adapter._start_transaction()  # noqa: SLF001
    except BaseException as error:
        kept.lose(c)
        if isinstance(error.__cause__, _OF_DRIVER):  # which SQLAlchemy has put into its own form
            raise error.__cause__ from None
        raise
