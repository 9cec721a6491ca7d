"""The sender against servers that misbehave, and names that lead where they must not."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.fake_twilio.server import Answer, HangUp, LoopbackServer, Request
from tests.support.network import Names, Network
from tests.support.tls import vouched_for
from textback.core.webhook import Answered, NotAnswered
from textback.public_network import Checked
from textback.webhook_sender import MOST_READ, HttpSender


class Stage:
    """A server that plays its part, and the sender that meets it."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.part: Answer | HangUp = Answer(200, b"{}")
        self.hangs = False
        self.server = LoopbackServer(self._play)
        self.sender = HttpSender(private=True, whole_seconds=2)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/hook?x=1"

    async def post(self, body: bytes = b'{"a":1}') -> Answered | NotAnswered:
        return await self.sender.post(self.url, {"webhook-id": "evt_1"}, body)

    async def _play(self, request: Request) -> Answer | HangUp:
        self.got.append(request)
        if self.hangs:
            await asyncio.sleep(3600)
        return self.part


@pytest.fixture
async def stage() -> AsyncGenerator[Stage]:
    made = Stage()
    await made.server.start()
    yield made
    await made.sender.close()
    await made.server.stop()


async def test_the_body_arrives_as_it_is(stage: Stage) -> None:
    stage.part = Answer(202, "grüße\0".encode())
    done = await stage.post()
    assert isinstance(done, Answered)
    assert (done.status, done.body, done.retry_after) == (202, "grüße\ufffd", None)
    (request,) = stage.got
    assert (request.method, request.path, request.query) == ("POST", "/hook", "x=1")
    assert request.body == b'{"a":1}'
    assert request.headers["host"] == f"127.0.0.1:{stage.server.port}"
    assert request.headers["webhook-id"] == "evt_1"
    assert request.headers["user-agent"].startswith("textback/")


async def test_a_redirect_is_an_answer_and_is_not_followed(stage: Stage) -> None:
    stage.part = Answer(307, b"", {"location": "http://169.254.169.254/latest/meta-data"})
    done = await stage.post()
    assert isinstance(done, Answered)
    assert done.status == 307
    assert len(stage.got) == 1


async def test_of_a_long_answer_only_the_beginning_is_read(stage: Stage) -> None:
    stage.part = Answer(200, b"x" * 10_000_000)
    done = await stage.post()
    assert isinstance(done, Answered)
    assert done.body == "x" * MOST_READ
    assert isinstance(await stage.post(), Answered)  # on another connection


