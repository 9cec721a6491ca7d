"""What `textback doctor` asks of Postgres."""

import ssl
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback import logs, wiring
from textback.core.errors import Unavailable
from textback.core.ports import Finding
from textback.db import checkup, migrate, reads, watch
from textback.db.checkup import Server
from textback.db.clock import SharedClock

CLOCKS_APART: Final = 5.0
"""Seconds."""
OLDEST: Final = 150000
OLDEST_NAME: Final = "15"
LISTENING: Final = 2
"""Connections of a process beside its pool: those that listen."""
FULL: Final = 0.9
LONG: Final = timedelta(minutes=5)
LAG: Final = timedelta(seconds=30)
MOST_UNFROZEN: Final = 1_000_000_000
KEPT: Final = 1 << 30
"""Bytes of Postgres' log."""


async def reached(db: AsyncEngine) -> Finding:
    try:
        revision = await reads.revision(db)
    except Unavailable as error:
        fix = "Check TEXTBACK_DATABASE_URL, and that Postgres runs."
        if isinstance(_cause(error), ssl.SSLCertVerificationError):
            fix = (
                "Name its authority (sslrootcert=FILE) and, as the certificate has it, its host in"
                " TEXTBACK_DATABASE_URL: docs/security.md."
            )
        return Finding(ok=False, what=f"the database cannot be reached: {why(error)}", fix=fix)
    if not migrate.fits(revision):
        return Finding(
            ok=False,
            what=f"the schema is at revision {revision}, this version needs {migrate.head()}",
            fix="Run textback migrate.",
        )
    if revision != migrate.head():
        what = f"database reached; its schema is newer than this version: {revision}"
        return Finding(ok=True, what=what, fix="That is well while processes are being replaced.")
    return Finding(ok=True, what=f"database reached, schema at revision {revision}")


def why(error: Unavailable) -> str:
    """In one line, without secrets."""
    cause = _cause(error)
    words = " ".join(str(cause).split()) or type(cause).__name__
    return logs.without_secrets(words)


def _cause(error: BaseException) -> BaseException:
    """What it began with. An OSError says it all; one of a time that ran out has a cancellation."""
    while error.__cause__ is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error


async def findings(db: AsyncEngine, *, pool: int) -> list[Finding]:
    """`pool`: connections of one process. Raises Unavailable."""
    server = await checkup.server(db)
    return [*judged(server, pool=pool), await _durability(db), await _clock(db)]


def judged(server: Server, *, pool: int) -> list[Finding]:
    """What it says of itself."""
    return [
        _version(server),
        _encryption(server),
        _connections(server, pool),
        *_standbys(server),
        *_log(server),
        *_tidiness(server),
    ]


def _version(s: Server) -> Finding:
    if s.is_standby:
        return Finding(
            ok=False,
            what="TEXTBACK_DATABASE_URL leads to a standby, which takes no writes",
            fix="Let it lead to the primary.",
        )
    if s.version < OLDEST:
        return Finding(
            ok=False,
            what=f"Postgres {s.version_name} is older than any version this was tried with",
            fix=f"Use Postgres {OLDEST_NAME} or newer.",
        )
    return Finding(ok=True, what=f"Postgres {s.version_name}, {_size(s.bytes)} in this database")


async def _durability(db: AsyncEngine) -> Finding:
    unsafe = {
        name: value
        for name, value in (await watch.durability(db)).items()
        if value in {"off", "local"}
    }
    if not unsafe:
        return Finding(ok=True, what="Postgres keeps what it confirmed (fsync, synchronous_commit)")
    return Finding(
        ok=False,
        what="Postgres may lose what it confirmed: "
        + ", ".join(f"{name} is {value}" for name, value in sorted(unsafe.items())),
        fix="Set them to on in postgresql.conf, or for textback's role or database.",
    )


