"""LISTEN on a connection of its own: hints that a row may be due, so that nobody has to wait."""

import asyncio
from collections.abc import Callable
from time import monotonic

import asyncpg
import structlog

from textback.db import address
from textback.db.events import CHANNEL
from textback.db.session import CONNECT_SECONDS

log = structlog.stdlib.get_logger()

AGAIN_SECONDS = 1.0
CHECK_SECONDS = 5.0

# The last is of a connection that heard Postgres' last words, and has yet to see its end.
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def listen(
    database_url: str,
    heard: Callable[[str], None],
    *,
    channel: str = CHANNEL,
    check_seconds: float = CHECK_SECONDS,
    begun: Callable[[], None] | None = None,
    alive: Callable[[float], None] | None = None,
) -> None:
    """Call `heard` with what is said on the channel (each queue's name), until cancelled.

    A lost connection is made again; what was said meanwhile is missed, and polling finds it.
    `begun`: called whenever it hears from then on. `alive`: told each time that Postgres answered
    when it was asked, by `monotonic`: all that was said before then has been heard. Never where a
    pool in between lends a session for each transaction: it answers, and passes nothing on.
    """
    url = address.plain(database_url)

    def told(_c: object, _pid: int, _channel: str, payload: object) -> None:
        heard(str(payload))

    lost = False
    while True:
        try:
            connection = await _connected(url, channel, told)
        except _LOST as error:
            if not lost:
                log.warning("listen.lost", why=type(error).__name__)
            lost = True
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        try:
            if begun is not None:
                begun()
            if lost:
                log.info("listen.again")
            lost = False
            # Pools make up the number of a client's session, because it has none of its own.
            is_ours = f"select 1 where pg_backend_pid() = {connection.get_server_pid()}"
            while not connection.is_closed():
                asked_at = monotonic()
                answer = await connection.execute(is_ours, timeout=CONNECT_SECONDS)
                if alive is not None and answer == "SELECT 1":
                    alive(asked_at)
                await asyncio.sleep(check_seconds)
        except _LOST:
            lost = True
            log.warning("listen.lost", why="the connection broke")
        finally:
            connection.terminate()


async def _connected(
    url: str, channel: str, told: Callable[[object, int, str, object], None]
) -> "asyncpg.Connection[asyncpg.Record]":
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.add_listener(channel, told)
    except BaseException:
        connection.terminate()
        raise
    return connection
