"""Bytes that are no good HTTP, at the port of a real process: it lives, and the next request works.

The seed is fixed; another one is a matter of changing it.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    ROUTE,
    captured_logs,
    headers,
    is_accepted,
    rows,
    settings,
    started,
)
from tests.support.log_lines import errors
from tests.support.ports import free_port
from tests.support.processes import Running, Textback
from tests.support.provision import ACME_KEY, SECRET_KEY, STANDARD_YAML, provision
from textback import wiring
from textback.cli.server import MAX_HEAD, Protocol, Server, options

SEED: Final = 20_260_302
AMPLE: Final = STANDARD_YAML.replace(
    "agent: bookings\n",
    "agent: bookings\n        rate_limit: {requests: 1000000, per_seconds: 60}\n",
)
BODY: Final = b'{"user_number": "+14155550123", "message": "Hello"}'
GOOD: Final = (
    f"POST {ROUTE} HTTP/1.1\r\nHost: sms.example.com\r\nX-PolyAi-Auth-Token: {ACME_KEY}\r\n"
    "X-TOKEN-ID: conn-live\r\nContent-Type: application/json\r\nConnection: close\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


@pytest.fixture
async def serving(
    engine: AsyncEngine, database_url: str, redis_url: str, tmp_path: Path
) -> AsyncGenerator[tuple[int, Running]]:
    await provision(engine, AMPLE)
    given = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": "https://sms.example.com",
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_LAME_DUCK_SECONDS": "0",
    }
    async with Textback(tmp_path, given) as textback:
        port = free_port()
        process = await textback.serve(port)
        yield port, process
        assert process.is_alive
        assert [line for line in process.log.splitlines() if "Traceback" in line] == []
        assert errors(process.log) == []


async def exchange(port: int, *pieces: bytes) -> bytes:
    """All that comes back, until the other side closes or waits for more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        async with asyncio.timeout(1):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.02 if len(pieces) > 1 else 0)
            while read := await reader.read(65_536):
                got += read
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return got


def answers(got: bytes) -> list[int]:
    """The statuses; each error is in the one shape there is."""
    found = list[int]()
    for part in got.split(b"HTTP/1.1 ")[1:]:
        status = int(part[:3])
        found.append(status)
        assert status < 500, part
        head, _, body = part.partition(b"\r\n\r\n")
        if status >= 400 and body:
            assert b"content-type: application/json" in head.lower()
            assert list(json.loads(body)) == ["detail"]
            assert b"x-polyai-correlation-id" in head.lower()
    return found


