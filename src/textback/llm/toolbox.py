"""All that one agent may call, and the one way to call it: through the turn's journal."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

from textback.core.engine import ToolResult, TurnRequest
from textback.llm.mcp import McpServer
from textback.llm.settings import McpSettings, ToolSettings
from textback.llm.talk import Asked, Tool
from textback.llm.tools import HttpTool
from textback.public_network import ANY_WAY, Way


class Toolbox:
    """HTTP endpoints and MCP servers. Holds connections until `close`."""

    def __init__(
        self,
        tools: Sequence[ToolSettings],
        mcp: Sequence[McpSettings],
        clock: Callable[[], datetime],
        way: Way = ANY_WAY,
    ) -> None:
        self._tools = {
            each.name: HttpTool(each, clock, transport=way.transport(each.url)) for each in tools
        }
        self._servers = [McpServer(each, clock, way) for each in mcp]

    async def tools(self, *, seconds: float) -> list[Tool]:
        """What a model is told of them. Raises NoAnswerError when an MCP server has no list."""
        found = [
            Tool(tool.settings.name, tool.settings.description, tool.settings.parameters)
            for tool in self._tools.values()
        ]
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        for server in self._servers:
            found += await server.tools(seconds=ends - loop.time())
        return list({tool.name: tool for tool in reversed(found)}.values())[::-1]

    async def call(self, asked: Asked, request: TurnRequest, *, seconds: float) -> ToolResult:
        """Make the call, or say why not. Raises TurnLost."""
        arguments = asked.arguments
        if arguments is None:
            return ToolResult("Not done: the arguments are no JSON object.", failed=True)
        http = self._tools.get(asked.name)
        server = next((each for each in self._servers if each.has(asked.name)), None)
        context = {"conversation_id": request.conversation_id, "agent_id": request.agent_id}

        async def do(call_id: str) -> ToolResult:
            if http is not None:
                return await http.call(arguments, call_id=call_id, context=context, seconds=seconds)
            assert server is not None  # noqa: S101 - for the type checker; see below
            return await server.call(asked.name, arguments, call_id=call_id, seconds=seconds)

        if http is None and server is None:
            return ToolResult("Not done: there is no tool of this name.", failed=True)
        return await request.journal.call(asked.name, arguments, do)

    async def close(self) -> None:
        for tool in self._tools.values():
            await tool.close()
