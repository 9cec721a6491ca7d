"""Whatever is sent: an answer in our shape, never 500, and nothing stored that was not accepted."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from functools import partial
from io import StringIO
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    BODY,
    ROUTE,
    correlation_id,
    headers,
    is_accepted,
    is_refused,
    rows,
    send,
    served,
    stored,
    until,
)
from tests.support.log_lines import errors
from tests.support.provision import ACME_KEY
from textback.runtime import Runtime

GOOD = json.dumps(BODY).encode()

# --- Bodies ------------------------------------------------------------------------------------

REFUSED = {
    "a NUL": rb'{"user_number": "+14155550123", "message": "a\u0000b"}',
    "a raw NUL": b'{"user_number": "+14155550123", "message": "a\0b"}',
    "a lone surrogate": rb'{"user_number": "+14155550123", "message": "\ud800"}',
    "a lone low surrogate": rb'{"user_number": "+14155550123", "message": "\udc00\ud83d"}',
    "a surrogate in UTF-8": b'{"user_number": "+14155550123", "message": "\xed\xa0\x80"}',
    "broken UTF-8": b'{"user_number": "+14155550123", "message": "\xff"}',
    "overlong UTF-8": b'{"user_number": "+14155550123", "message": "\xc0\xaf"}',
    "NaN": b'{"user_number": "+14155550123", "message": "Hi", "n": NaN}',
    "Infinity": b'{"user_number": "+14155550123", "message": "Hi", "n": -Infinity}',
    "a huge integer as number": b'{"user_number": ' + b"9" * 60_000 + b', "message": "Hi"}',
    "100,000 brackets": b"[" * 60_000,
    "deep nesting": b'{"user_number":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "a deep neighbour": GOOD[:-1] + b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without a mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comment": GOOD + b"// hi",
    "a second object": GOOD + GOOD,
    "a control character": b'{"user_number": "+14155550123", "message": "a\nb"}',
    "an object as number": b'{"user_number": {"$ne": null}, "message": "Hi"}',
    "a wrong last duplicate": GOOD[:-1] + b', "user_number": 1}',
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
async def test_a_hostile_body_is_400_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine, body: bytes
) -> None:
    assert len(body) <= 64 * 1024
    is_refused(await send(http, body), 400, counted=True)
    is_refused(await send(http, body, headers(**{"Idempotency-Key": "k"})), 400, counted=True)
    assert await stored(engine) == {}


@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "with an idempotency key"])
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (GOOD[:-1] + b', "n": ' + b"9" * 4_000 + b"}", BODY["message"]),
        (GOOD[:-1] + b', "n": 1e999}', BODY["message"]),
        (GOOD[:-1] + b', "message": "last"}', "last"),
        (GOOD[:-1] + b', "x": "\\u0000\\ud83d\\ude00"}', BODY["message"]),
        (GOOD[:-1] + b', "": {"": [null, {}]}}', BODY["message"]),
        (
            rb'{"user_number": "+14155550123", "message": "\ud83d\ude00\u202e\ufeff\ufffe"}',
            "😀\u202e\ufeff\ufffe",
        ),
        (
            b"""{"user_number": "+14155550123", "message": "';drop table messages;--"}""",
            "';drop table messages;--",
        ),
    ],
    ids=[
        "a long integer",
        "1e999",
        "a duplicate",
        "NUL elsewhere",
        "empty names",
        "odd characters",
        "SQL",
    ],
)
async def test_an_odd_but_good_body_is_accepted_as_it_is(
    http: httpx.AsyncClient, engine: AsyncEngine, body: bytes, text: str, *, keyed: bool
) -> None:
    asked = headers(**({"Idempotency-Key": "k"} if keyed else {}))
    is_accepted(await send(http, body, asked))
    assert await rows(engine, "select text from messages") == [{"text": text}]


async def test_an_integer_too_long_for_python_is_accepted_or_refused_but_no_error(
    http: httpx.AsyncClient,
) -> None:
    body = GOOD[:-1] + b', "n": ' + b"9" * 60_000 + b"}"
    for asked in (headers(), headers(**{"Idempotency-Key": "k"})):
        answer = await send(http, body, asked)
        assert answer.status_code in {202, 400}
        correlation_id(answer)


@effort(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), key=st.none() | st.binary(min_size=1, max_size=20))
async def test_whatever_bytes_come_are_no_error(
    http: httpx.AsyncClient, body: bytes, key: bytes | None
) -> None:
    asked = [(name.encode(), value.encode()) for name, value in headers().items()]
    asked.append((b"content-type", b"application/json"))
    if key is not None:
        asked.append((b"idempotency-key", key))
    answer = await http.post(ROUTE, content=body, headers=asked)
    assert answer.status_code in {202, 400, 429}


# --- Headers -----------------------------------------------------------------------------------

ODD_VALUES = [b"\xff\xfe", b"\xc3\xa9", b"\x00", b"a\x00b", b"\x7f", b"x" * 20_000, b"\xa0", b"  "]


@pytest.mark.parametrize(
    "name", [b"X-PolyAi-Auth-Token", b"X-TOKEN-ID", b"Idempotency-Key", b"Content-Type"]
)
async def test_an_odd_header_is_refused_and_no_error(
    http: httpx.AsyncClient, engine: AsyncEngine, name: bytes
) -> None:
    good = {
        b"X-PolyAi-Auth-Token": ACME_KEY.encode(),
        b"X-TOKEN-ID": b"conn-live",
        b"Content-Type": b"application/json",
    }
    accepted = 0
    for value in ODD_VALUES:
        asked = list((good | {name: value}).items())
        answer = await http.post(ROUTE, content=GOOD, headers=asked)
        if answer.status_code == 202:  # a key may be made of anything that can be stored
            assert name == b"Idempotency-Key"
            accepted += 1
            continue
        assert answer.status_code in {400, 401, 404}
        counted = name in {b"Idempotency-Key", b"Content-Type"}
        is_refused(answer, answer.status_code, counted=counted)
    assert (await stored(engine)).get("messages", 0) == accepted


async def test_a_content_length_that_is_no_number_does_not_matter(
    http: httpx.AsyncClient,
) -> None:
    asked = [(name.encode(), value.encode()) for name, value in headers().items()]
    asked += [(b"content-type", b"application/json")]
    for length in (b"\xb2", b"-1", b"+5", b"1e3", b"9" * 5_000, b"0x10", b" "):
        given = [*asked, (b"content-length", length)]
        is_accepted(await http.post(ROUTE, content=GOOD, headers=given))


async def test_a_body_in_pieces_is_read_up_to_its_limit_without_a_declared_length(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    read = 0

    async def pieces() -> AsyncGenerator[bytes]:
        nonlocal read
        for _ in range(1_000):
            read += 1
            yield b" " * 1024

    answer = await http.post(
        ROUTE, content=pieces(), headers=headers() | {"content-type": "application/json"}
    )
    is_refused(answer, 400, counted=True, saying="64 KB")
    assert read <= 66
    assert await stored(engine) == {}


# --- On the wire -------------------------------------------------------------------------------


@pytest.fixture
async def server(rt: Runtime) -> AsyncGenerator[str]:
    async with served(rt) as url:
        yield url


async def exchange(url: str, *sent: bytes, close: bool = False) -> bytes:
    """Bytes out, all that comes back until the server ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    try:
        for piece in sent:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        if close:
            return b""
        async with asyncio.timeout(5):
            return await reader.read(-1)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def head(*lines: str, key: str = ACME_KEY) -> bytes:
    fixed = (
        f"POST {ROUTE} HTTP/1.1",
        "Host: sms.example.com",
        "Connection: close",
        f"X-PolyAi-Auth-Token: {key}",
        "X-TOKEN-ID: conn-live",
        "Content-Type: application/json",
    )
    return "\r\n".join((*fixed, *lines, "", "")).encode("latin-1")


