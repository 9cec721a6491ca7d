"""Hints that a row may be due come again after whatever happened to their connection."""

import asyncio
import contextlib
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db import events
from textback.db.listen import listen
from textback.db.session import transaction

SOON = 0.1


class HalfDead:
    """Connections through it hear Postgres' last words, and never that it hung up.

    So it looks to a process that was stalled meanwhile: it reads the one before the other.
    """

    def __init__(self, database_url: str) -> None:
        url = make_url(database_url)
        self._socket = Path(str(url.query["host"])) / f".s.PGSQL.{url.query['port']}"
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}/textback"

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.wait(self._pumps)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        self._writers += [writer, back]
        self._pumps.append(asyncio.create_task(self._pump(reader, back)))
        self._pumps.append(asyncio.create_task(self._pump(there, writer)))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while read := await reader.read(65_536):
                writer.write(read)


async def test_a_listener_whose_connection_half_died_listens_again(
    database_url: str, engine: AsyncEngine
) -> None:
    heard = asyncio.Event()
    async with HalfDead(database_url) as url:
        listening = asyncio.create_task(listen(url, lambda _: heard.set(), check_seconds=SOON))
        await _hint_until(heard, engine)
        async with transaction(engine) as c:
            await c.execute(
                text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where query ~* '^(listen|select 1 where)'"
                )
            )
        heard.clear()
        await _hint_until(heard, engine)
        assert not listening.done()
        listening.cancel()
        await asyncio.wait([listening])


async def _hint_until(heard: asyncio.Event, engine: AsyncEngine) -> None:
    async with asyncio.timeout(60):
        while not heard.is_set():
            async with transaction(engine) as c:
                await events.wake(c, "turns")
            await asyncio.sleep(0.02)
