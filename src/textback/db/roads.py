"""The ways to Postgres that a deployment has, for `textback doctor`: where they lead."""

import asyncio
from datetime import timedelta

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.db.listen import listen
from textback.db.session import transaction

CHANNEL = "textback_doctor"
HEARD_SECONDS = 3.0


@frozen
class End:
    """Where one of them leads."""

    system: int
    """Of a primary and all its standbys."""
    database: str
    is_standby: bool
    lag: timedelta
    """Of a standby: how old the latest is that it has, if there is anything that it has not."""
    idle: timedelta | None
    """After which Postgres ends a transaction that does nothing; None: never."""


async def end(db: AsyncEngine) -> End:
    """Raises Unavailable."""
    query = text("""
        select (select system_identifier from pg_control_system()) as system,
            current_database() as database, pg_is_in_recovery() as is_standby,
            case when pg_is_in_recovery()
                and pg_last_wal_receive_lsn() is distinct from pg_last_wal_replay_lsn()
                then coalesce(clock_timestamp() - pg_last_xact_replay_timestamp(), interval '0')
                else interval '0' end as lag,
            (select setting::bigint from pg_settings
                where name = 'idle_in_transaction_session_timeout') as idle
    """)
    async with transaction(db) as c:
        row = (await c.execute(query)).one()
    idle = timedelta(milliseconds=row.idle) if row.idle else None
    return End(
        system=row.system,
        database=row.database,
        is_standby=row.is_standby,
        lag=row.lag,
        idle=idle,
    )


async def hears(direct_url: str, db: AsyncEngine, *, seconds: float = HEARD_SECONDS) -> bool:
    """Whether what is said over `db` is heard there, as workers hear that a row is due."""
    begun, heard = asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(
        listen(direct_url, lambda _: heard.set(), channel=CHANNEL, begun=begun.set)
    )
    try:
        async with asyncio.timeout(seconds):
            await begun.wait()
            async with transaction(db) as c:
                await c.execute(text("select pg_notify(:channel, '')"), {"channel": CHANNEL})
            await heard.wait()
    except (TimeoutError, asyncpg.PostgresError):
        return False
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    return True
