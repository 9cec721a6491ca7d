"""Tools of a server that speaks the Model Context Protocol over streamable HTTP.

A session is opened for each list and each call, and closed after it: nothing runs between turns.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog

from textback.core.engine import ToolResult
from textback.llm.schema import object_schema
from textback.llm.settings import McpSettings
from textback.llm.talk import NoAnswerError, Tool
from textback.llm.tools import MAX_BODY, tls
from textback.public_network import ANY_WAY, Way, refusal

if TYPE_CHECKING:
    from fastmcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as Listed

_FRESH: Final = timedelta(minutes=5)
"""How long a list of tools is believed."""
_MOST_TOOLS: Final = 128
_LONGEST_NAME: Final = 64
_log = structlog.get_logger()


class McpServer:
    def __init__(
        self, settings: McpSettings, clock: Callable[[], datetime], way: Way = ANY_WAY
    ) -> None:
        self.settings, self._way = settings, way
        self._clock = clock
        self._token = settings.token.get_secret_value() if settings.token else None
        self._listed_at: datetime | None = None
        self._tools: dict[str, tuple[str, Tool]] = {}
        """By the name that agents see: the server's name, and the tool."""

    async def tools(self, *, seconds: float) -> Sequence[Tool]:
        """List them. An older list is used when a new one cannot be had; else NoAnswerError."""
        now = self._clock()
        if self._listed_at is None or now - self._listed_at >= _FRESH:
            try:
                async with asyncio.timeout(min(self.settings.timeout_seconds, seconds)):
                    client = await asyncio.to_thread(self._client)
                    async with client:
                        listed = await client.list_tools()
            except Exception as error:
                # Of the library's many kinds none matters, and their words may quote the token.
                why = refusal(error)
                if self._listed_at is None:
                    raise NoAnswerError(
                        f"the tools of the MCP server {self.settings.name} could not be listed"
                        + (f": {why}" if why else "")
                    ) from error
                kind = type(error).__name__
                _log.warning("mcp.not_listed", server=self.settings.name, kind=kind, why=why)
            else:
                self._tools, self._listed_at = self._allowed(listed), now
        return [tool for _, tool in self._tools.values()]

    def has(self, name: str) -> bool:
        return name in self._tools

    async def call(
        self, name: str, arguments: Mapping[str, object], *, call_id: str, seconds: float
    ) -> ToolResult:
        """Make a call by the name that agents see. `call_id` goes along as `_meta`."""
        theirs, _ = self._tools[name]
        allowed = min(self.settings.timeout_seconds, seconds)
        begun = False
        try:
            async with asyncio.timeout(allowed):
                client = await asyncio.to_thread(self._client)
                async with client:
                    begun = True
                    result = await client.call_tool_mcp(
                        theirs, dict(arguments), meta={"textback/call_id": call_id}
                    )
        except TimeoutError:
            text = f"No answer within {allowed:.3g} s. Whether it was done is not known."
            return ToolResult(text, failed=True)
        except Exception as error:  # noqa: BLE001 - whatever it was, the agent can say it did not work
            why, kind = refusal(error), type(error).__name__
            _log.warning("mcp.failed", server=self.settings.name, kind=kind, why=why)
            if why is not None:
                return ToolResult(f"It was not called: {why}.", failed=True)
            if not begun:
                return ToolResult("It could not be reached, so nothing was done.", failed=True)
            return ToolResult("The call failed. Whether it was done is not known.", failed=True)
        return self._result(result)

    def _client(self) -> "Client[Any]":
        return _client(self.settings.url, self._token, self._way)

    def _allowed(self, listed: "Sequence[Listed]") -> dict[str, tuple[str, Tool]]:
        found: dict[str, tuple[str, Tool]] = {}
        for each in listed[:_MOST_TOOLS]:
            if self.settings.allow is not None and each.name not in self.settings.allow:
                continue
            plain = re.sub(r"[^a-zA-Z0-9_-]", "_", each.name)
            name = f"{self.settings.name}_{plain}"[:_LONGEST_NAME]
            try:
                schema = object_schema(dict(each.input_schema))
            except ValueError:
                _log.warning("mcp.tool_left_out", server=self.settings.name, tool=each.name)
                continue
            found.setdefault(name, (each.name, Tool(name, each.description or each.name, schema)))
        return found

    def _result(self, result: "CallToolResult") -> ToolResult:
        parts = [
            block.text if block.type == "text" else f"[{block.type}]" for block in result.content
        ]
        text = "\n".join(part for part in parts if part)
        if not text and result.structured_content is not None:
            text = json.dumps(result.structured_content, ensure_ascii=False)
        if self._token:
            text = text.replace(self._token, "[hidden]")
        text = (
            text.replace("\x00", "\ufffd")
            .encode(errors="replace")[:MAX_BODY]
            .decode(errors="ignore")
        )
        return ToolResult(text or "Done; it answered without words.", failed=result.is_error)


def _client(url: str, token: str | None, way: Way) -> "Client[Any]":
    """Costs a second to import, the first time."""
    import httpx2  # noqa: PLC0415
    from fastmcp import Client  # noqa: PLC0415
    from fastmcp.client.transports import StreamableHttpTransport  # noqa: PLC0415

    from textback.llm import public  # noqa: PLC0415

    verify = tls()

    def http(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
        *,
        follow_redirects: bool = False,  # noqa: ARG001 - the token goes where it was addressed
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers=headers,
            timeout=timeout,
            auth=auth,
            follow_redirects=False,
            trust_env=False,
            verify=verify,
            transport=public.transport(way, url, verify),
        )

    return Client(StreamableHttpTransport(url, auth=token, httpx_client_factory=http))
