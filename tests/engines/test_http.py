import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import httpx
import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook

from tests.support.turn_server import Answer, Received, TurnServer, says, serving
from tests.support.turns import NOON, turn
from textback import __version__
from textback.core.ports import Said, TurnFailed, TurnReply
from textback.engines.http import HttpConfig, HttpEngine

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HI = TurnReply(texts=("Hi.",))
SHORT = (0, 0.01, 0.02, 0.04, 0.08)
"""Pauses in which nothing is waited for."""


@pytest.fixture(scope="module")
def running() -> Generator[TurnServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: TurnServer) -> TurnServer:
    running.answers(says("Hi."))
    return running


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


@asynccontextmanager
async def engine_for(
    url: str, *, seconds: float = 5, secret: str | None = None
) -> AsyncGenerator[HttpEngine]:
    config = HttpConfig(url=url, timeout_seconds=seconds)
    engine = HttpEngine(config, secret=secret, clock=now, pauses=SHORT)
    yield engine
    await engine.close()


async def asked_of(server: TurnServer, seconds: float = 5) -> TurnReply | TurnFailed:
    async with engine_for(server.url, seconds=seconds) as engine:
        return await engine.reply(turn("hi"))


async def all_asked_of(server: TurnServer, answers: list[Answer]) -> list[TurnReply | TurnFailed]:
    """What becomes of each answer, all given at the same time and again at each attempt."""
    server.answer = lambda received: answers[int(received.heard)]
    async with engine_for(server.url) as engine, asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.reply(turn(str(n)))) for n in range(len(answers))]
    return [task.result() for task in tasks]


# --- What is sent -----------------------------------------------------------------------------


async def test_a_turn_is_posted_as_version_1_of_the_exchange(server: TurnServer) -> None:
    in_india = timezone(timedelta(hours=5, minutes=30))
    transcript = [
        Said(role="agent", text="When?", at=NOON),
        Said(
            role="user",
            text="3pm ünd 🎉",
            at=datetime(2026, 3, 1, 17, 31, 2, 345_678, tzinfo=in_india),
            media=[{"url": "https://media.example/1", "content_type": "image/png"}],
        ),
    ]
    async with engine_for(server.url) as engine:
        request = turn("3pm ünd 🎉", transcript=transcript, metadata={"order": [1, None]})
        assert await engine.reply(request) == HI
    (received,) = server.received
    assert json.loads(received.body) == {
        "version": 1,
        "conversation_id": "conv_01",
        "agent_id": "bookings",
        "project_id": "reminders",
        "channel_type": "sms",
        "messages": [
            {"role": "agent", "text": "When?", "at": "2026-03-01T12:00:00.000Z"},
            {
                "role": "user",
                "text": "3pm ünd 🎉",
                "at": "2026-03-01T12:01:02.345Z",
                "media": [{"url": "https://media.example/1", "content_type": "image/png"}],
            },
        ],
        "metadata": {"order": [1, None]},
    }
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == f"textback/{__version__}"


async def test_the_signature_is_one_the_reference_library_verifies(server: TurnServer) -> None:
    async with engine_for(server.url, secret=SECRET) as engine:
        await engine.reply(turn("hi", turn_id="turn_42"))
    (received,) = server.received
    Webhook(SECRET).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == "turn_42"


async def test_without_a_secret_a_turn_has_its_id_and_no_signature(server: TurnServer) -> None:
    async with engine_for(server.url) as engine:
        await engine.reply(turn("hi", turn_id="turn_42"))
    (received,) = server.received
    assert received.headers["webhook-id"] == "turn_42"
    assert "webhook-signature" not in received.headers


async def test_a_retry_has_the_same_id_and_body_and_a_new_timestamp(server: TurnServer) -> None:
    server.answers(Answer(status=500), says("Hi."))
    ticks = iter([NOON, NOON + timedelta(seconds=1)])
    config = HttpConfig(url=server.url, timeout_seconds=5)
    engine = HttpEngine(config, secret=SECRET, clock=lambda: next(ticks), pauses=SHORT)
    assert await engine.reply(turn("hi")) == HI
    await engine.close()
    first, second = server.received
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] == str(int(NOON.timestamp()))
    assert second.headers["webhook-timestamp"] == str(int(NOON.timestamp()) + 1)
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


