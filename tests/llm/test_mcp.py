"""Tools of an MCP server: listed, called, and failing in words."""

from collections.abc import Generator
from datetime import datetime, timedelta

import pytest

from tests.support.fake_models.mcp import ToolServer, serving_tools
from tests.support.turns import NOON
from textback.core.engine import ToolResult
from textback.llm.mcp import McpServer
from textback.llm.settings import McpSettings
from textback.llm.talk import NoAnswerError

TOKEN = "SENTINEL-of-mcp-5e2a"


@pytest.fixture(scope="module")
def running() -> Generator[ToolServer]:
    with serving_tools() as server:
        yield server


@pytest.fixture
def server(running: ToolServer) -> ToolServer:
    running.calls.clear()
    running.down, running.token, running.echo = False, TOKEN, ""
    return running


def connected(server: ToolServer, **more: object) -> McpServer:
    given = {"name": "crm", "url": server.url, "token": TOKEN, "timeout_seconds": 5}
    return McpServer(McpSettings.model_validate(given | more), clock=lambda: NOON)


async def names(mcp: McpServer) -> list[str]:
    return [tool.name for tool in await mcp.tools(seconds=9)]


async def test_its_tools_are_listed_by_names_that_every_model_takes(server: ToolServer) -> None:
    found = await connected(server).tools(seconds=9)
    assert [tool.name for tool in found] == [
        "crm_free_slots",
        "crm_fails",
        "crm_hangs",
        "crm_odd_name_x",
    ]
    assert found[0].description == "Free slots of a day."
    assert found[0].parameters["required"] == ["day"]


async def test_only_what_is_allowed_is_there(server: ToolServer) -> None:
    mcp = connected(server, allow=["odd.name/x", "unheard-of"])
    assert await names(mcp) == ["crm_odd_name_x"]
    assert mcp.has("crm_odd_name_x")
    assert not mcp.has("crm_fails")


async def test_a_call_says_which_it_is(server: ToolServer) -> None:
    mcp = connected(server)
    await mcp.tools(seconds=9)
    result = await mcp.call("crm_free_slots", {"day": "fri"}, call_id="turn_01.1", seconds=9)
    assert result == ToolResult("fri: 4pm")
    assert server.calls == [("free_slots", {"day": "fri"}, "turn_01.1")]
    assert await mcp.call("crm_odd_name_x", {}, call_id="c", seconds=9) == ToolResult("fine")


@pytest.mark.parametrize(("name", "failed"), [("crm_fails", True), ("crm_free_slots", True)])
async def test_a_failure_is_told_in_words(server: ToolServer, name: str, *, failed: bool) -> None:
    mcp = connected(server)
    await mcp.tools(seconds=9)
    result = await mcp.call(name, {}, call_id="c", seconds=9)
    assert result.failed == failed
    assert result.text


async def test_a_tool_that_hangs_ends_in_time(server: ToolServer) -> None:
    mcp = connected(server)
    await mcp.tools(seconds=9)
    result = await mcp.call("crm_hangs", {}, call_id="c", seconds=0.3)
    unknown = "No answer within 0.3 s. Whether it was done is not known."
    assert result == ToolResult(unknown, failed=True)


async def test_a_server_that_is_down_fails_the_call_and_not_the_agent(server: ToolServer) -> None:
    mcp = connected(server)
    before = await names(mcp)
    server.down = True
    result = await mcp.call("crm_fails", {}, call_id="c", seconds=9)
    assert result == ToolResult("It could not be reached, so nothing was done.", failed=True)
    assert await names(mcp) == before


async def test_an_older_list_is_better_than_none(server: ToolServer) -> None:
    now = [NOON]

    def clock() -> datetime:
        return now[0]

    mcp = McpServer(McpSettings(name="crm", url=server.url), clock=clock)
    server.token = None
    before = await names(mcp)
    server.down = True
    now[0] += timedelta(hours=1)
    assert await names(mcp) == before


@pytest.mark.parametrize("token", ["another", None])
async def test_a_server_that_was_never_listed_fails_without_its_token(
    server: ToolServer, token: str | None
) -> None:
    server.down = token is None
    server.token = token
    with pytest.raises(NoAnswerError) as caught:
        await connected(server).tools(seconds=9)
    assert caught.value.reason == "the tools of the MCP server crm could not be listed"


async def test_a_token_that_is_echoed_is_hidden(server: ToolServer) -> None:
    mcp = connected(server)
    await mcp.tools(seconds=9)
    server.echo = f"you are {TOKEN}"
    result = await mcp.call("crm_free_slots", {"day": "fri"}, call_id="c", seconds=9)
    assert result == ToolResult("fri: 4pm you are [hidden]")
    assert "SENTINEL" not in repr(mcp)
