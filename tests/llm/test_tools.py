"""Tools over HTTP: the signed call, and words for whatever comes back."""

import base64
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from tests.support.turn_server import Answer, TurnServer
from tests.support.turns import NOON
from textback.core.engine import ToolResult
from textback.llm.settings import ToolSettings
from textback.llm.tools import MAX_BODY, HttpTool

SECRET = "whsec_" + base64.b64encode(b"SENTINEL-of-the-tool-0123456789").decode()
TOKEN = "SENTINEL-token-77c1"
CONTEXT = {"conversation_id": "conv_01", "agent_id": "mia"}
PARAMETERS = {
    "type": "object",
    "properties": {"day": {"type": "string", "pattern": "^(a+)+$"}, "seats": {"type": "integer"}},
    "required": ["day"],
}


def settings(url: str, **more: object) -> ToolSettings:
    given = {
        "name": "free_slots",
        "description": "Free slots of a day.",
        "parameters": PARAMETERS,
        "url": url,
        "secret": SECRET,
        "headers": {"Authorization": f"Bearer {TOKEN}"},
        "timeout_seconds": 5,
    }
    return ToolSettings.model_validate(given | more)


@pytest.fixture
async def tool(endpoint: TurnServer) -> AsyncGenerator[HttpTool]:
    tool = HttpTool(settings(endpoint.url), clock=lambda: NOON)
    yield tool
    await tool.close()


async def call(tool: HttpTool, **arguments: object) -> ToolResult:
    return await tool.call(arguments or {"day": "a"}, call_id="turn_01.1", context=CONTEXT)


async def test_a_call_is_posted_and_its_answer_is_the_result(
    tool: HttpTool, endpoint: TurnServer
) -> None:
    endpoint.answers(Answer(body=b'{"slots": ["4pm"]}\n'))
    assert await call(tool, day="a", seats=2) == ToolResult('{"slots": ["4pm"]}')
    (received,) = endpoint.received
    assert json.loads(received.body) == {
        "call_id": "turn_01.1",
        "conversation_id": "conv_01",
        "agent_id": "mia",
        "name": "free_slots",
        "arguments": {"day": "a", "seats": 2},
    }
    assert received.headers["content-type"] == "application/json"
    assert received.headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_call_is_signed_as_the_standard_says(endpoint: TurnServer) -> None:
    now = datetime.now(UTC)  # noqa: TID251 - the reference goes by the real clock
    tool = HttpTool(settings(endpoint.url), clock=lambda: now)
    await call(tool)
    (received,) = endpoint.received
    Webhook(SECRET).verify(received.body, received.headers)
    assert received.headers["webhook-id"] == "turn_01.1"
    await tool.close()


async def test_a_tool_without_a_secret_is_called_unsigned(endpoint: TurnServer) -> None:
    tool = HttpTool(settings(endpoint.url, secret=None), clock=lambda: NOON)
    await call(tool)
    assert "webhook-signature" not in endpoint.received[0].headers
    assert endpoint.received[0].headers["webhook-id"] == "turn_01.1"
    await tool.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"seats": 2}, "'day' is a required property"),
        ({"day": "a", "seats": "two"}, "seats: 'two' is not of type 'integer'"),
        ({"day": "a" * 40 + "b"}, "day: does not match"),  # for ever, without a time limit
    ],
)
async def test_arguments_that_do_not_fit_are_not_sent(
    tool: HttpTool, endpoint: TurnServer, arguments: dict[str, object], why: str
) -> None:
    result = await call(tool, **arguments)
    assert result.failed
    assert why in result.text
    assert not endpoint.received


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(status=500, body=b"stack trace"), "It answered with an error (HTTP 500)."),
        (Answer(status=409, body=b"4pm is taken"), "an error (HTTP 409): 4pm is taken"),
        (Answer(status=404, body=b""), "It answered with an error (HTTP 404)."),
        (Answer(status=302, headers={"location": "http://127.0.0.1:9/"}), "(HTTP 302)."),
        (Answer(body=b"x" * 8000, repeats=9), f"Its answer is over {MAX_BODY} bytes."),
    ],
    ids=["500", "409", "404", "302", "long"],
)
async def test_a_failure_is_told_in_words(
    tool: HttpTool, endpoint: TurnServer, answer: Answer, text: str
) -> None:
    endpoint.answers(answer)
    result = await call(tool)
    assert result.failed
    assert text in result.text
    assert "stack" not in result.text


async def test_what_hangs_or_drips_ends_in_time(tool: HttpTool, endpoint: TurnServer) -> None:
    unknown = "No answer within 0.1 s. Whether it was done is not known."
    for answer in (Answer(delay=9), Answer(body=b" ", repeats=99, drip=0.05)):
        endpoint.answers(answer)
        result = await tool.call({"day": "a"}, call_id="c", context=CONTEXT, seconds=0.1)
        assert result == ToolResult(unknown, failed=True)


async def test_nobody_listens() -> None:
    tool = HttpTool(settings("http://127.0.0.1:9/"), clock=lambda: NOON)
    assert await call(tool) == ToolResult(
        "It could not be reached, so nothing was done.", failed=True
    )
    await tool.close()


async def test_an_answer_without_words_is_a_result(tool: HttpTool, endpoint: TurnServer) -> None:
    endpoint.answers(Answer(status=204, body=b""))
    assert await call(tool) == ToolResult("Done; it answered without words.")


async def test_odd_bytes_become_text(tool: HttpTool, endpoint: TurnServer) -> None:
    endpoint.answers(Answer(body=b"ok \x00 \xff"))
    assert (await call(tool)).text == "ok \ufffd \ufffd"


@pytest.mark.parametrize("status", [200, 401])
async def test_secrets_that_are_echoed_are_hidden(
    tool: HttpTool, endpoint: TurnServer, status: int
) -> None:
    endpoint.answer = lambda received: Answer(
        status=status, body=f"{received.headers} {SECRET} {SECRET[6:]}".encode()
    )
    result = await call(tool)
    assert "[hidden]" in result.text
    assert TOKEN not in result.text
    assert SECRET[6:] not in result.text


async def test_a_tool_does_not_show_its_secrets(tool: HttpTool) -> None:
    for shown in (repr(tool), repr(tool.settings), str(tool.settings), repr(vars(tool.settings))):
        assert "SENTINEL" not in shown
        assert SECRET[6:] not in shown
