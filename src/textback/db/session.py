"""The only commit in the house, and the one place that knows how a lost database looks."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from textback import metrics
from textback.core.errors import Unavailable
from textback.core.events import Event
from textback.db import address, kept

in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)
"""Carriers and engines are never called while this is set; contract doubles assert it."""

_told: ContextVar[list[Event]] = ContextVar("told")
"""What is told of the transaction that is under way, to be counted once it is committed."""

CONNECT_SECONDS = 3.0
STATEMENT_SECONDS = 5.0
"""Twilio waits 15 s for a webhook's answer, and callers not much longer."""
POOL_SECONDS = 10.0
IDLE_SECONDS = 10.0
"""No transaction of ours waits for anybody: one that pauses this long has lost its process."""

_BROKEN = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""The last is what asyncpg says of a connection on which it gave up waiting in mid-operation."""

# SQLSTATEs of a connection that is of no more use: trouble on the wire, Postgres stopping or
# starting, a primary that became a standby.
_GONE = ("08", "57P", "25006", "25P03")
# Not now rather than never: also too many connections, a lock or a statement that took too long,
# and what an operator repairs while callers come again: a password, a database that is missing.
_HELD = "55P03"
_PASSING = (*_GONE, "53300", _HELD, "57014", "40001", "40P01", "28", "3D000")


def create_engine(
    database_url: str,
    *,
    pool_size: int = 10,
    statement_seconds: float = STATEMENT_SECONDS,
    idle_seconds: float = IDLE_SECONDS,
    read_only: bool = False,
) -> AsyncEngine:
    """An engine for a plain `postgresql://` URL. Nothing connects yet.

    `prepared_statement_cache_size=0` in the URL: nothing is prepared by a name, because a pool in
    between gives each transaction another session (PgBouncer before 1.21; docs/postgres.md).
    """
    # For Postgres' side, because a process that stalls, or whose machine is gone, keeps its locks
    # there until somebody notices; by default that takes two hours.
    noticed = {
        "idle_in_transaction_session_timeout": f"{idle_seconds:g}s",
        # A statement that nobody waits for any more would wait on for its lock, and with each
        # repetition another one, until Postgres has no connection left for anybody.
        "client_connection_check_interval": "2s",
        "tcp_keepalives_idle": f"{IDLE_SECONDS:g}",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    if read_only:
        noticed["default_transaction_read_only"] = "on"
    url, tls = address.read(database_url)
    nameless = {"statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
    is_nameless = url.query.get("prepared_statement_cache_size") == "0"
    engine = create_async_engine(
        url,
        poolclass=kept.KeptPool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,  # a parameter is a text, a number or a secret
        connect_args={
            **tls,
            **(nameless if is_nameless else {}),
            "timeout": CONNECT_SECONDS,
            "command_timeout": statement_seconds,
            "server_settings": noticed,
        },
    )

    @event.listens_for(engine.sync_engine, "handle_error")
    def _drop_the_pool(context: ExceptionContext) -> None:
        # After a restart of Postgres every pooled connection is dead: one failure empties the pool,
        # so that the next request connects anew instead of finding the next corpse.
        error = context.original_exception
        if isinstance(error, OSError) or _state(error).startswith(_GONE):
            context.is_disconnect = True

    @event.listens_for(engine.sync_engine, "close")
    def _end_at_once(connection: DBAPIConnection, _: object) -> None:
        # Whoever stops would wait for a database that hangs to say goodbye.
        driver: kept.Driver = cast("Any", connection).driver_connection
        driver.terminate()

    return engine


@asynccontextmanager
async def transaction(db: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """Commit on a clean exit, roll back on any exception.

    Raises Unavailable when the database cannot be reached or does not answer in time. If that
    happens at the commit, it is `in_doubt`: what is retried must be idempotent.
    """
    with _Attempt() as attempt:
        async with _Connected(db, attempt) as connection, connection.begin():
            yield connection
            attempt.in_doubt = True


@asynccontextmanager
async def single(db: AsyncEngine) -> AsyncGenerator["asyncpg.Connection[asyncpg.Record]"]:
    """The driver's own connection, for one statement: its end is its commit, in one round trip.

    Raises as `transaction`; whatever cuts the statement short is `in_doubt`.
    """
    with _Attempt() as attempt:
        async with _Connected(db, attempt) as connection:
            attempt.in_doubt = True
            yield kept.driver_of(connection)


class _Attempt:
    """What is counted of a transaction, and what becomes of its errors."""

    __slots__ = ("_place", "_tokens", "_told", "in_doubt")

    def __init__(self) -> None:
        self.in_doubt = False
        """Whether what has begun may have been committed although it failed."""
        self._place = metrics.Place()
        self._told: list[Event] = []

    def __enter__(self) -> Self:
        self._tokens = in_transaction.set(True), _told.set(self._told)
        return self

    def connected(self) -> None:
        self._place.taken()

    def __exit__(
        self, _: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        was_in, told = self._tokens
        in_transaction.reset(was_in)
        _told.reset(told)
        self._place.left()
        if error is None:
            metrics.told(self._told)
        elif isinstance(error, Exception) and is_unreachable(error):
            raise Unavailable(in_doubt=self.in_doubt) from error


class _Connected:
    """A connection of `db`, until the end."""

    __slots__ = ("_attempt", "_connection", "_db", "_pool")

    def __init__(self, db: AsyncEngine, attempt: _Attempt) -> None:
        self._db, self._attempt, self._pool = db, attempt, kept.of(db)

    async def __aenter__(self) -> AsyncConnection:
        self._connection = await self._pool.take(self._db)
        self._attempt.connected()
        return self._connection

    async def __aexit__(
        self, _: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        causes = [] if error is None else _causes(error)
        if any(map(_is_lost, causes)):
            kept.lose(self._connection)
            self._pool.drop()
        elif any(isinstance(each, TimeoutError) for each in causes):  # nobody answers on it
            kept.lose(self._connection)
        else:
            await self._pool.give_back(self._connection, error)


@asynccontextmanager
async def savepoint(c: AsyncConnection) -> AsyncGenerator[None]:
    """An exception undoes what was done within, and the transaction goes on for who catches it."""
    told = _told.get([])
    so_far = len(told)
    try:
        async with c.begin_nested():
            yield
    except BaseException:
        del told[so_far:]
        raise


def count_at_commit(events: Sequence[Event]) -> None:
    _told.get([]).extend(events)


def was_held(error: Unavailable) -> bool:
    """Whether somebody else's lock was waited for in vain; nothing is wrong with the database."""
    return any(_state(each) == _HELD for each in _causes(error))


def is_unreachable(error: BaseException) -> bool:
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or any(_is_passing(e) for e in _causes(error))
    return _is_passing(error)


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, _BROKEN):
        return True
    return _state(error).startswith(_PASSING)


def _is_lost(error: BaseException) -> bool:
    """The connection is of no more use; too slow an answer does not say so."""
    if isinstance(error, _BROKEN):
        return not isinstance(error, TimeoutError)
    return _state(error).startswith(_GONE)


def _state(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else ""


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = getattr(at, "orig", None) or at.__cause__
    return found
