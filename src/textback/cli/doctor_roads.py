"""What `textback doctor` asks of the ways to Postgres: PgBouncer's, the direct one, a replica's."""

from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.cli.doctor_postgres import why
from textback.core.errors import Unavailable
from textback.core.ports import Finding
from textback.db import roads
from textback.db.roads import End
from textback.db.session import create_engine
from textback.settings import Settings

LONGEST_IDLE: Final = timedelta(minutes=1)
MOST_LAG: Final = timedelta(seconds=30)


async def findings(found: Settings, db: AsyncEngine) -> list[Finding]:
    """`db`: where TEXTBACK_DATABASE_URL leads. Raises Unavailable."""
    there = await roads.end(db)
    replica = [await _replica(found.replica_url, there)] if found.replica_url else []
    return [_idle(there), await _direct(found, db), *replica]


def _idle(there: End) -> Finding:
    if there.idle is not None and there.idle <= LONGEST_IDLE:
        return Finding(
            ok=True, what=f"a stalled process keeps its locks for {there.idle.seconds} s"
        )
    return Finding(
        ok=False,
        what="a process that stalls in a transaction keeps its locks: Postgres does not end it",
        fix="PgBouncer does not pass that on: alter role textback set"
        " idle_in_transaction_session_timeout = '10s' (docs/postgres.md).",
    )


async def _direct(found: Settings, db: AsyncEngine) -> Finding:
    if await roads.hears(found.direct(), db):
        return Finding(ok=True, what="workers hear at once that a text is due (LISTEN)")
    which = "TEXTBACK_DIRECT_URL" if found.direct_url else "TEXTBACK_DATABASE_URL"
    return Finding(
        ok=False,
        what=f"over {which} nothing is heard (LISTEN): workers find what is due by polling only",
        fix="Set TEXTBACK_DIRECT_URL to Postgres itself: this database, and no pool between.",
    )


async def _replica(url: str, primary: End) -> Finding:
    replica = create_engine(url, pool_size=1, read_only=True)
    try:
        there = await roads.end(replica)
    except Unavailable as error:
        return Finding(
            ok=False,
            what=f"the replica cannot be reached ({why(error)}): the primary answers in its place",
            fix="Check TEXTBACK_REPLICA_URL, and that it runs (hot_standby = on).",
        )
    finally:
        await replica.dispose()
    if (there.system, there.database) != (primary.system, primary.database):
        return Finding(
            ok=False,
            what="TEXTBACK_REPLICA_URL leads to another database: lists show what is not there",
            fix="Let it lead to a standby of the Postgres of TEXTBACK_DATABASE_URL.",
        )
    if not there.is_standby:
        return Finding(
            ok=True,
            what="TEXTBACK_REPLICA_URL leads to the primary itself",
            fix="Well after a fail-over; else leave it out.",
        )
    if there.lag > MOST_LAG:
        return Finding(
            ok=False,
            what=f"the replica is {there.lag.total_seconds():.0f} s behind: so are lists and usage",
            fix="Look at its disk and network, and for long queries on it.",
        )
    return Finding(ok=True, what="replica reached, and up to date")