async def is_well(port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        body = {"user_number": "+14155550199", "message": "still there"}
        is_accepted(
            await http.post(f"http://127.0.0.1:{port}{ROUTE}", json=body, headers=headers())
        )


def line(target: bytes, method: bytes = b"GET", *more: bytes) -> bytes:
    return b"\r\n".join(
        (method + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close", *more, b"", b"")
    )


TARGETS: Final = (
    *(b"*", b"?", b"//", b"/%00", b"/%", b"/\xff", b"/%ff%fe", b"http://x", b"http://x/docs"),
    *(b"/docs/assets/../../../../etc/passwd", b"/docs/assets/%2e%2e/%2e%2e/__init__.py"),
    *(b"/docs/assets/%00", b"/docs/assets/" + b"a" * 5_000, b"/docs/assets//etc/passwd"),
    *(b"/docs/assets/%ff%ed%a0%80", b"/docs/assets/..%5c..%5cx", b"/docs/assets", b"/docs/assets/"),
    *(b"/hooks/%00/inbound", b"/hooks/%0d%0aX:y/status", b"/hooks/../hooks/twilio/inbound"),
    *(b"/" + b"%41" * 30_000, b"/?" + b"a=1&" * 30_000, b"/openapi.json?%00=%ff"),
)
METHODS: Final = (
    b"HEAD",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"PROPFIND",
    b"DELETE",
    b"POST",
    b"FOO",
)
PATHS: Final = (
    *(ROUTE.encode(), b"/hooks/twilio/inbound", b"/hooks/sandbox/status", b"/docs", b"/metrics"),
    *(b"/docs/assets/swagger-ui.css", b"/openapi.json", b"/health/live", b"/nothing"),
)
ODD: Final = (
    *(b"\0" * 100, b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\0"),
    *(line(target) for target in TARGETS),
    *(line(path, method) for path in PATHS for method in METHODS),
    line(b"/docs/assets/swagger-ui.css", b"GET", b"Range: bytes=-0,99999999999999999999-1"),
    line(b"/docs/assets/swagger-ui.css", b"GET", b"Range: nonsense"),
    line(b"/docs/assets/swagger-ui.css", b"GET", b"If-Modified-Since: \xff"),
    line(b"/health/live", b"GET", b"Upgrade: websocket", b"Connection: Upgrade"),
    line(b"/health/live", b"GET", *[b"X: y"] * 10_000),
    line(b"/health/live", b"GET", b"X: " + b"y" * 1_000_000),
    GOOD.replace(b"Connection: close\r\n", b"Content-Encoding: gzip\r\nConnection: close\r\n"),
    GOOD.replace(b"Connection: close\r\n", b"Expect: 100-continue\r\nConnection: close\r\n"),
    GOOD.replace(b"Connection: close\r\n", b"Transfer-Encoding: gzip\r\nConnection: close\r\n"),
    GOOD.replace(b"Connection: close\r\n", b"") + b"garbage that is no request\r\n\r\n",
    GOOD.replace(b"Connection: close\r\n", b"") * 3,
    GOOD[:-1],
    GOOD[:40],
)


async def test_odd_requests_are_refused_in_our_shape_or_not_at_all(
    serving: tuple[int, Running], engine: AsyncEngine
) -> None:
    port, _ = serving
    accepted = unanswered = 0
    for sent in ODD:
        got = await exchange(port, sent)
        accepted += answers(got).count(202)
        unanswered += got == b""  # it waits for the rest, or we did not wait enough
    await is_well(port)
    assert accepted > 0
    [found] = await rows(engine, "select count(*) n from messages")
    assert accepted + 1 <= cast("int", found["n"]) <= accepted + 1 + unanswered


async def test_clients_that_leave_before_their_answers_are_no_error_of_ours(
    serving: tuple[int, Running],
) -> None:
    port, _ = serving
    for sent in (GOOD, GOOD.replace(b"Connection: close\r\n", b"") * 3, *ODD[-8:]):
        for wait in (0, 0.002, 0.01):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            await writer.drain()
            await asyncio.sleep(wait)
            with suppress(OSError):  # the server may have hung up first
                writer.write_eof() if wait else writer.transport.abort()
            await asyncio.sleep(0.02)
            writer.close()
    await is_well(port)


def mutated(chance: random.Random) -> bytes:
    """A good request, or several, with some bytes changed, gone, doubled or strange."""
    sent = bytearray(GOOD * chance.choice([1, 1, 1, 2]))
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(sent)), chance.randint(1, 12)
        match chance.randrange(5):
            case 0:
                sent[at] ^= 1 << chance.randrange(8)
            case 1:
                del sent[at : at + length]
            case 2:
                sent[at:at] = sent[at : at + length * 8]
            case 3:
                sent[at:at] = chance.choice([b"\r\n", b"\0", b": ", b"\xff", b"\r\n\r\n", b"0"])
            case _:
                del sent[at:]
        sent = sent or bytearray(GOOD)
    return bytes(sent)


async def test_mutations_of_a_good_request_store_what_they_are_told_was_accepted(
    serving: tuple[int, Running], engine: AsyncEngine
) -> None:
    port, _ = serving
    chance = random.Random(SEED)  # noqa: S311 - nothing secret
    accepted = unanswered = 0
    for _ in range(10):
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(exchange(port, mutated(chance))) for _ in range(40)]
        for task in asked:
            accepted += answers(task.result()).count(202)
            unanswered += task.result() == b""  # it waits for the rest, or we did not wait enough
    await is_well(port)
    assert accepted > 10
    [found] = await rows(engine, "select count(*) n from messages")
    assert accepted + 1 <= cast("int", found["n"]) <= accepted + 1 + unanswered


async def test_hundreds_of_slow_and_half_requests_hold_up_nobody(
    serving: tuple[int, Running], engine: AsyncEngine
) -> None:
    port, _ = serving
    chance = random.Random(SEED)  # noqa: S311 - nothing secret
    slow = list[asyncio.StreamWriter]()
    for _ in range(300):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GOOD[: chance.randrange(len(GOOD))])
        slow.append(writer)
    for _ in range(3):
        await is_well(port)
    for writer in slow[::2]:
        writer.transport.abort()
    await is_well(port)
    for writer in slow:
        writer.close()
    assert await rows(engine, "select count(*) n from messages") == [{"n": 4}]


