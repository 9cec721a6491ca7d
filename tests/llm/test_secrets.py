"""Keys reach nobody but the server they are for: not logs, reasons, the record, or the user."""

import base64
import logging
from collections.abc import Generator
from dataclasses import replace

import pytest

from tests.llm.conftest import KEY, Api
from tests.support.fake_models import Answer, Calls, Fails, ModelServer, Says, calls, says
from tests.support.fake_models.mcp import ToolServer, serving_tools
from tests.support.turn_server import Answer as ToolAnswer
from tests.support.turn_server import TurnServer
from tests.support.turns import NOON, turn
from textback.core.engine import Notebook, TurnFailed
from textback.engines.llm import LlmConfig, LlmEngine

SIGNING = base64.b64encode(b"SENTINEL-of-the-tool-0123456789").decode()
HEADER = "SENTINEL-of-a-header-31b7"
TOKEN = "SENTINEL-of-mcp-88f0"
SECRETS = (KEY, SIGNING, HEADER, TOKEN)
PROMPT = "You are Mia. The password of the till is SENTINEL-of-the-prompt."


@pytest.fixture(scope="module")
def tool_server() -> Generator[ToolServer]:
    with serving_tools() as server:
        server.token = TOKEN
        server.echo = TOKEN
        yield server


def engine(
    api: Api, models: ModelServer, endpoint: TurnServer, tool_server: ToolServer
) -> LlmEngine:
    given = {
        "model": api.settings(models, retries=1),
        "prompt": PROMPT,
        "tools": [
            {
                "name": "look",
                "description": "Looks.",
                "url": endpoint.url,
                "secret": f"whsec_{SIGNING}",
                "headers": {"X-Key": HEADER},
            }
        ],
        "mcp": [{"name": "crm", "url": tool_server.url, "token": TOKEN}],
    }
    config = LlmConfig.model_validate(given)
    assert not [secret for secret in SECRETS if secret in repr(config)]
    return LlmEngine(config, clock=lambda: NOON, pauses=(0.01,))


@pytest.mark.parametrize(
    "answer",
    [
        Fails(status=401, echo=True),
        Fails(status=400, echo=True),
        Fails(status=500, echo=True),
        Fails(status=200, echo=True),
        Fails(status=200, echo=True, content_type="text/plain"),
        says(""),
        Says(calls=(Calls("look"), Calls("crm_free_slots", {"day": "fri"}), Calls("crm_fails"))),
    ],
    ids=["401", "400", "500", "200", "text", "empty", "tools"],
)
async def test_a_server_that_echoes_everything_gives_nothing_away(  # noqa: PLR0917 - fixtures
    api: Api,
    models: ModelServer,
    endpoint: TurnServer,
    tool_server: ToolServer,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    models.answers(answer, Fails(status=401, echo=True))
    endpoint.answer = lambda received: ToolAnswer(
        body=f"{received.headers} whsec_{SIGNING}".encode()
    )
    made = engine(api, models, endpoint, tool_server)
    journal = Notebook()
    failed = await made.reply(replace(turn("hi"), journal=journal))
    await made.close()
    assert isinstance(failed, TurnFailed)
    printed = capsys.readouterr()
    seen = "\n".join(
        [
            repr(failed),
            repr(journal.calls),
            printed.out,
            printed.err,
            *(record.getMessage() + repr(record.__dict__) for record in caplog.records),
        ]
    )
    assert "SENTINEL" not in seen
    assert SIGNING not in seen
    inside = repr(vars(made)) + repr(made)
    assert not [secret for secret in SECRETS if secret in inside]
    if isinstance(answer, Says) and answer.calls:
        assert [call.name for call in journal.calls] == ["look", "crm_free_slots", "crm_fails"]
        assert "[hidden]" in str(journal.calls[0].result)
        assert "[hidden]" in str(journal.calls[1].result)
    else:
        assert failed.reason


async def test_a_model_is_told_no_secret(
    models: ModelServer, endpoint: TurnServer, tool_server: ToolServer
) -> None:
    models.answers(calls("look"), says("ok"))
    endpoint.answer = lambda received: ToolAnswer(body=str(received.headers).encode())
    made = engine(Api("openai", stream=False), models, endpoint, tool_server)
    await made.reply(turn("hi"))
    await made.close()
    told = "\n".join(str(asked.body) for asked in models.asked)
    assert len(models.asked) == 2
    for secret in SECRETS:
        assert secret not in told


async def test_nothing_of_our_own_environment_is_told_to_a_models_server(
    api: Api, models: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "SENTINEL-organisation")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "SENTINEL-project")
    config = LlmConfig.model_validate({"model": api.settings(models), "prompt": PROMPT})
    made = LlmEngine(config, clock=lambda: NOON)
    models.answers(says("Hello."))
    await made.reply(turn("Hi"))
    await made.close()
    assert models.asked
    assert not [each for each in models.asked if "SENTINEL-organisation" in str(each.headers)]
    assert not [each for each in models.asked if "SENTINEL-project" in str(each.headers)]
