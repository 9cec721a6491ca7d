"""What one client can take of a process: connections, time, memory, depth."""

import asyncio
import contextlib
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import uvicorn

from tests.support.api import ROUTE, captured_logs, client, headers, is_refused, settings, until
from tests.support.provision import ACME_KEY
from textback import wiring
from textback.cli.server import Protocol, Server, options
from textback.dialects.native.paging import check
from textback.runtime import Runtime

MOST: Final = 5
LIVE: Final = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE: Final = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
AUTHORIZED: Final = {"authorization": f"Bearer {ACME_KEY}"}


class Hasty(Protocol):
    arrival_seconds = 0.3


@asynccontextmanager
async def serving(rt: Runtime, **more: Any) -> AsyncGenerator[tuple[Server, int]]:
    """The application, by a server that waits for nobody and has `MOST` connections; its port."""
    found = settings(rt.database_url, "redis://unused", max_connections=MOST, **more)
    given: dict[str, Any] = options(found) | {"http": Hasty}
    server = Server(uvicorn.Config(wiring.application(rt, owns=False), **given))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.serve())
        while not server.started:
            assert not running.done()
            await asyncio.sleep(0.005)
        try:
            yield server, server.servers[0].sockets[0].getsockname()[1]
        finally:
            server.should_exit = True


async def answered(port: int, sent: bytes = LIVE) -> bytes:
    """The first line of the answer; nothing, if the connection was closed instead."""
    with contextlib.suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(sent)
            return await reader.readline()
        finally:
            writer.close()
    return b""


async def test_connections_over_the_limit_are_closed_and_the_others_served(rt: Runtime) -> None:
    with captured_logs() as logged:
        async with serving(rt) as (server, port):
            there = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST)]
            for _ in range(3):
                assert await answered(port) == b""
            for reader, writer in there[1:]:
                writer.write(LIVE)
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            there[0][1].close()

            async def is_less() -> bool:
                return len(server.server_state.connections) < MOST

            await until(is_less)
            assert await answered(port) == b"HTTP/1.1 200 OK\r\n"
            for _, writer in there:
                writer.close()
    [line] = [line for line in logged.getvalue().splitlines() if "serve.crowded" in line]
    assert json.loads(line)["connections"] == MOST


async def test_who_takes_no_answer_loses_the_connection(rt: Runtime) -> None:
    async with serving(rt) as (server, port):
        for more in (b"", b"Connection: close\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(LARGE.replace(b"Host: x\r\n", b"Host: x\r\n" + more) * 40)
            assert await reader.read(1)  # and that is all that is taken

            async def is_gone() -> bool:
                return not server.server_state.connections

            try:
                await until(is_gone, within=5)
            finally:
                writer.transport.abort()
        assert await answered(port) == b"HTTP/1.1 200 OK\r\n"


async def held(port: int, then: bytes) -> float:
    """Seconds until a connection is closed on which `then` follows an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(LIVE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(then)
    began = time.monotonic()
    async with asyncio.timeout(10):
        while await reader.read(1000):
            pass
    writer.close()
    return time.monotonic() - began


async def test_a_connection_without_requests_is_kept_for_as_long_as_it_is_said(rt: Runtime) -> None:
    async with serving(rt, keep_alive_seconds=1) as (_, port):
        assert await held(port, b"") == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("then", [b"\r\n", b"\r", b"G", b"GET / HTTP/1.1\r\nHost: "])
async def test_what_is_no_whole_request_does_not_keep_a_connection(
    rt: Runtime, then: bytes
) -> None:
    async with serving(rt, keep_alive_seconds=3) as (_, port):
        assert await held(port, then) < 2


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/opt-outs/import", "/v1/batches"])
async def test_who_has_no_key_cannot_even_send_a_body(rt: Runtime, path: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\n"
        "Content-Type: application/json\r\nContent-Length: 900000\r\n\r\n"
    ).encode()
    async with serving(rt) as (_, port):
        assert (await answered(port, head))[:12] == b"HTTP/1.1 401"


def crafted(said: str) -> str:
    """A cursor that carries its check."""
    raw = said.encode()
    return urlsafe_b64encode(check(raw) + raw).decode().rstrip("=")


async def test_what_is_nested_without_end_is_refused(rt: Runtime) -> None:
    deep = b'{"user_number":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    asked = {"content-type": "application/json"}
    async with client(rt) as http:
        answer = await http.post(ROUTE, content=deep, headers=headers() | asked)
        is_refused(answer, 400, counted=True, saying="JSON")
        for path in ("/v1/messages", "/v1/sms/send"):
            answer = await http.post(path, content=deep, headers=AUTHORIZED | asked)
            assert answer.status_code == 400, answer.text
        answer = await http.post("/hooks/sandbox/inbound", content=deep, headers=asked)
        assert answer.status_code == 403
        for said in ("[" * 1400, '["messages"]', "[]", "{}", '["messages",1,2]', "[1" * 700):
            answer = await http.get(
                "/v1/messages", params={"cursor": crafted(said)}, headers=AUTHORIZED
            )
            assert answer.status_code == 400, (said, answer.text)
