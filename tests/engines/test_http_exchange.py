"""What the http engine sends, and what it understands of the answer."""

import gzip
import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from tests.support.http_engine import (
    HI,
    SECRET,
    SHORT,
    all_asked_of,
    asked_of,
    engine_for,
    now,
)
from tests.support.turn_server import Answer, TurnServer, says
from tests.support.turns import NOON, turn
from textback import __version__
from textback.core.engine import Earlier, Said, TurnFailed, TurnReply, Usage
from textback.engines.http import HttpConfig, HttpEngine


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
        "type": "turn",
        "turn_id": "turn_01",
        "run": 1,
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
        "heard": "3pm ünd 🎉",
        "metadata": {"order": [1, None]},
        "variables": {},
        "objective": None,
        "state": {},
        "timezone": "UTC",
    }
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"] == f"textback/{__version__}"


async def test_all_that_is_known_of_the_conversation_is_told(server: TurnServer) -> None:
    spoken = [
        Said(role="agent", text="Here is Ann.", at=NOON),
        Said(role="person", text="Hi, Ann here.", at=NOON),
    ]
    before = Earlier(ended_at=NOON, summary="They moved it to 3pm.", transcript=spoken[:1])
    request = replace(
        turn("ok", transcript=spoken),
        run=3,
        variables={"name": "Jane", "visits": 2},
        objective="Fill the free slot.",
        state={"step": 2},
        timezone="Europe/Berlin",
        earlier=[before],
    )
    async with engine_for(server.url) as engine:
        await engine.reply(request)
    told = json.loads(server.received[0].body)
    at = "2026-03-01T12:00:00.000Z"
    assert told["messages"][1] == {"role": "person", "text": "Hi, Ann here.", "at": at}
    assert told["earlier"] == [
        {
            "ended_at": at,
            "summary": "They moved it to 3pm.",
            "messages": [{"role": "agent", "text": "Here is Ann.", "at": at}],
        }
    ]
    assert {
        name: told[name] for name in ("run", "variables", "objective", "state", "timezone")
    } == {
        "run": 3,
        "variables": {"name": "Jane", "visits": 2},
        "objective": "Fill the free slot.",
        "state": {"step": 2},
        "timezone": "Europe/Berlin",
    }


async def test_a_turn_that_runs_again_is_another_request(server: TurnServer) -> None:
    """Else a server that keeps its answers would give the one from before the user said more."""
    async with engine_for(server.url, secret=SECRET) as engine:
        await engine.reply(replace(turn("hi", turn_id="turn_42"), run=2))
    (received,) = server.received
    Webhook(SECRET).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == "turn_42.2"
    assert json.loads(received.body)["turn_id"] == "turn_42"


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
    config = HttpConfig(url=server.url, timeout_seconds=5, secret=SecretStr(SECRET))
    engine = HttpEngine(config, clock=lambda: next(ticks), pauses=SHORT)
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
    engine = HttpEngine(config, clock=now, transport=Counting())
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


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b'{"messages":[]}', TurnReply(texts=())),
        (
            b'{"messages":[{"text":"a"}],"hand_off":"wants Ann","state":{"step":2,"x":[null]}}',
            TurnReply(
                texts=("a",),
                hand_off="wants Ann",
                state={"step": 2, "x": [None]},
            ),
        ),
        (
            b'{"messages":[],"usage":{"input_tokens":900,"output_tokens":20,"cost_usd":0.01}}',
            TurnReply(texts=(), usage=Usage(input_tokens=900, output_tokens=20, cost_usd=0.01)),
        ),
        (
            b'{"messages":[],"hand_off":null,"state":null,"usage":null,"turn_id":null,"type":7}',
            TurnReply(texts=()),
        ),
        (b'{"messages":[],"state":{},"turn_id":"turn_01","run":1}', TurnReply(texts=(), state={})),
        (
            b'{"messages":[{"text":"a"},{"text":"b"}],"end_conversation":true}',
            TurnReply(texts=("a", "b"), end_conversation=True),
        ),
        (
            b' {"messages":[{"text":" a\\n","tone":1}],"version":9,"debug":{"x":[NaN]}}\n',
            TurnReply(texts=(" a\n",)),
        ),
        (
            json.dumps({"messages": [{"text": "🎉" * 4000}] * 10}).encode(),
            TurnReply(texts=("🎉" * 4000,) * 10),
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
    (b'{"messages":[{"text":"' + b"x" * 4001 + b'"}]}', "at most 4000"),
    (b'{"messages":[' + b'{"text":"PRIVATE"},' * 10 + b'{"text":"x"}]}', "at most 10"),
    (b'{"messages":[],"end_conversation":null}', "end_conversation"),
    (b'{"messages":[],"end_conversation":"PRIVATE"}', "end_conversation"),
    (b'{"messages":[],"end_conversation":1}', "end_conversation"),
    (b'{"messages":[],"hand_off":true}', "hand_off"),
    (b'{"messages":[],"hand_off":" "}', "hand_off: Value error, is blank"),
    (b'{"messages":[],"hand_off":"PRIVATE\\u0000"}', "hand_off: Value error, holds a NUL"),
    (b'{"messages":[],"hand_off":"' + b"x" * 501 + b'"}', "hand_off"),
    (b'{"messages":[],"state":["PRIVATE"]}', "state"),
    (b'{"messages":[],"state":{"PRIVATE":NaN}}', "state: Value error, is no JSON"),
    (b'{"messages":[],"state":{"PRIVATE":[1e999]}}', "state: Value error, is no JSON"),
    (b'{"messages":[],"state":{"PRIVATE":[{"a":"\\u0000"}]}}', "state: Value error, is no JSON"),
    (b'{"messages":[],"state":{"PRIVATE\\u0000":1}}', "state: Value error, is no JSON"),
    (b'{"messages":[],"state":' + b'{"a":' * 999 + b"1" + b"}" * 1000, "not JSON"),
    (b'{"messages":[],"state":{"PRIVATE":"' + b"x" * 64_000 + b'"}}', "up to 64000 bytes"),
    (b'{"messages":[],"usage":{"input_tokens":-1}}', "usage.input_tokens"),
    (b'{"messages":[],"usage":{"output_tokens":1.5}}', "usage.output_tokens"),
    (b'{"messages":[],"usage":{"cost_usd":Infinity}}', "usage.cost_usd"),
    (b'{"messages":[],"usage":{"cost_usd":"PRIVATE"}}', "usage.cost_usd"),
    (b'{"type":"turn","messages":[{"role":"user","text":"PRIVATE"}]}', "what was asked"),
    (b'{"messages":[],"turn_id":"turn_02"}', "another turn"),
    (b'{"messages":[],"turn_id":"turn_01","run":2}', "another run"),
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


async def test_who_is_asked_can_go_on_with_the_trace(server: TurnServer) -> None:
    here = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with engine_for(server.url) as engine:
        await engine.reply(turn("hi"))
        await engine.reply(replace(turn("hi"), traceparent=here))
    untraced, traced = server.received
    assert "traceparent" not in untraced.headers
    assert traced.headers["traceparent"] == here
