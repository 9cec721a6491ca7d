"""uvicorn, as we run it: how it stops, and how long it waits for a request to arrive."""

import asyncio
import json
import os
from asyncio import TimerHandle, Transport
from collections.abc import Generator
from contextlib import contextmanager
from math import ceil
from socket import socket
from typing import Any, ClassVar, Final, cast

import structlog
import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from textback import __version__, wiring
from textback.api.headers import API
from textback.cli.cycle import Cycle
from textback.cli.parser import CONNECT, Parser
from textback.core.ids import new_correlation_id
from textback.settings import Settings

log = structlog.stdlib.get_logger()

MAX_HEAD: Final = 64 * 1024
"""Bytes of one request before its body, and what is read at a time."""

_NEVER: Final = float("inf")

_CROWD_SECONDS: Final = 10.0

_TO_WAIT: Final = 0.8  # of the time to drain, for who waits for an agent: then they are told

_AFTER_SECONDS: Final = 3.0
"""For what was broken off to come to its end, and for the runtime to close."""


class Protocol(HttpToolsProtocol):
    """uvicorn's waits for ever for the rest of a request, keeps all of it, and speaks plain text.

    A connection here ends when its request does not arrive in time or its answer is not taken,
    headers have a limit, there are not more connections than `limit_concurrency` (the further ones
    are closed, so that sockets are left for Postgres and Redis), and what is no HTTP is refused in
    our shape.
    """

    arrival_seconds = 20.0
    """For one request to arrive whole, for a connection to begin its first, and for its other side
    to take any more of an answer."""

    _crowd_told_at: ClassVar = float("-inf")

    _arriving: TimerHandle | None = None
    _arrives_by = _NEVER
    _leaving: TimerHandle | None = None
    _answering: RequestResponseCycle | None = None
    _in_head = True
    _head = 0

    parser: Parser

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = Parser(self)
        # uvicorn's own way is a plain text 503, on a connection that is taken all the same.
        self._most, self.limit_concurrency = self.limit_concurrency, None

    def connection_made(self, transport: Transport) -> None:
        super().connection_made(transport)
        if self._most is not None and len(self.connections) > self._most:
            self._tell_of_crowd()
            transport.abort()
            return
        self._expect()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head = True, 0
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        at = self._answering
        if self._arrives_by == _NEVER and (at is None or at.response_complete):
            self._expect()  # blank lines before a request: uvicorn does not count as idle any more
        if not self._in_head:
            self._head = 0
            return
        self._head += len(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The headers of a request may have {MAX_HEAD} bytes at most.")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value.rstrip(b" \t"))  # RFC 9112, 5.1; httptools leaves it to us

    def on_headers_complete(self) -> None:
        other = self.parser.should_upgrade()
        if other and self.parser.get_method() != CONNECT:
            self.parser.read_again(self.url, self.headers)
            return
        super().on_headers_complete()
        if other:
            self.cycle.keep_alive = False
        self._in_head = False

    def on_message_complete(self) -> None:
        if self.parser.again:
            return
        super().on_message_complete()
        self._arrived()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._leave()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._left()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():  # it waits for the other side to take the rest
            self._leave()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
        self._left()
        super().connection_lost(exc)
        if self._answering is not None:  # uvicorn tells only the latest of several
            self._answering.disconnected = True
            self._answering.message_event.set()

    def send_400_response(self, msg: str) -> None:
        at = self._answering
        if at and not at.response_complete and not (at is self.cycle and at.more_body):
            # A request before this one waits for its answer, and must not get this one.
            at.keep_alive = False
            self.flow.pause_reading()
            return
        content = json.dumps({"detail": msg}).encode()
        head = (
            "HTTP/1.1 400 Bad Request",
            "content-type: application/json",
            f"content-length: {len(content)}",
            "connection: close",
            *(f"{name.decode()}: {value.decode()}" for name, value in API),
            f"x-polyai-correlation-id: {new_correlation_id(wiring.clock())}",
            "",
            "",
        )
        self.transport.write("\r\n".join(head).encode() + content)
        self.transport.close()
        self._leave()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.__class__ = Cycle  # uvicorn makes them itself, and asks nobody of which class
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _expect(self) -> None:
        # One timer goes on over many requests: to set and cancel one for each costs more.
        self._arrives_by = self.loop.time() + self.arrival_seconds
        if self._arriving is None:
            self._arriving = self.loop.call_later(self.arrival_seconds, self._look_whether_arrived)

    def _arrived(self) -> None:
        self._arrives_by = _NEVER

    def _look_whether_arrived(self) -> None:
        self._arriving, wait = None, self._arrives_by - self.loop.time()
        if wait <= 0:
            self._give_up()
        elif wait < _NEVER:
            self._arriving = self.loop.call_later(wait, self._look_whether_arrived)

    def _leave(self) -> None:
        self._left()
        self._leaving = self.loop.call_later(self.arrival_seconds, self._give_up)

    def _left(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _give_up(self) -> None:
        self.transport.abort()

    def _tell_of_crowd(self) -> None:
        """Every ten seconds at most: a flood of connections is no flood of lines."""
        now = self.loop.time()
        if now - Protocol._crowd_told_at > _CROWD_SECONDS:
            Protocol._crowd_told_at = now
            log.warning("serve.crowded", connections=self._most, fix="see TEXTBACK_MAX_CONNECTIONS")


class Server(uvicorn.Server):
    """Leaves signals to us: uvicorn's own way of stopping ends in a kill by signal.

    Told to stop, it serves on for `lame_duck` seconds, while /health/ready says that it stops and
    each answer ends its connection. Then the port is closed, and what was accepted is finished,
    within `timeout_graceful_shutdown`. What is not finished by then gets no answer, not even a 500:
    nobody knows its fate, as when a connection breaks.
    """

    def __init__(self, config: uvicorn.Config, *, lame_duck: float = 0) -> None:
        super().__init__(config)
        self._lame_duck = lame_duck
        self._drain, config.timeout_graceful_shutdown = config.timeout_graceful_shutdown, None
        self._stop, self._leave = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        # For requests that wait for something: see `api/deps.py`.
        self.lifespan.state |= {"stop": self._stop, "leave": self._leave}
        listening = sockets or self.servers[0].sockets
        log.info(
            "serve.started",
            version=__version__,
            host=self.config.host,
            port=listening[0].getsockname()[1],
            workers=self.config.workers,
            pid=os.getpid(),
        )

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._stop.set()
        await self._serve_on()
        drain, loop = self._drain or 0, asyncio.get_running_loop()
        loop.call_later(drain * _TO_WAIT, self._leave.set)
        over = loop.call_later(drain, self._break_off)
        try:
            async with asyncio.timeout(drain + _AFTER_SECONDS):
                await super().shutdown(sockets)
        except TimeoutError:
            log.warning("serve.given_up", why="connections to Postgres or Redis do not close")
        finally:
            over.cancel()
        log.info("serve.stopped", pid=os.getpid())

    async def _serve_on(self) -> None:
        if not self._lame_duck:
            return
        log.info("serve.stopping", lame_duck_seconds=self._lame_duck)
        self.lifespan.state["stopping"] = True  # each request gets a copy
        state: ServerState = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        for connection in list(state.connections):
            cycle = cast("RequestResponseCycle | None", cast("Protocol", connection).cycle)
            if cycle is not None and not cycle.response_complete:
                cycle.keep_alive = False
        await asyncio.sleep(self._lame_duck)

    def _break_off(self) -> None:
        state = self.server_state
        if state.tasks:
            log.error("serve.broken_off", requests=len(state.tasks))
        for connection in list(state.connections):
            cast("Protocol", connection).transport.abort()
        for task in list(state.tasks):
            task.cancel()


def options(found: Settings, *, workers: int = 1) -> dict[str, Any]:
    """`workers`: processes on this port, of which it is one; told in its log."""
    return {
        "host": found.host,
        "port": found.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # What X-Forwarded-* headers say is nobody's business here: TEXTBACK_PUBLIC_URL says how we
        # are reached, and nothing asks who a client is but by its key. uvicorn believes any client
        # on the loopback otherwise.
        "proxy_headers": False,
        "limit_concurrency": found.max_connections,
        "timeout_keep_alive": found.keep_alive_seconds,
        "timeout_graceful_shutdown": ceil(found.drain_seconds),
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "workers": workers,
    }