async def test_a_turn_that_opens_has_no_messages(server: TurnServer) -> None:
    async with engine_for(server.url) as engine:
        assert engine.can_open
        assert await engine.reply(turn()) == HI
    assert json.loads(server.received[0].body)["messages"] == []


async def test_connections_are_kept(server: TurnServer) -> None:
    connects = 0

    async def count(name: str, _: object) -> None:
        nonlocal connects
        connects += name == "connection.connect_tcp.started"

    class Counting(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.extensions["trace"] = count
            return await super().handle_async_request(request)

    config = HttpConfig(url=server.url)
    engine = HttpEngine(config, secret=None, clock=now, transport=Counting())
    for _ in range(3):
        assert await engine.reply(turn("hi")) == HI
    await engine.close()
    assert connects == 1


async def test_the_proxy_of_the_environment_is_not_used(
    server: TurnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert await asked_of(server) == HI


# --- What is understood -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b'{"messages":[]}', TurnReply(texts=())),
        (
            b'{"messages":[{"text":"a"},{"text":"b"}],"end_conversation":true}',
            TurnReply(texts=("a", "b"), end_conversation=True),
        ),
        (
            b' {"messages":[{"text":" a\\n","tone":1}],"version":9,"debug":{"x":[NaN]}}\n',
            TurnReply(texts=(" a\n",)),
        ),
        (
            json.dumps({"messages": [{"text": "🎉" * 1600}] * 10}).encode(),
            TurnReply(texts=("🎉" * 1600,) * 10),
        ),
        ('{"messages":[{"text":"ü🎉"}]}'.encode(), TurnReply(texts=("ü🎉",))),
    ],
)
async def test_a_good_answer_is_taken_as_it_is(
    server: TurnServer, body: bytes, reply: TurnReply
) -> None:
    server.answers(Answer(body=body, headers={"content-type": "text/plain"}))
    assert await asked_of(server) == reply


