"""What the http engine asks of a conversation that is over."""

import json
from collections.abc import AsyncGenerator

import pytest
from standardwebhooks import Webhook

from tests.support.http_engine import SECRET, engine_for
from tests.support.turn_server import Answer, TurnServer
from tests.support.turns import over
from textback.core.engine import (
    Analysis,
    AnalysisSettings,
    Possible,
    TurnFailed,
    Usage,
)
from textback.engines.http import HttpEngine

VALUES = {"type": "object", "properties": {"time": {"type": "string"}}}


@pytest.fixture
async def engine(server: TurnServer) -> AsyncGenerator[HttpEngine]:
    async with engine_for(server.url, secret=SECRET) as made:
        yield made


async def test_an_analysis_is_asked_for_with_what_is_wanted(
    server: TurnServer, engine: HttpEngine
) -> None:
    wanted = AnalysisSettings(
        values=VALUES,
        outcomes=[Possible("booked", "A time was agreed."), Possible("lost")],
        instructions="In German.",
    )
    server.answers(Answer(body=b'{"summary":"3pm."}'))
    assert await engine.analyse(over("3pm please", wanted=wanted)) == Analysis(summary="3pm.")
    (received,) = server.received
    Webhook(SECRET).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == "conv_01.analysis"
    assert json.loads(received.body) == {
        "version": 1,
        "type": "analysis",
        "conversation_id": "conv_01",
        "agent_id": "bookings",
        "project_id": "reminders",
        "channel_type": "sms",
        "messages": [{"role": "user", "text": "3pm please", "at": "2026-03-01T12:00:00.000Z"}],
        "ended": "idle",
        "wanted": {
            "summary": True,
            "values": VALUES,
            "outcomes": [
                {"name": "booked", "description": "A time was agreed."},
                {"name": "lost", "description": ""},
            ],
            "instructions": "In German.",
        },
        "metadata": {},
        "variables": {},
        "objective": None,
        "state": {},
        "timezone": "UTC",
    }


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"summary":null}', Analysis()),
        (
            b'{"summary":"a","values":{"x":[1]},"outcome":"booked","usage":{"input_tokens":5}}',
            Analysis(summary="a", values={"x": [1]}, outcome="booked", usage=Usage(input_tokens=5)),
        ),
    ],
)
async def test_an_analysis_is_taken_as_it_is(
    server: TurnServer, engine: HttpEngine, body: bytes, found: Analysis
) -> None:
    server.answers(Answer(body=body))
    assert await engine.analyse(over("hi")) == found


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(body=b"{}"), "no summary, no values and no outcome"),
        (Answer(body=b'{"messages":[{"text":"PRIVATE"}]}'), "no summary, no values"),
        (Answer(body=b'{"summary":7}'), "summary"),
        (Answer(body=b'{"values":["PRIVATE"]}'), "values"),
        (Answer(body=b'{"outcome":["PRIVATE"]}'), "outcome"),
        (Answer(body=b'{"type":"analysis","summary":"PRIVATE"}'), "what was asked"),
        (Answer(status=202, body=b""), "HTTP 202"),
        (Answer(status=500), "HTTP 500"),
    ],
)
async def test_what_is_no_analysis_fails_after_as_many_attempts_as_a_turn_has(
    server: TurnServer, engine: HttpEngine, answer: Answer, why: str
) -> None:
    server.answers(answer)
    failed = await engine.analyse(over("hi"))
    assert isinstance(failed, TurnFailed)
    assert why in failed.reason
    assert "PRIVATE" not in failed.reason
    assert len(server.received) == 5
