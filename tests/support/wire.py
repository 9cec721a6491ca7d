"""A wire to the tests' Postgres that can be cut, also in the middle of a transaction."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sqlalchemy.engine import make_url


class Wire:
    """Use as an async context manager, and give `url` to what shall lose its database."""

    def __init__(self, database_url: str) -> None:
        self.lead_to(database_url)
        self._database = make_url(database_url).database
        self._server: asyncio.Server | None = None
        self._port = 0
        self._transports: set[asyncio.WriteTransport] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._markers: list[bytes] = []
        self._deliver = False
        self._mute = False
        self._happens: Callable[[], None] = self.cut
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ending = asyncio.Event()
        self._ending.set()
        self.last_words = asyncio.Event()
        """Something that Postgres ended has said all it will."""
        self.cuts = 0

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        if self._pumps:
            await asyncio.wait(self._pumps)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{self._database}"

    def lead_to(self, database_url: str) -> None:
        """From the next connection on, as a name that follows the primary."""
        url = make_url(database_url)
        self._socket = Path(str(url.query["host"])) / f".s.PGSQL.{url.query['port']}"

    def cut(self) -> None:
        """All connections end, and new ones are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.break_()

    def break_(self) -> None:
        """All connections end, and new ones are taken."""
        self.cuts += 1
        self._markers, self._mute = [], False
        for transport in self._transports:
            transport.abort()
        self._transports.clear()
        self._flowing.set()
        self._ending.set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def mend_if_cut(self) -> None:
        if self._server is None:
            await self.mend()

    def cut_at(self, *markers: bytes, deliver: bool = False) -> None:
        """Cut when Postgres is sent the last of `markers`, after the others in this order.

        `deliver`: Postgres gets that, and its answer is lost. The words of a statement are seen
        only when a connection uses it for the first time; then it is prepared.
        """
        self._markers, self._deliver, self._happens = list(markers), deliver, self.cut

    def break_at(self, *markers: bytes, deliver: bool = False) -> None:
        """As `cut_at`, but new connections are taken."""
        self._markers, self._deliver, self._happens = list(markers), deliver, self.break_

    def freeze_at(self, *markers: bytes, deliver: bool = False) -> None:
        """As `cut_at`, but the wire freezes."""
        self._markers, self._deliver, self._happens = list(markers), deliver, self.freeze

    def freeze(self) -> None:
        """Connections stay, new ones are taken, and nothing passes until it is thawed or cut."""
        self._flowing.clear()

    def thaw(self) -> None:
        """What was held passes, and all that comes."""
        self._flowing.set()

    def hold_ends(self) -> None:
        """Who is told by Postgres that a connection ends does not see it end until all are cut."""
        self._ending.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._transports.add(writer.transport)
        there, back = await asyncio.open_unix_connection(self._socket)
        if writer.transport.is_closing():  # it was cut meanwhile
            back.transport.abort()
            return
        self._transports.add(back.transport)
        for pump in (self._up(reader, back), self._down(there, writer)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while sent := await reader.read(65_536):
                await self._flowing.wait()
                if self._markers and self._markers[0] in sent:
                    del self._markers[0]
                    if not self._markers and not self._deliver:
                        self._happens()
                        await self._flowing.wait()
                        return
                    self._mute = not self._markers
                writer.write(sent)
                await writer.drain()
        writer.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while received := await reader.read(65_536):
                await self._flowing.wait()
                if self._mute:
                    self._happens()
                    await self._flowing.wait()
                    return
                writer.write(received)
                await writer.drain()
        self.last_words.set()
        await self._ending.wait()
        writer.close()