BAD_ANSWERS = [
    (b"", "not JSON"),
    (b"PRIVATE", "not JSON"),
    (b"<html>PRIVATE</html>", "not JSON"),
    (b'{"messages":[{"text":"PRIVATE"}]', "not JSON"),
    (b'{"messages":[{"text":"PRIVATE \xff"}]}', "not JSON"),
    (b'{"messages":[{"text":"PRIVATE \\ud800"}]}', "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b"null", "the answer"),
    (b'"PRIVATE"', "the answer"),
    (b'[{"text":"PRIVATE"}]', "the answer"),
    (b"{}", "messages"),
    (b'{"messages":null}', "messages"),
    (b'{"messages":"PRIVATE"}', "messages"),
    (b'{"messages":["PRIVATE"]}', "messages.0"),
    (b'{"messages":[{}]}', "messages.0.text"),
    (b'{"messages":[{"text":null}]}', "messages.0.text"),
    (b'{"messages":[{"text":7}]}', "messages.0.text"),
    (b'{"messages":[{"text":""}]}', "messages.0.text: Value error, is blank"),
    (b'{"messages":[{"text":"a"},{"text":" \\n\\t"}]}', "messages.1.text"),
    (b'{"messages":[{"text":"PRIVATE\\u0000"}]}', "NUL"),
    (b'{"messages":[{"text":"' + b"x" * 1601 + b'"}]}', "at most 1600"),
    (b'{"messages":[' + b'{"text":"PRIVATE"},' * 10 + b'{"text":"x"}]}', "at most 10"),
    (b'{"messages":[],"end_conversation":null}', "end_conversation"),
    (b'{"messages":[],"end_conversation":"PRIVATE"}', "end_conversation"),
    (b'{"messages":[],"end_conversation":1}', "end_conversation"),
]
"""A body, and what the reason must name."""


async def test_bad_answers_fail_the_turn_with_a_reason_that_quotes_nothing(
    server: TurnServer,
) -> None:
    outcomes = await all_asked_of(server, [Answer(body=body) for body, _ in BAD_ANSWERS])
    for (body, why), outcome in zip(BAD_ANSWERS, outcomes, strict=True):
        assert isinstance(outcome, TurnFailed), body
        assert why in outcome.reason, body
        assert "PRIVATE" not in outcome.reason
        assert len(outcome.reason) < 150


async def test_an_answer_over_a_megabyte_is_not_read_to_its_end(server: TurnServer) -> None:
    megabyte = b'{"messages":[],"x":"' + b"x" * 1_000_000
    server.answers(Answer(body=megabyte, drip=0.2, repeats=100), says("Hi."))
    began = time.monotonic()
    assert await asked_of(server) == HI
    assert time.monotonic() - began < 5  # to its end it would be 20 s
    server.answers(Answer(body=megabyte))
    answer = await asked_of(server)
    assert isinstance(answer, TurnFailed)
    assert "over 1000000 bytes" in answer.reason


async def test_a_compressed_answer_is_not_unpacked(server: TurnServer) -> None:
    bomb = gzip.compress(b'{"messages":[],"x":"' + b"x" * 50_000_000 + b'"}')
    server.answers(Answer(body=bomb, headers={"content-encoding": "gzip"}), says("Hi."))
    assert await asked_of(server) == HI
    assert server.received[0].headers["accept-encoding"] == "identity"


# --- What is tried again ----------------------------------------------------------------------


async def test_errors_are_tried_again(server: TurnServer) -> None:
    statuses = [400, 401, 404, 408, 409, 429, 500, 502, 503]
    seen = set[str]()

    def answer(received: Received) -> Answer:
        status = 200 if received.heard in seen else int(received.heard)
        seen.add(received.heard)
        return Answer(body=says("Hi.").body, status=status)

    server.answer = answer
    async with engine_for(server.url) as engine, asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.reply(turn(str(status)))) for status in statuses]
    assert [task.result() for task in tasks] == [HI] * len(statuses)
    assert len(server.received) == 2 * len(statuses)


async def test_five_bad_answers_fail_the_turn_with_each_reason_once(server: TurnServer) -> None:
    server.answers(*[Answer(body=b"no")] * 3, Answer(status=503))
    assert await asked_of(server) == TurnFailed(
        "the answer is not JSON, then HTTP 503 (attempts: 5)"
    )
    assert len(server.received) == 5


async def test_between_attempts_are_pauses(server: TurnServer) -> None:
    server.answers(Answer(status=500))
    await asked_of(server)
    times = [received.at for received in server.received]
    for (earlier, later), pause in zip(pairwise(times), SHORT[1:], strict=True):
        assert later - earlier >= pause


async def test_pauses_are_shorter_for_a_short_timeout_so_that_all_attempts_fit(
    server: TurnServer,
) -> None:
    server.answers(Answer(status=500))
    config = HttpConfig(url=server.url, timeout_seconds=0.5)
    engine = HttpEngine(config, secret=None, clock=now)
    assert await engine.reply(turn("hi")) == TurnFailed("HTTP 500 (attempts: 5)")
    await engine.close()


async def test_no_attempt_begins_when_too_little_time_is_left(server: TurnServer) -> None:
    server.answers(Answer(status=500))
    config = HttpConfig(url=server.url, timeout_seconds=2.5)
    engine = HttpEngine(config, secret=None, clock=now, pauses=(0, 4.8))
    assert await engine.reply(turn("hi")) == TurnFailed("HTTP 500 (attempts: 1)")
    await engine.close()


async def test_a_late_answer_is_tried_again(server: TurnServer) -> None:
    server.answers(Answer(delay=1), says("Hi."))
    assert await asked_of(server, seconds=0.3) == HI