def answered(raw: bytes) -> Iterator[int]:
    """The statuses of the answers in what came back."""
    for part in raw.split(b"HTTP/1.1 ")[1:]:
        yield int(part[:3])


LENGTH = f"Content-Length: {len(GOOD)}"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
SMUGGLED = {
    "both lengths": head(LENGTH, "Transfer-Encoding: chunked") + CHUNKED,
    "two lengths": head("Content-Length: 1", LENGTH) + GOOD,
    "a list of lengths": head(f"Content-Length: 1, {len(GOOD)}") + GOOD,
    "a blank before the colon": head("Transfer-Encoding : chunked", LENGTH) + GOOD,
    "a coding nobody has": head("Transfer-Encoding: xchunked") + CHUNKED,
    "a folded header": head("X-Folded: a", " b", "Content-Length: x") + GOOD,
    "a NUL in a header": head("Idempotency-Key: a\0b", LENGTH) + GOOD,
    "a bare carriage return": head("Idempotency-Key: a\rX-TOKEN-ID: conn-globex", LENGTH) + GOOD,
    "a negative length": head("Content-Length: -1") + GOOD,
    "a length in other digits": head("Content-Length: \xb2") + GOOD,
    "a length without end": head("Content-Length: " + "9" * 400) + GOOD,
    "a chunk of bad size": head("Transfer-Encoding: chunked") + b"zz\r\n" + GOOD + b"\r\n0\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00" + b"\r\n\r\n",
    "HTTP/2 before it was asked for": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header of 100 KB": head("X-Long: " + "x" * 100_000, LENGTH) + GOOD,
}


