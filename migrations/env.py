"""How Alembic runs: over asyncpg, one process at a time, never waiting long for a lock."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from textback.db import address
from textback.db.tables import metadata

# Any constant does; it only has to be the same for everybody who migrates.
LOCK = 7_466_012


def database_url() -> str:
    url = context.config.attributes.get("database_url") or os.environ["TEXTBACK_DATABASE_URL"]
    return str(url)


TRIES = 10

IN_THE_WAY = ("40P01", "55P03")
"""A deadlock; a lock that took too long, which is less than others wait before they see one."""


def run(connection: Connection) -> None:
    """Whoever works meanwhile may hold a table that we want, and want one that we hold.

    Then it starts over: what was done is undone, and a moment later they are elsewhere.
    """
    for tried in range(1, TRIES + 1):
        try:
            context.configure(connection=connection, target_metadata=metadata)
            with context.begin_transaction():
                connection.execute(text("set local lock_timeout = '500ms'"))
                context.run_migrations()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in IN_THE_WAY or tried == TRIES:
                raise
            connection.rollback()
        else:
            return


async def main() -> None:
    url, tls = address.read(database_url())
    engine = create_async_engine(url, poolclass=NullPool, connect_args={**tls, "timeout": 10})
    async with engine.connect() as connection:
        await connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": LOCK})
        await connection.commit()  # the lock is the session's: it stays until we disconnect
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