def _encryption(s: Server) -> Finding:
    if s.is_encrypted:
        return Finding(ok=True, what="the connection to Postgres is encrypted")
    if not s.is_remote:
        return Finding(ok=True, what="the connection to Postgres does not leave this machine")
    return Finding(
        ok=True,
        what="the connection to Postgres crosses a network in clear text",
        fix="Well in a network of your own; else put ?sslmode=verify-full behind the URL"
        " (docs/security.md).",
    )


def _connections(s: Server, pool: int) -> Finding:
    what = (
        f"{s.connections} of {s.most_connections} connections to Postgres are in use; "
        f"a process takes up to {pool + LISTENING}"
    )
    left = s.most_connections - s.connections
    if s.connections <= FULL * s.most_connections and left >= LISTENING:
        return Finding(ok=True, what=what)
    return Finding(
        ok=False,
        what=what,
        fix="Raise max_connections, lower TEXTBACK_DATABASE_POOL, or put PgBouncer in between.",
    )


def _standbys(s: Server) -> Iterator[Finding]:
    if s.wants_synchronous and not s.synchronous_standbys:
        yield Finding(
            ok=False,
            what="Postgres waits for a synchronous standby, and none is connected",
            fix="Bring the standby back, or take it out of synchronous_standby_names.",
        )
    elif s.standbys and not s.synchronous_standbys:
        yield Finding(
            ok=True,
            what=f"standbys: {s.standbys}, none of them synchronous",
            fix="If one takes over, what was confirmed last is lost: run textback doubt then.",
        )
    elif s.standbys:
        yield Finding(
            ok=True, what=f"standbys: {s.standbys}, synchronous: {s.synchronous_standbys}"
        )
    if s.lag is not None and s.lag > LAG:
        yield Finding(
            ok=False,
            what=f"a standby is {s.lag.total_seconds():.0f} s behind",
            fix="Look at its disk and network, and for long queries on it.",
        )


def _log(s: Server) -> Iterator[Finding]:
    for slot in s.slots:
        if slot.bytes > KEPT:
            yield Finding(
                ok=False,
                what=f"Postgres keeps {_size(slot.bytes)} of its log for the slot {slot.name}, "
                "which nobody uses: until the disk is full",
                fix=f"Bring its reader back, or select pg_drop_replication_slot('{slot.name}').",
            )
    if s.fails_to_archive:
        yield Finding(
            ok=False,
            what="Postgres cannot archive its log: it fills the disk, and backups lack it",
            fix="Look into Postgres' log, and at archive_command and where it writes.",
        )
    elif s.archives:
        yield Finding(ok=True, what="Postgres archives its log")


def _tidiness(s: Server) -> Iterator[Finding]:
    if s.longest_transaction is not None and s.longest_transaction > LONG:
        yield Finding(
            ok=False,
            what=f"a transaction has been open for {s.longest_transaction.total_seconds():.0f} s, "
            "so that Postgres cannot clean up",
            fix="Find it in pg_stat_activity (order by xact_start), and end it.",
        )
    if not s.vacuums:
        yield Finding(
            ok=False, what="autovacuum is off: queues get slower by the hour", fix="Set it to on."
        )
    if s.transactions_unfrozen > MOST_UNFROZEN:
        yield Finding(
            ok=False,
            what=f"{s.transactions_unfrozen / 1e6:.0f} million transactions were not vacuumed; "
            "Postgres stops at 2100",
            fix="Look why vacuum does not get through: long transactions, unused slots.",
        )


async def _clock(db: AsyncEngine) -> Finding:
    ahead = await SharedClock(wiring.clock, wiring.steady).look(db)
    seconds = ahead.total_seconds()
    if abs(seconds) < CLOCKS_APART:
        return Finding(ok=True, what="this machine's clock agrees with Postgres'")
    way = "ahead of" if seconds > 0 else "behind"
    return Finding(
        ok=False,
        what=f"this machine's clock is {abs(seconds):.0f} s {way} Postgres', which is ours",
        fix="Let both keep time by NTP.",
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count > 1e9 else f"{count / 1e6:.0f} MB"  # noqa: PLR2004 - as it reads
