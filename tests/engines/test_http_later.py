"""What the http engine makes of a 202, and of what is posted later."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from tests.support.http_engine import HI, SECRET, engine_for, now
from tests.support.turn_server import Answer, TurnServer
from tests.support.turns import NOON, turn
from textback.core import signing
from textback.core.engine import Later, TurnFailed, TurnReply, TurnRequest
from textback.core.ports import AnswersLater, Forged, Malformed
from textback.engines.http import HttpConfig, HttpEngine

URL: Final = "https://sms.example.com/v1/turns/turn_01/1/reply"
OTHER_SECRET: Final = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SAID: Final = b'{"messages":[{"text":"Hi."}]}'


def asked() -> TurnRequest:
    return replace(turn("hi"), reply_url=URL)


@pytest.mark.parametrize(
    ("body", "within"),
    [
        (b"", 300),
        (b"{}", 300),
        (b"null", 300),
        (b"Accepted", 300),
        (b'{"within_seconds":null}', 300),
        (b'{"within_seconds":1}', 1),
        (b'{"within_seconds":90.5,"job":7}', 90.5),
        (b'{"within_seconds":86400}', 86_400),
    ],
)
async def test_202_says_that_the_answer_comes_later(
    server: TurnServer, body: bytes, within: float
) -> None:
    server.answers(Answer(status=202, body=body))
    async with engine_for(server.url, secret=SECRET) as engine:
        assert await engine.reply(asked()) == Later(within=timedelta(seconds=within))
    (received,) = server.received
    told = json.loads(received.body)
    assert (told["reply_url"], told["answer_within_seconds"]) == (URL, 300)


async def test_how_long_a_later_answer_may_take_is_a_setting(server: TurnServer) -> None:
    server.answers(Answer(status=202, body=b""))
    config = HttpConfig(url=server.url, secret=SecretStr(SECRET), answer_within_seconds=7200)
    engine = HttpEngine(config, clock=now)
    assert await engine.reply(asked()) == Later(within=timedelta(hours=2))
    assert json.loads(server.received[0].body)["answer_within_seconds"] == 7200
    await engine.close()


@pytest.mark.parametrize("seconds", [0.9, 86_401, float("nan")])
def test_a_setting_out_of_bounds_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="answer_within_seconds"):
        HttpConfig(url="http://127.0.0.1/turn", answer_within_seconds=seconds)


@pytest.mark.parametrize("seconds", ["0", "-1", "86401", '"60"', "true", "1e999", "NaN", "[]"])
async def test_a_promise_that_nobody_can_keep_is_a_bad_answer(
    server: TurnServer, seconds: str
) -> None:
    server.answers(Answer(status=202, body=f'{{"within_seconds":{seconds}}}'.encode()))
    async with engine_for(server.url, secret=SECRET) as engine:
        answer = await engine.reply(asked())
    assert isinstance(answer, TurnFailed)
    assert answer.reason.startswith("within_seconds: ")


async def test_202_with_messages_is_an_answer(server: TurnServer) -> None:
    server.answers(Answer(status=202, body=SAID))
    async with engine_for(server.url) as engine:
        assert await engine.reply(turn("hi")) == HI


async def test_without_a_secret_nothing_may_be_answered_later(server: TurnServer) -> None:
    server.answers(Answer(status=202, body=b""))
    async with engine_for(server.url) as engine:
        answer = await engine.reply(asked())
        assert engine.posted(signed(SAID), SAID, turn_id="turn_01", run=1, now=NOON) == Forged(
            "The agent of this turn has no secret, so it takes no answers here."
        )
    assert answer == TurnFailed(
        "HTTP 202, but the agent has no secret: nobody could tell who answers later"
    )
    (received,) = server.received  # asking again would not help
    assert "reply_url" not in json.loads(received.body)


async def test_where_nothing_can_be_posted_later_202_fails_the_turn(server: TurnServer) -> None:
    server.answers(Answer(status=202, body=b""))
    async with engine_for(server.url, secret=SECRET) as engine:
        answer = await engine.reply(turn("hi"))
    assert answer == TurnFailed("HTTP 202, but there is nowhere to post an answer later")
    assert "reply_url" not in json.loads(server.received[0].body)


# --- What is posted later ----------------------------------------------------------------------


def signed(body: bytes, secret: str = SECRET, *, seconds: float = 0) -> dict[str, str]:
    """By the reference library, so long after noon."""
    at = NOON + timedelta(seconds=seconds)
    return {
        "webhook-id": "a",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("a", at, body.decode()),
    }


async def posted(headers: Mapping[str, str], body: bytes) -> TurnReply | Forged | Malformed:
    async with engine_for("http://127.0.0.1:9/turn", secret=SECRET) as engine:
        assert isinstance(engine, AnswersLater)
        return engine.posted(headers, body, turn_id="turn_01", run=1, now=NOON)


@pytest.mark.parametrize("seconds", [-300, 0, 300])
async def test_what_the_reference_library_signs_is_taken(seconds: float) -> None:
    assert await posted(signed(SAID, seconds=seconds), SAID) == HI


async def test_one_signature_of_several_suffices() -> None:
    headers = signed(SAID)
    headers["webhook-signature"] = f"v1a,xyz v1,ünd= {headers['webhook-signature']} v2,abc"
    assert await posted(headers, SAID) == HI


@pytest.mark.parametrize("seconds", [-301, 301, -1e9, 1e9])
async def test_an_old_answer_is_not_taken_again(seconds: float) -> None:
    answer = await posted(signed(SAID, seconds=seconds), SAID)
    assert isinstance(answer, Forged)
    assert "webhook-timestamp" in answer.why


def altered(**changes: str) -> dict[str, str]:
    return signed(SAID) | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        altered(webhook_id=""),
        altered(webhook_id="b"),
        altered(webhook_id="\x00ü\u20ac"),
        altered(webhook_timestamp=""),
        altered(webhook_timestamp=str(int(NOON.timestamp()) + 1)),
        altered(webhook_timestamp=f" {int(NOON.timestamp())}"),
        altered(webhook_timestamp="1_772_366_400"),
        altered(webhook_timestamp="\u0661\u0662"),
        altered(webhook_timestamp="9" * 5000),
        altered(webhook_timestamp="nan"),
        altered(webhook_signature=""),
        altered(webhook_signature="v1,"),
        altered(webhook_signature="v1"),
        altered(webhook_signature="\u20ac"),
        altered(webhook_signature="v1," * 10_000),
        altered(webhook_signature=signed(SAID)["webhook-signature"].removeprefix("v1,")),
        altered(webhook_signature=signed(SAID)["webhook-signature"] + "x"),
        signed(SAID, OTHER_SECRET),
        signed(SAID + b" "),
    ],
    ids=range(20),
)
async def test_what_is_not_signed_by_the_agents_secret_is_not_even_read(
    headers: dict[str, str],
) -> None:
    assert isinstance(await posted(headers, SAID), Forged)


async def test_our_own_request_is_no_answer(server: TurnServer) -> None:
    """It is signed with the same secret, and has messages: a mirror must not text the user."""
    async with engine_for(server.url, secret=SECRET) as engine:
        await engine.reply(asked())
        (received,) = server.received
        at = now()
        assert signing.fault(SECRET, received.headers, received.body, now=at) is None
        answer = engine.posted(received.headers, received.body, turn_id="turn_01", run=1, now=at)
    assert answer == Malformed(
        "This is no answer that can be used:"
        " type: Value error, this is what was asked, not an answer to it."
    )


@pytest.mark.parametrize("named", ['"turn_id":"turn_02"', '"run":2', '"turn_id":"","run":1'])
async def test_an_answer_that_names_its_turn_is_good_for_no_other(named: str) -> None:
    body = f'{{"messages":[],{named}}}'.encode()
    assert isinstance(await posted(signed(body), body), Malformed)


@pytest.mark.parametrize("body", [b"", b"PRIVATE", b"[" * 100_000, b'{"messages":[{}]}', b"\xff"])
async def test_a_bad_answer_is_refused_with_a_sentence_that_quotes_nothing(body: bytes) -> None:
    headers = signing.headers(SECRET, webhook_id="a", timestamp=int(NOON.timestamp()), body=body)
    answer = await posted(headers, body)
    assert isinstance(answer, Malformed)
    assert answer.why.endswith(".")
    assert "PRIVATE" not in answer.why
