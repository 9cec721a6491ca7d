"""The http engine: posts the turn to the operator's own server and says what it answers.

Exchange version 1, signed as Standard Webhooks 1.0: `webhook-id` is the turn's id over all its
attempts, so that the server can tell a repeated turn from a new one.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

from textback import __version__
from textback.core import signing
from textback.core.engine import Analysis, AnalysisRequest, Said, TurnFailed, TurnReply, TurnRequest
from textback.core.policy import MAX_TEXT

PAUSES: Final = (0, 0.25, 0.5, 1, 2)
"""Seconds before each attempt; there are no more attempts than these."""
MAX_BODY: Final = 1_000_000
"""Bytes of an answer that are read at most."""
MAX_TEXTS: Final = 10

_HTTP_OK: Final = range(200, 300)


def _is_http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        good = False
    if not good:
        raise ValueError("must be an address such as https://example.com/turn")
    return url


def _is_secret(secret: SecretStr) -> SecretStr:
    signing.secret_bytes(secret.get_secret_value())
    return secret


class HttpConfig(BaseModel):
    """`engine: {kind: http, ...}` of an agent.

    `timeout_seconds` is for one attempt, in all; a turn may take twice that. `secret` is
    `whsec_<base64>`; it is sealed apart from the rest, so a stored config has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["http"] = "http"
    url: Annotated[str, AfterValidator(_is_http_url)]
    secret: Annotated[SecretStr, AfterValidator(_is_secret)] | None = None
    timeout_seconds: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 20


def _is_sayable(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    if "\x00" in text:
        raise ValueError("holds a NUL")
    return text


class _Text(BaseModel):
    model_config = ConfigDict(strict=True)

    text: Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_is_sayable)]


class _Answer(BaseModel):
    """What the server may answer. Keys we do not know are for later versions and ignored."""

    model_config = ConfigDict(strict=True)

    messages: Annotated[list[_Text], Field(max_length=MAX_TEXTS)]
    end_conversation: bool = False


class _BadError(Exception):
    """One attempt gave nothing usable; says why, without quoting what was answered."""


class HttpEngine:
    """One server that answers turns. Holds a pool of connections until `close`."""

    can_open: bool = True
    can_analyse: bool = False
    deadline: timedelta

    def __init__(
        self,
        config: HttpConfig,
        *,
        clock: Callable[[], datetime],
        transport: httpx.AsyncBaseTransport | None = None,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """`clock` dates signatures; without a secret turns go unsigned."""
        self._url = config.url
        self._timeout = config.timeout_seconds
        self._secret = None if config.secret is None else config.secret.get_secret_value()
        self._clock = clock
        self.deadline = timedelta(seconds=2 * config.timeout_seconds)
        # Shorter for a short timeout, so that all attempts fit if each fails at once.
        self._pauses = [pause * min(1, config.timeout_seconds / 2.5) for pause in pauses]
        self._client = httpx.AsyncClient(
            headers={
                "user-agent": f"textback/{__version__}",
                "content-type": "application/json",
                "accept": "application/json",
                # Nothing to unpack: a small compressed body cannot become a large one.
                "accept-encoding": "identity",
            },
            timeout=None,  # noqa: S113 - `reply` bounds the whole exchange instead
            follow_redirects=False,  # a signed turn goes where it was addressed, nowhere else
            trust_env=False,  # no proxy
            verify=_tls(),
            transport=transport,
        )

    async def reply(self, request: TurnRequest) -> TurnReply | TurnFailed:
        body = _body(request)
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.deadline.total_seconds()
        least = self._timeout / 10  # less is no chance to answer
        reasons: list[str] = []
        for pause in self._pauses:
            if ends - loop.time() - pause < least:
                break
            await asyncio.sleep(pause)
            allowed = min(self._timeout, max(least, ends - loop.time()))
            try:
                async with asyncio.timeout(allowed):
                    return await self._attempt(request.turn_id, body)
            except TimeoutError:
                reasons.append(f"timed out after {allowed:.3g} s")
            except _BadError as bad:
                reasons.append(str(bad))
        why = ", then ".join(dict.fromkeys(reasons))
        return TurnFailed(f"{why} (attempts: {len(reasons)})")

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        del request
        return TurnFailed("this kind of engine does not analyse")

    async def close(self) -> None:
        await self._client.aclose()

    async def _attempt(self, turn_id: str, body: bytes) -> TurnReply:
        """One exchange. Raises _BadError, or TimeoutError from the caller's clock."""
        try:
            async with self._client.stream(
                "POST", self._url, content=body, headers=self._signed(turn_id, body)
            ) as response:
                if response.status_code not in _HTTP_OK:
                    raise _BadError(_status(response))
                return _parsed(await _read(response))
        except httpx.ConnectError as error:
            raise _BadError(f"could not connect: {error}") from error
        except httpx.HTTPError as error:
            # Not its words: what a server sent in place of HTTP is quoted there.
            raise _BadError(f"the connection broke ({type(error).__name__})") from error

    def _signed(self, turn_id: str, body: bytes) -> dict[str, str]:
        timestamp = int(self._clock().timestamp())
        if self._secret is None:
            return {"webhook-id": turn_id, "webhook-timestamp": str(timestamp)}
        return signing.headers(self._secret, webhook_id=turn_id, timestamp=timestamp, body=body)


@cache
def _tls() -> ssl.SSLContext:
    """Share one for all engines: it takes long to make. SSL_CERT_FILE names other authorities."""
    return httpx.create_ssl_context()


def _body(request: TurnRequest) -> bytes:
    """Exchange version 1; times are RFC 3339 in UTC."""
    turn = {
        "version": 1,
        "conversation_id": request.conversation_id,
        "agent_id": request.agent_id,
        "project_id": request.project_id,
        "channel_type": "sms",
        "messages": [_message(said) for said in request.transcript],
        "metadata": dict(request.metadata),
    }
    return json.dumps(turn, separators=(",", ":")).encode()


def _message(said: Said) -> dict[str, object]:
    at = said.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    message: dict[str, object] = {"role": said.role, "text": said.text, "at": at}
    if said.media:
        message["media"] = [dict(medium) for medium in said.media]
    return message


def _status(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"HTTP {response.status_code} (redirects are not followed)"
    return f"HTTP {response.status_code}"


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise _BadError(f"the answer is over {MAX_BODY} bytes")
    return bytes(body)


def _parsed(body: bytes) -> TurnReply:
    """Refuses what is not exactly an answer: a repaired one could say what nobody meant."""
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise _BadError("the answer is not JSON") from error
        where = ".".join(str(step) for step in first["loc"]) or "the answer"
        raise _BadError(f"{where}: {first['msg']}") from error
    return TurnReply(
        texts=tuple(message.text for message in answer.messages),
        end_conversation=answer.end_conversation,
    )
