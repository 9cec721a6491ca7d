"""Tools over HTTP: a signed POST for each call, and what came back as words for the agent.

Nothing raises: an agent can tell the user that something did not work. Secrets that a server
echoes are hidden before anybody reads the answer.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Final

import httpx

from textback import __version__
from textback.core import signing
from textback.core.engine import ToolResult
from textback.llm.schema import misfit
from textback.llm.settings import ToolSettings
from textback.public_network import refusal

MAX_BODY: Final = 64_000
"""Bytes of a tool's answer that are read at most."""

_HTTP_OK: Final = range(200, 300)
_THEIRS: Final = range(400, 500)
_LONGEST_ERROR: Final = 1000
_SHORTEST_SECRET: Final = 6
"""What is shorter is found in words by chance."""


class HttpTool:
    """One endpoint. Holds a pool of connections until `close`."""

    def __init__(
        self,
        settings: ToolSettings,
        clock: Callable[[], datetime],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`clock` dates signatures."""
        self.settings = settings
        self._clock = clock
        self._secret = settings.secret.get_secret_value() if settings.secret else None
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        self._hidden = _to_hide(headers.values(), self._secret)
        self._client = httpx.AsyncClient(
            headers=headers
            | {
                "user-agent": f"textback/{__version__}",
                "content-type": "application/json",
                # Nothing to unpack: a small compressed body cannot become a large one.
                "accept-encoding": "identity",
            },
            timeout=None,  # noqa: S113 - `call` bounds the whole exchange instead
            follow_redirects=False,  # a signed call goes where it was addressed, nowhere else
            trust_env=False,  # no proxy
            verify=tls(),
            transport=transport,
        )

    async def call(
        self,
        arguments: Mapping[str, object],
        *,
        call_id: str,
        context: Mapping[str, object],
        seconds: float | None = None,
    ) -> ToolResult:
        """Make the call, within the tool's timeout, or `seconds` if that is less.

        `context` has `conversation_id` and `agent_id`. `call_id` is the `webhook-id`.
        """
        wrong = misfit(self.settings.parameters, dict(arguments))
        if wrong is not None:
            return ToolResult(
                f"The call was not made. Its arguments do not fit: {wrong}", failed=True
            )
        body = json.dumps(
            {
                "call_id": call_id,
                "conversation_id": context.get("conversation_id"),
                "agent_id": context.get("agent_id"),
                "name": self.settings.name,
                "arguments": dict(arguments),
            },
            separators=(",", ":"),
        ).encode()
        return await self.send(body, call_id=call_id, seconds=seconds)

    async def send(
        self,
        body: bytes,
        *,
        call_id: str,
        seconds: float | None = None,
        method: str = "POST",
        url: str | None = None,
    ) -> ToolResult:
        """Make a request in words other than ours. `url`: in place of its own."""
        allowed = self.settings.timeout_seconds
        if seconds is not None:
            allowed = min(allowed, seconds)
        try:
            async with asyncio.timeout(allowed):
                return await self._exchange(call_id, method, url or self.settings.url, body)
        except TimeoutError:
            return ToolResult(
                f"No answer within {allowed:.3g} s. Whether it was done is not known.", failed=True
            )
        except httpx.ConnectError as error:
            if (why := refusal(error)) is not None:
                return ToolResult(f"It was not called: {why}.", failed=True)
            return ToolResult("It could not be reached, so nothing was done.", failed=True)
        except httpx.HTTPError:
            return ToolResult(
                "The connection broke. Whether it was done is not known.", failed=True
            )

    async def close(self) -> None:
        await self._client.aclose()

    async def _exchange(self, call_id: str, method: str, url: str, body: bytes) -> ToolResult:
        async with self._client.stream(
            method, url, content=body, headers=self._signed(call_id, body)
        ) as response:
            answer = await _read(response)
            if response.status_code in _HTTP_OK:
                if answer is None:
                    return ToolResult(f"Its answer is over {MAX_BODY} bytes.", failed=True)
                return ToolResult(self._readable(answer) or "Done; it answered without words.")
            said = f"It answered with an error (HTTP {response.status_code})"
            # What a server says about our mistakes helps the agent; about its own, nobody.
            if response.status_code in _THEIRS and answer:
                return ToolResult(f"{said}: {self._readable(answer)[:_LONGEST_ERROR]}", failed=True)
            return ToolResult(f"{said}.", failed=True)

    def _readable(self, answer: bytes) -> str:
        text = answer.decode(errors="replace").replace("\x00", "\ufffd").strip()
        for secret in self._hidden:
            text = text.replace(secret, "[hidden]")
        return text

    def _signed(self, call_id: str, body: bytes) -> dict[str, str]:
        timestamp = int(self._clock().timestamp())
        if self._secret is None:
            return {"webhook-id": call_id, "webhook-timestamp": str(timestamp)}
        return signing.headers(self._secret, webhook_id=call_id, timestamp=timestamp, body=body)


def _to_hide(values: Iterable[str], secret: str | None) -> tuple[str, ...]:
    """Secrets, and what follows a scheme in them ("Bearer x"), longest first."""
    whole = [*values, secret or "", (secret or "").removeprefix(signing.PREFIX)]
    found = {part for value in whole for part in (value, *value.split())}
    return tuple(sorted((s for s in found if len(s) > _SHORTEST_SECRET), key=len, reverse=True))


@cache
def tls() -> ssl.SSLContext:
    """Share one for all that we ask: it takes long to make. SSL_CERT_FILE names authorities."""
    return httpx.create_ssl_context()


async def _read(response: httpx.Response) -> bytes | None:
    """The body; None: it is over MAX_BODY."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)
