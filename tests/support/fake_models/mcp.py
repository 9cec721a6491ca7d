"""A server of tools on loopback that speaks the Model Context Protocol over streamable HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tests.support import in_thread


class ToolServer:
    """`calls` keeps what was called: name, arguments, the id of the call.

    `down` answers everything with 503. `token`: what must be presented.
    """

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[tuple[str, dict[str, object], object]] = []
        self.down = False
        self.token: str | None = None
        self.echo = ""

    def app(self) -> MCPServer:
        server: MCPServer = MCPServer("fake", log_level="CRITICAL")

        def note(name: str, arguments: dict[str, object], context: Context[Any]) -> None:
            meta: Any = context.request_context.meta
            self.calls.append((name, arguments, dict(meta or {}).get("textback/call_id")))

        async def free_slots(day: str, context: Context[Any]) -> str:
            """Free slots of a day."""
            note("free_slots", {"day": day}, context)
            return f"{day}: 4pm {self.echo}".strip()

        async def fails(context: Context[Any]) -> str:
            """Fails."""
            note("fails", {}, context)
            raise ValueError("the calendar is closed")

        async def odd(context: Context[Any]) -> str:
            """Is oddly named."""
            note("odd.name/x", {}, context)
            return "fine"

        async def hangs(context: Context[Any]) -> str:
            """Never ends."""
            note("hangs", {}, context)
            await asyncio.sleep(60)
            return ""

        for tool in (free_slots, fails, hangs):
            server.add_tool(tool)
        server.add_tool(odd, name="odd.name/x")
        return server


@contextmanager
def serving_tools() -> Generator[ToolServer]:
    """Run a server in a thread until the block ends."""
    tools = ToolServer()
    inner: Callable[[Scope, Receive, Send], Awaitable[None]] = tools.app().streamable_http_app(
        # Tests call it by names of their own.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False)
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        refusal: Response | None = None
        if scope["type"] == "http":
            sent = Request(scope).headers.get("authorization")
            if tools.down:
                refusal = JSONResponse({"error": "down"}, 503)
            elif tools.token is not None and sent != f"Bearer {tools.token}":
                refusal = JSONResponse({"error": f"not {sent}"}, 401)
        await (refusal or inner)(scope, receive, send)

    with in_thread.serving(app, lifespan="on") as address:
        tools.url = f"{address}/mcp"
        yield tools
