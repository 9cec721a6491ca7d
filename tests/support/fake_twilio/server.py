"""HTTP on loopback where the handler also decides what happens to the connection.

An ASGI server cannot do that: it always answers, if only with its own 500.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

import h11

_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def asked(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @staticmethod
    def of_json(status: int, value: object, headers: Mapping[str, str] | None = None) -> "Answer":
        found = {"content-type": "application/json", **(headers or {})}
        return Answer(status, json.dumps(value).encode(), found)


@dataclass(frozen=True, slots=True)
class HangUp:
    """No answer, or the beginning of one; then the connection ends."""

    after: bytes = b""
    """Bytes sent first."""
    dripping: float = 0
    """Seconds in which single spaces follow, one every 20 ms."""
    reset: bool = False
    """RST instead of FIN."""


Handler: TypeAlias = Callable[[Request], Awaitable[Answer | HangUp]]


class LoopbackServer:
    def __init__(self, handler: Handler, *, port: int = 0) -> None:
        self._handler = handler
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._port, backlog=1024
        )

    async def stop(self) -> None:
        """May be started again, on the same port."""
        assert self._server is not None, "not started"
        self._port = self.port
        self._server.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        if connections:
            await asyncio.wait(connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass  # the client is gone or talks TLS, or the test is over
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        while (request := await _read(http, reader)) is not None:
            answer = await self._handler(request)  # to its end, even if the client leaves
            if isinstance(answer, HangUp):
                await _hang_up(answer, writer)
                return
            writer.write(_written(http, answer))
            await writer.drain()
            if http.our_state is not h11.DONE:
                return
            http.start_next_cycle()


async def _read(http: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None at the end of the connection."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            path, _, query = head.target.decode().partition("?")
            headers = {name.decode().lower(): value.decode() for name, value in head.headers}
            return Request(
                method=head.method.decode(),
                path=path,
                query=query,
                headers=headers,
                body=bytes(body),
            )
        else:
            return None


def _written(http: h11.Connection, answer: Answer) -> bytes:
    headers = {"content-length": str(len(answer.body)), **answer.headers}
    parts = [
        http.send(h11.Response(status_code=answer.status, headers=list(headers.items()))),
        http.send(h11.Data(data=answer.body)),
        http.send(h11.EndOfMessage()),
    ]
    return b"".join(part for part in parts if part)


async def _hang_up(how: HangUp, writer: asyncio.StreamWriter) -> None:
    if how.after:
        writer.write(how.after)
        await writer.drain()
    for _ in range(int(how.dripping / 0.02)):
        await asyncio.sleep(0.02)
        writer.write(b" ")
        await writer.drain()
    if how.reset:
        sock = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the client was faster
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