async def test_blanks_after_a_header_are_no_part_of_it(
    serving: tuple[int, Running], engine: AsyncEngine
) -> None:
    port, _ = serving
    for blanks in (b"", b" ", b" \t "):
        first, *lines = GOOD.replace(b"Connection", b"Idempotency-Key: once\r\nConnection").split(
            b"\r\n"
        )
        padded = [each + blanks if b": " in each and each != BODY else each for each in lines]
        got = await exchange(port, b"\r\n".join([first, *padded]))
        assert answers(got) == [202]
    assert await rows(engine, "select count(*) n from messages") == [{"n": 1}]


INNER: Final = GOOD.replace(b"+14155550123", b"+14155550124")
H2C: Final = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("asks", [H2C, b"Connection: upgrade\r\nupgrade: websocket\r\n"])
@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_a_request_that_asks_for_another_protocol_is_answered_in_ours(
    serving: tuple[int, Running], asks: bytes, pieces: int
) -> None:
    """Java's own client asks for HTTP/2 with its first request, which has a body."""
    port, _ = serving
    sent = GOOD.replace(b"Connection: close\r\n", asks) * 3 + GOOD
    step = -(-len(sent) // pieces)
    got = await exchange(port, *(sent[at : at + step] for at in range(0, len(sent), step)))
    assert answers(got) == [202, 202, 202, 202]


@pytest.mark.parametrize("method", [b"POST", b"CONNECT"])
async def test_a_body_is_no_request_because_the_one_it_is_of_asks_for_another_protocol(
    serving: tuple[int, Running], engine: AsyncEngine, method: bytes
) -> None:
    port, _ = serving
    length = b"Content-Length: %d" % len(INNER)
    asked = (b"Upgrade: h2c", b"Connection: Upgrade", length)
    head = line(ROUTE.encode(), method, *asked).replace(b"Connection: close\r\n", b"")
    got = await exchange(port, head, INNER)
    assert answers(got) in ([401], [405], [])  # none: what came after it broke the connection
    assert await rows(engine, "select count(*) n from messages") == [{"n": 0}]


# --- Limits of the protocol --------------------------------------------------------------------


class Hasty(Protocol):
    arrival_seconds = 0.4


@pytest.fixture
async def hasty(database_url: str, redis_url: str) -> AsyncGenerator[int]:
    """The application, by a server that waits for nobody; gives its port."""
    found = settings(database_url, redis_url)
    with captured_logs():
        async with started(found) as rt, asyncio.TaskGroup() as group:
            given: dict[str, Any] = options(found) | {"http": Hasty}
            server = Server(uvicorn.Config(wiring.application(rt, owns=False), **given))
            serving = group.create_task(server.serve())
            while not server.started:
                assert not serving.done()
                await asyncio.sleep(0.005)
            yield server.servers[0].sockets[0].getsockname()[1]
            server.should_exit = True


@pytest.mark.parametrize("sent", [b"", GOOD[:30], GOOD[:-1], GOOD[: len(GOOD) - len(BODY)]])
async def test_a_request_that_does_not_arrive_whole_in_time_ends_its_connection(
    hasty: int, sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    writer.write(sent)
    async with asyncio.timeout(15):  # usually it waits 20 s
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_request_that_drips_ends_too(hasty: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty)
    async with asyncio.timeout(15):  # usually it waits 20 s
        with contextlib.suppress(ConnectionError):
            for byte in GOOD:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if reader.at_eof() or reader.exception() is not None:  # ended, or broken off
                    break
            else:
                pytest.fail("all of it was taken")
    writer.close()


async def test_a_connection_that_is_used_again_and_again_may_stay(hasty: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        sides = set[object]()
        for _ in range(4):
            answer = await http.get(f"http://127.0.0.1:{hasty}/health/live")
            assert answer.status_code == 200
            sides.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
            await asyncio.sleep(0.25)
    assert len(sides) == 1


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"y"], ids=["many", "one"])
async def test_headers_without_end_are_refused(hasty: int, piece: bytes) -> None:
    sent = b"GET /health/live HTTP/1.1\r\nHost: x\r\nX: " + piece * (4 * MAX_HEAD)
    raw = await exchange(hasty, sent)
    assert answers(raw) in ([400], [])  # the rest of what was sent may cut the answer short
    if raw:
        assert str(MAX_HEAD).encode() in raw