async def test_what_would_come_after_the_beginning_is_not_waited_for(stage: Stage) -> None:
    begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000\r\n\r\n" + b"x" * MOST_READ
    stage.part = HangUp(after=begun, dripping=60)
    done = await stage.post()
    assert isinstance(done, Answered)
    assert done.body == "x" * MOST_READ


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120),
        (
            {
                "retry-after": "Mon, 02 Mar 2026 09:01:00 GMT",
                "date": "Mon, 02 Mar 2026 09:00:00 GMT",
            },
            60,
        ),
        (
            {
                "retry-after": "Mon, 02 Mar 2026 08:00:00 GMT",
                "date": "Mon, 02 Mar 2026 09:00:00 GMT",
            },
            0,
        ),
        ({"retry-after": "Mon, 02 Mar 2026 09:01:00 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Mon, 02 Mar 99999999999 09:01:00 GMT"}, None),
        ({"retry-after": "Mon, 02 Mar 2026 09:01:00 +99999999999999"}, None),
        ({"retry-after": "9" * 30}, None),
        ({"retry-after": "-5"}, None),
    ],
)
async def test_how_long_to_wait_is_read(
    stage: Stage, headers: dict[str, str], seconds: int | None
) -> None:
    stage.part = Answer(429, b"", headers)
    done = await stage.post()
    assert isinstance(done, Answered)
    assert done.retry_after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "part",
    [
        HangUp(),
        HangUp(reset=True),
        HangUp(after=b"HTTP/1.1 20"),
        HangUp(after=b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
        HangUp(after=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
    ],
    ids=["closes", "resets", "cut short", "another protocol", "cut short in the body"],
)
async def test_what_is_no_answer_is_none(stage: Stage, part: HangUp) -> None:
    stage.part = part
    done = await stage.post()
    assert isinstance(done, NotAnswered)
    assert done.why
    assert "\n" not in done.why


async def test_who_hangs_or_drips_is_left(stage: Stage) -> None:
    stage.sender = HttpSender(private=True, whole_seconds=0.2)
    stage.hangs = True
    assert (await stage.post()) is not None
    done = await stage.post()
    assert isinstance(done, NotAnswered)
    assert done.why == "no answer in time"
    stage.hangs = False
    stage.part = HangUp(after=b"HTTP/1.1 200 OK\r\n\r\n", dripping=5)
    done = await stage.post()
    assert isinstance(done, NotAnswered)
    assert done.why == "no answer in time"
    assert done.milliseconds < 2000


async def test_nobody_there(stage: Stage) -> None:
    url = stage.url
    await stage.server.stop()
    done = await stage.sender.post(url, {}, b"{}")
    await stage.server.start()
    assert isinstance(done, NotAnswered)
    assert done.why == "All connection attempts failed"


# --- Where it does not go ------------------------------------------------------------------------


def outside(stage: Stage, names: Names, network: Network) -> HttpSender:
    """As in production: nothing private is allowed."""
    stage.sender = HttpSender(resolve=names, network=network, whole_seconds=2)
    return stage.sender


async def test_it_connects_to_the_address_that_was_checked_and_asks_for_it_once(
    stage: Stage,
) -> None:
    """A name that leads elsewhere when it is asked for again (DNS rebinding) leads nowhere."""
    names, network = Names(["93.184.215.14"], ["127.0.0.1"]), Network(stage.server.port)
    sender = outside(stage, names, network)
    done = await sender.post("https://rebind.example/hook", {}, b"{}")
    # The stage talks no TLS: the connection was made, and went no further.
    assert isinstance(done, NotAnswered)
    assert network.to == ["93.184.215.14"]
    assert names.asked == ["rebind.example"]
    done = await sender.post("https://rebind.example/hook", {}, b"{}")
    assert isinstance(done, NotAnswered)
    assert done.why == "nothing was sent: the host's name leads to a private address"
    assert network.to == ["93.184.215.14"]
    assert stage.got == []
    await sender.close()


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.215.14", "10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["169.254.169.254"],
        ["fe80::1%eth0"],
        ["not an address"],
    ],
)
async def test_a_name_with_a_private_address_is_posted_nothing(
    stage: Stage, addresses: list[str]
) -> None:
    network = Network(stage.server.port)
    sender = outside(stage, Names(addresses), network)
    done = await sender.post("https://intern.example/hook", {}, b"{}")
    assert isinstance(done, NotAnswered)
    assert done.why == "nothing was sent: the host's name leads to a private address"
    assert network.to == []
    await sender.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.215.14/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://me@example.com/",
    ],
)
async def test_a_url_that_was_kept_when_it_was_allowed_is_checked_again(
    stage: Stage, url: str
) -> None:
    network = Network(stage.server.port)
    sender = outside(stage, Names(), network)
    done = await sender.post(url, {}, b"{}")
    assert isinstance(done, NotAnswered)
    assert done.why.startswith("nothing was sent: the URL ")
    assert network.to == []
    await sender.close()


async def test_an_address_that_is_silent_leaves_time_for_the_next(stage: Stage) -> None:
    network = Network(stage.server.port)
    names = Names(["93.184.215.98", "93.184.215.14"])
    stream = await Checked(names, network, each_seconds=0.01).connect_tcp("two.example", 443)
    assert network.to == ["93.184.215.98", "93.184.215.14"]
    await stream.aclose()


async def test_an_unknown_name_is_no_answer(stage: Stage) -> None:
    sender = outside(stage, Names([]), Network(stage.server.port))
    done = await sender.post("https://gone.example/hook", {}, b"{}")
    assert done == NotAnswered(why="the host's name is not known", milliseconds=done.milliseconds)
    await sender.close()


async def test_a_redirect_to_a_private_address_leads_nowhere(tmp_path: Path) -> None:
    """Over TLS, by name: the certificate is checked against the name, not the address."""
    trusted, server_side = vouched_for("hooks.example", tmp_path)
    posted: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        posted.append(await reader.readuntil(b"{}"))
        writer.write(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
    network = Network(server.sockets[0].getsockname()[1])
    names = Names(["93.184.215.99", "93.184.215.14"], ["93.184.215.14"])
    sender = HttpSender(resolve=names, network=network, tls=trusted, whole_seconds=2)
    done = await sender.post("https://hooks.example/hook", {}, b"{}")
    assert isinstance(done, Answered)
    assert done.status == 302
    assert network.to == ["93.184.215.99", "93.184.215.14"]  # the next one, if nobody is there
    assert b"host: hooks.example\r\n" in posted[0].lower()
    done = await sender.post("https://other.example/hook", {}, b"{}")
    assert isinstance(done, NotAnswered)
    assert "certificate" in done.why.lower()
    await sender.close()
    # And nobody else's authority vouches for it.
    sender = HttpSender(resolve=Names(["93.184.215.14"]), network=network, whole_seconds=2)
    done = await sender.post("https://hooks.example/hook", {}, b"{}")
    assert isinstance(done, NotAnswered)
    assert "certificate" in done.why.lower()
    assert len(posted) == 1
    await sender.close()
    server.close()