@pytest.mark.parametrize("raw", SMUGGLED.values(), ids=SMUGGLED)
async def test_a_request_that_could_be_read_in_two_ways_is_not_carried_out_twice(
    server: str, engine: AsyncEngine, raw: bytes
) -> None:
    statuses = list(answered(await exchange(server, raw)))
    assert len(statuses) <= 1
    assert all(status < 500 for status in statuses)
    assert (await stored(engine)).get("messages", 0) == statuses.count(202)


async def test_of_two_headers_with_one_name_the_first_counts_and_never_a_mixture(
    server: str, engine: AsyncEngine
) -> None:
    twice = head("X-TOKEN-ID: conn-globex", "X-PolyAi-Auth-Token: unknown", LENGTH)
    [status] = answered(await exchange(server, twice + GOOD))
    assert status == 202
    assert await rows(engine, "select account_id, connector_id from conversations") == [
        {"account_id": "acme", "connector_id": "conn-live"}
    ]


async def test_a_chunked_body_over_64_kb_gets_its_400_while_it_is_still_being_sent(
    server: str, engine: AsyncEngine
) -> None:
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    raw = await exchange(server, head("Transfer-Encoding: chunked"), *[chunk] * 3)
    assert list(answered(raw)) == [400]
    assert b"64 KB at most" in raw
    assert await stored(engine) == {}


async def test_a_declared_body_over_64_kb_gets_its_400_before_it_is_sent(
    server: str, engine: AsyncEngine
) -> None:
    raw = await exchange(server, head("Content-Length: 1000000"))
    assert list(answered(raw)) == [400]
    assert await stored(engine) == {}


@pytest.mark.parametrize(
    "sent",
    [head(LENGTH), head(LENGTH) + GOOD[:-5], head("Transfer-Encoding: chunked") + CHUNKED[:20]],
    ids=["after the headers", "in the body", "in a chunk"],
)
async def test_a_client_that_leaves_half_way_stores_nothing_and_is_no_error_of_ours(
    server: str, engine: AsyncEngine, logged: StringIO, sent: bytes
) -> None:
    await exchange(server, sent, close=True)
    await asyncio.sleep(0.2)
    assert await stored(engine) == {}
    assert "http.abandoned" in logged.getvalue()
    assert errors(logged.getvalue()) == []


async def test_a_client_that_leaves_before_its_answer_loses_only_the_answer(
    server: str, engine: AsyncEngine, logged: StringIO
) -> None:
    await exchange(server, head(LENGTH) + GOOD, close=True)
    await until(partial(rows, engine, "select 1 from messages"))
    assert errors(logged.getvalue()) == []


async def test_requests_in_one_packet_are_answered_one_after_the_other(
    server: str, engine: AsyncEngine
) -> None:
    keep = head(LENGTH).replace(b"Connection: close\r\n", b"") + GOOD
    raw = await exchange(server, keep + keep + head(LENGTH) + GOOD)
    assert list(answered(raw)) == [202, 202, 202]
    assert (await stored(engine))["messages"] == 3
