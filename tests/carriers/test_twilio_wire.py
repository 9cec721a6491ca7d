"""The connections that texts leave by: what an answer is, and when one is used again."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.fake_twilio import FakeTwilio, silent
from tests.support.fake_twilio.fake import ACCOUNT_SID
from tests.support.texts import account_at, account_of, outgoing
from tests.support.tls import vouched_for
from textback.carriers.twilio.client import TwilioCarrier
from textback.carriers.twilio.exchange import Fence, wire
from textback.carriers.twilio.wire import Wire
from textback.core.ports import NoAnswer, SendError, Taken

SID = b'{"sid": "SM1"}'
ANSWER = b"HTTP/1.1 201 CREATED\r\ncontent-length: 14\r\n\r\n" + SID
CREATED = b"HTTP/1.1 201 CREATED\r\n"


@dataclass
class Server:
    """Answers each request with the next of these bytes, and ends the connection after b"" ."""

    answers: list[bytes]
    url: httpx.URL = field(default_factory=lambda: httpx.URL("http://127.0.0.1"))
    connections: int = 0
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.requests += 1
                while self.answers:
                    answer = self.answers.pop(0)
                    if not answer:
                        return
                    writer.write(answer)
                    await writer.drain()
                    if not self.answers or self.answers[0]:
                        break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Server]:
    server = Server(list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    scheme = "http" if tls is None else "https"
    server.url = httpx.URL(f"{scheme}://127.0.0.1:{port}")
    yield server
    listening.close()


@asynccontextmanager
async def wired(
    base: httpx.URL,
    *,
    tls: ssl.SSLContext | None = None,
    idle: float = 60,
    most: int = 10,
    patience: float = 5,
) -> AsyncGenerator[Wire]:
    trusting = tls or ssl.create_default_context()
    made = Wire(base, tls=trusting, patience=patience, idle=idle, most=most)
    async with asyncio.timeout(30):
        yield made
    await made.aclose()


async def ask(by: Wire, base: httpx.URL, body: bytes = b"Body=Hi") -> httpx.Response:
    fence = Fence(lambda: 0.0, 1.0)
    request = httpx.Request("POST", base, content=body, extensions={"trace": fence})
    return await by.handle_async_request(request)


ANSWERS: dict[str, tuple[Sequence[bytes], int]] = {
    "in pieces": ([ANSWER[:20], ANSWER[20:]], 1),
    "in chunks": (
        [CREATED + b"transfer-encoding: chunked\r\n\r\n5\r\n" + SID[:5] + b"\r\n9\r\n" + SID[5:]
         + b"\r\n0\r\n\r\n"], 1),
    "packed": (
        [CREATED + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
         % len(gzip.compress(SID)) + gzip.compress(SID)], 1),
    "after a word that it goes on": ([b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER], 1),
    "that ends with the connection": ([CREATED + b"\r\n" + SID, b""], 2),
    "that is the last of its connection": (
        [CREATED + b"connection: close\r\ncontent-length: 14\r\n\r\n" + SID], 2),
    "of an older kind": (
        [b"HTTP/1.0 201 CREATED\r\ncontent-length: 14\r\n\r\n" + SID], 2),
    "with something behind it": ([ANSWER + b"HTTP/1.1 "], 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
async def test_an_answer_is_read_however_it_comes_and_the_connection_used_again_if_it_may_be(
    kind: str,
) -> None:
    first, connections = ANSWERS[kind]
    pieces = [*first]
    if kind == "in pieces":
        pieces = []
    async with serving(*pieces, *([ANSWER] * 3)) as server, wired(server.url) as by:
        for _ in range(2):
            answer = await ask(by, server.url)
            assert (answer.status_code, answer.json()) == (201, {"sid": "SM1"})
        assert server.connections == connections


BROKEN = {
    "cut short": [ANSWER[:-3], b""],
    "nothing": [b""],
    "not HTTP": [b"220 mail.example.com ESMTP\r\n"],
    "without end": [CREATED + b"transfer-encoding: chunked\r\n\r\n200000\r\n" + b"x" * 0x200000],
    "not as it is packed": [CREATED + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx"],
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_is_no_whole_answer_is_an_error_and_the_next_request_has_its_own_connection(
    kind: str,
) -> None:
    async with serving(*BROKEN[kind], b"", ANSWER) as server, wired(server.url) as by:
        with pytest.raises((httpx.TransportError, httpx.DecodingError)) as raised:
            await ask(by, server.url)
        assert not isinstance(raised.value, httpx.ConnectError | httpx.ConnectTimeout)
        assert server.requests == 1


async def test_a_connection_that_idled_is_closed_by_others_or_said_something_is_not_used() -> None:
    async with serving(*([ANSWER] * 9)) as server, wired(server.url, idle=0) as by:
        for _ in range(2):
            await ask(by, server.url)
        assert server.connections == 2  # it idled for too long
    async with serving(ANSWER, b"", ANSWER) as server, wired(server.url) as by:
        await ask(by, server.url)
        # The other side has closed it, which our loop has not been told of yet.
        await ask(by, server.url)
        assert (server.connections, server.requests) == (2, 2)


async def test_a_wait_for_a_free_connection_and_one_for_a_handshake_end_before_anything_left(
    twilio: FakeTwilio, tmp_path: Path
) -> None:
    base = httpx.URL(twilio.base_url)
    create = base.copy_with(path=f"/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json")
    twilio.next(silent())
    async with wired(base, most=1, patience=0.1) as by:
        asking = asyncio.create_task(ask(by, create))
        await twilio.arrived(1)
        with pytest.raises(httpx.PoolTimeout):
            await ask(by, create)
        asking.cancel()
        await asyncio.wait([asking])
        assert (await ask(by, create)).status_code == 401  # its place is free again
        assert len(twilio.requests) == 2
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and says nothing
        hung = httpx.URL(f"https://127.0.0.1:{mute.getsockname()[1]}")
        async with wired(hung, patience=0.1) as by:
            with pytest.raises(httpx.ConnectTimeout):
                await ask(by, hung)
    trusting, own = vouched_for("localhost", tmp_path)
    async with serving(ANSWER, ANSWER, tls=own) as server:
        named = server.url.copy_with(host="localhost")
        async with wired(named, tls=trusting) as by:
            for _ in range(2):
                assert (await ask(by, named)).status_code == 201
        assert server.connections == 1
        async with wired(named) as by:
            with pytest.raises(httpx.ConnectError):  # nobody whom we know vouches for it
                await ask(by, named)
        async with wired(server.url, tls=trusting) as by:
            with pytest.raises(httpx.ConnectError):  # it is not who we asked for
                await ask(by, server.url)


@pytest.mark.parametrize(("clock", "outcome"), [([0, 5], SendError), ([0, 0, 5], NoAnswer)])
async def test_a_process_that_stalled_sends_nothing_on_a_connection_that_stands_either(
    twilio: FakeTwilio, clock: list[float], outcome: type[object]
) -> None:
    seconds = [0.0, 0.0, 0.0]
    carrier = TwilioCarrier(
        account_of(twilio), timeout=timedelta(seconds=5), steady=lambda: seconds.pop(0)
    )
    assert isinstance(await carrier.send(outgoing("First")), Taken)
    seconds[:] = clock
    assert isinstance(await carrier.send(outgoing("Second")), outcome)
    seconds[:] = [0.0, 0.0, 0.0]
    assert isinstance(await carrier.send(outgoing("Third")), Taken)
    await carrier.close()
    assert [m.body for m in twilio.created] == ["First", "Third"]


def test_where_a_proxy_is_on_the_way_to_twilio_what_knows_proxies_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far, here = httpx.URL("https://api.twilio.com"), httpx.URL("http://127.0.0.1:9")
    timeout = timedelta(seconds=5)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert wire(far, timeout) is not None
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    assert wire(far, timeout) is None
    assert wire(here, timeout) is not None  # a gateway or double beside us
    monkeypatch.setenv("no_proxy", "api.twilio.com")
    assert wire(far, timeout) is not None


async def test_through_a_proxy_a_text_is_sent_by_the_same_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
        carrier = TwilioCarrier(account_at("https://127.0.0.1:9"), timeout=timedelta(seconds=5))
        outcome = await carrier.send(outgoing())
        await carrier.close()
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == ("connection", "slow_down")
