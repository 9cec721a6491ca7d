"""LISTEN on a connection of its own: hints that a row may be due, so that nobody has to wait."""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog
from sqlalchemy.engine import make_url

from textback.db.events import CHANNEL
from textback.db.session import CONNECT_SECONDS

log = structlog.stdlib.get_logger()

AGAIN_SECONDS = 1.0
CHECK_SECONDS = 5.0

# The last is of a connection that heard Postgres' last words, and has yet to see its end.
_LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def listen(
    database_url: str, heard: Callable[[str], None], *, check_seconds: float = CHECK_SECONDS
) -> None:
    """Call `heard` with each queue's name, until cancelled.

    A lost connection is made again; what was said meanwhile is missed, and polling finds it.
    """
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)

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
            await connection.add_listener(CHANNEL, told)
            if lost:
                log.info("listen.again")
            lost = False
            while not connection.is_closed():
                await asyncio.sleep(check_seconds)
                await connection.execute("select 1", timeout=CONNECT_SECONDS)
        except _LOST:
            lost = True
            log.warning("listen.lost", why="the connection broke")
        finally:
            connection.terminate()
