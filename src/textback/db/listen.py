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
    when it was asked, by `monotonic`: all that was said before then has been heard.
    """
    url = address.plain(database_url)

    def told(_c: object, _pid: int, _channel: str, payload: object) -> None:
        heard(str(payload))

    lost = False
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        except _LOST as error:
            if not lost:
                log.warning("listen.lost", why=type(error).__name__)
            lost = True
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        try:
            await connection.add_listener(channel, told)
            if begun is not None:
                begun()
            if lost:
                log.info("listen.again")
            lost = False
            while not connection.is_closed():
                asked_at = monotonic()
                await connection.execute("select 1", timeout=CONNECT_SECONDS)
                if alive is not None:
                    alive(asked_at)
                await asyncio.sleep(check_seconds)
        except _LOST:
            lost = True
            log.warning("listen.lost", why="the connection broke")
        finally:
            connection.terminate()