async def test_answers_that_stay_late_fail_the_turn_at_its_deadline(server: TurnServer) -> None:
    server.answers(Answer(delay=1))
    async with engine_for(server.url, seconds=0.1) as engine:
        assert engine.deadline == timedelta(seconds=0.2)
        began = time.monotonic()
        answer = await engine.reply(turn("hi"))
        assert isinstance(answer, TurnFailed)
        assert answer.reason.startswith("timed out after 0.1 s, then timed out after 0.")
        assert 0.1 < time.monotonic() - began < 0.9


async def test_an_answer_that_drips_is_late_however_often_a_byte_comes(server: TurnServer) -> None:
    server.answers(Answer(body=b" ", drip=0.02, repeats=100))
    began = time.monotonic()
    answer = await asked_of(server, seconds=0.1)
    assert isinstance(answer, TurnFailed)
    assert "timed out" in answer.reason
    assert time.monotonic() - began < 1


async def test_after_late_answers_the_engine_still_works(server: TurnServer) -> None:
    async with engine_for(server.url, seconds=0.3) as engine:
        server.answers(Answer(delay=1))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(engine.reply(turn("hi"))) for _ in range(30)]
            await asyncio.sleep(0.1)
            for task in tasks[10:]:  # turns are also cancelled, when a worker stops
                task.cancel()
        server.answers(says("Hi."))
        assert await engine.reply(turn("hi")) == HI


async def test_redirects_are_not_followed(server: TurnServer) -> None:
    headers = {"location": server.url.replace("/turn", "/elsewhere")}
    statuses = [301, 302, 303, 307, 308]
    redirects = [Answer(status=status, headers=headers) for status in statuses]
    for status, outcome in zip(statuses, await all_asked_of(server, redirects), strict=True):
        assert outcome == TurnFailed(f"HTTP {status} (redirects are not followed) (attempts: 5)")


# --- What is no HTTP at all -------------------------------------------------------------------

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncGenerator[str]:
    """A bare TCP server; gives its URL."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/turn"


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"PRIVATE PRIVATE PRIVATE\r\n\r\n")
    await writer.drain()


async def stop_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10_000)
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"messages":[')
    await writer.drain()


@pytest.mark.parametrize("talk", [hang_up, babble, stop_half_way])
async def test_a_broken_connection_fails_the_turn_and_quotes_nothing(talk: Talk) -> None:
    async with talking(talk) as url, engine_for(url) as engine:
        answer = await engine.reply(turn("hi"))
    assert isinstance(answer, TurnFailed)
    assert "the connection broke" in answer.reason
    assert "PRIVATE" not in answer.reason


async def test_a_server_that_is_not_there_fails_the_turn() -> None:
    async with engine_for("http://127.0.0.1:1/turn") as engine:
        answer = await engine.reply(turn("hi"))
    assert isinstance(answer, TurnFailed)
    assert answer.reason.startswith("could not connect")


# --- Config -----------------------------------------------------------------------------------


def test_a_config_is_read_as_it_is_written_in_a_file() -> None:
    config = HttpConfig.model_validate(
        {
            "kind": "http",
            "url": "http://127.0.0.1:9000/turn",
            "secret": SECRET,
            "timeout_seconds": 20,
        }
    )
    assert config.secret is not None
    assert config.secret.get_secret_value() == SECRET
    assert HttpConfig(url="https://example.com").timeout_seconds == 20
    assert SECRET not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "example.com/turn"},
        {"url": "ftp://example.com/turn"},
        {"url": "http://"},
        {"url": "http:///turn"},
        {"url": "http://example.com:99999/"},
        {"url": "http://[::1/"},
        {"url": ""},
        {"secret": "hunter2hunter2"},
        {"secret": "whsec_" + base64.b64encode(b"k" * 8).decode()},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": 301},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": "soon"},
        {"kind": "scripted"},
        {"header": "x"},
    ],
)
def test_a_wrong_config_is_refused_where_it_stands(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpConfig.model_validate({"url": "https://example.com/turn"} | wrong)
    assert [error["loc"] for error in caught.value.errors()] == [tuple(wrong)]
    assert "hunter2" not in str(caught.value)
