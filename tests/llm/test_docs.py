"""What `docs/agents.md` shows is what works."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.turn_server import TurnServer
from textback.engines.llm import LlmConfig
from textback.llm.settings import McpSettings, MemorySettings, ModelSettings, ToolSettings
from textback.llm.tools import HttpTool

DOC = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
SECRET = "whsec_" + "c2VjcmV0" * 4


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOC, re.DOTALL)
    assert found
    return found[1]


def filled(text: str) -> Any:
    return yaml.safe_load(text.replace("${TOOL_SECRET}", SECRET).replace("${", "{"))


def test_its_agents_are_sound() -> None:
    agents = filled(block("yaml"))["agents"]
    assert [agent["id"] for agent in agents] == ["mia", "mia-claude", "mia-local"]
    for agent in agents:
        LlmConfig.model_validate(agent["engine"])
    mcp = re.search(r"`mcp: (\[.*\])`", DOC)
    assert mcp
    for server in filled(mcp[1]):
        McpSettings.model_validate(server)


def rows(heading: str) -> dict[str, str]:
    """The defaults that a table shows, by field."""
    table = DOC.split(f"| {heading} | default | |\n")[1].split("\n\n")[0]
    found: dict[str, str] = {}
    for line in table.splitlines():
        names, default = line.split("|")[1:3]
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), default.strip())
    return found


@pytest.mark.parametrize(
    ("heading", "model"),
    [("field of `engine`", LlmConfig), ("field of `model`", ModelSettings)],
)
def test_it_names_every_setting_and_its_default(
    heading: str, model: type[LlmConfig] | type[ModelSettings]
) -> None:
    told = rows(heading)
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        assert name in told
        default = field.get_default(call_default_factory=True)
        if isinstance(default, bool | int | float):
            shown = str(default).lower() if isinstance(default, bool) else f"{default:g}"
            assert told[name] == shown
        if isinstance(default, MemorySettings):
            written = yaml.safe_load(told[name].strip("`"))
            assert MemorySettings.model_validate(written) == default


async def test_its_check_of_a_signature_fits_our_calls(endpoint: TurnServer) -> None:
    scope: dict[str, Any] = {}
    exec(block("python"), scope)  # noqa: S102 - our own documentation
    is_ours: Callable[..., bool] = scope["is_ours"]
    now = datetime.fromtimestamp(time.time(), UTC)
    settings = ToolSettings.model_validate(
        {"name": "look", "description": "Looks.", "url": endpoint.url, "secret": SECRET}
    )
    tool = HttpTool(settings, clock=lambda: now)
    await tool.call({}, call_id="turn_01.1", context={})
    await tool.close()
    (received,) = endpoint.received
    assert is_ours(received.headers, received.body, SECRET)
    assert not is_ours(received.headers, received.body + b" ", SECRET)
