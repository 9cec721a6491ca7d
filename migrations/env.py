"""How Alembic runs: over asyncpg, one process at a time, never waiting long for a lock."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from textback.db import address
from textback.db.tables import metadata

# Any constant does; it only has to be the same for everybody who migrates.
LOCK = 7_466_012


def database_url() -> str:
    url = context.config.attributes.get("database_url") or os.environ["TEXTBACK_DATABASE_URL"]
    return str(url)


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        connection.execute(text("set local lock_timeout = '5s'"))
        context.run_migrations()


async def main() -> None:
    url, tls = address.read(database_url())
    engine = create_async_engine(url, poolclass=NullPool, connect_args={**tls, "timeout": 10})
    async with engine.connect() as connection:
        await connection.execute(text("select pg_advisory_lock(:lock)"), {"lock": LOCK})
        await connection.commit()  # the lock is the session's: it stays until we disconnect
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
