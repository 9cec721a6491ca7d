"""One server that answers turns.

Signed as Standard Webhooks 1.0: `webhook-id` is the same over all attempts at one run of a turn, so
that the server can tell a repeated request from a new one.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Final, TypeVar

import httpx

from textback import __version__
from textback.core import signing
from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    Later,
    TurnFailed,
    TurnReply,
    TurnRequest,
)
from textback.core.ports import Forged, Malformed
from textback.engines.http import exchange
from textback.engines.http.exchange import MAX_BODY, BadError
from textback.engines.http.settings import HttpConfig

PAUSES: Final = (0, 0.25, 0.5, 1, 2)
"""Seconds before each attempt; there are no more attempts than these."""

_HTTP_OK: Final = range(200, 300)
_HTTP_ACCEPTED: Final = 202

Got = TypeVar("Got")


class HttpEngine:
    """Holds a pool of connections until `close`."""

    can_open: bool = True
    can_analyse: bool = True
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
        self._later = timedelta(seconds=config.answer_within_seconds)
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
            timeout=None,  # noqa: S113 - `_asked` bounds the whole exchange instead
            follow_redirects=False,  # a signed turn goes where it was addressed, nowhere else
            trust_env=False,  # no proxy
            verify=_tls(),
            transport=transport,
        )

    async def reply(self, request: TurnRequest) -> TurnReply | Later | TurnFailed:
        may_wait = self._secret is not None and request.reply_url is not None
        body = exchange.turn_body(request, later=self._later if may_wait else None)
        run = "" if request.run == 1 else f".{request.run}"

        def read(status: int, answered: bytes) -> TurnReply | Later | TurnFailed:
            if status == _HTTP_ACCEPTED and not exchange.has_messages(answered):
                return self._promised(request, answered)
            return exchange.reply(answered, turn_id=request.turn_id, run=request.run)

        return await self._asked(f"{request.turn_id}{run}", body, read, request.traceparent)

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        def read(status: int, answered: bytes) -> Analysis:
            if status == _HTTP_ACCEPTED:
                raise BadError("HTTP 202 (an analysis is answered at once)")
            return exchange.analysis(answered)

        webhook_id = f"{request.conversation_id}.analysis"
        body = exchange.analysis_body(request)
        return await self._asked(webhook_id, body, read, request.traceparent)

    def posted(
        self, headers: Mapping[str, str], body: bytes, *, turn_id: str, run: int, now: datetime
    ) -> TurnReply | Forged | Malformed:
        """What a server posts to a turn's `reply_url`; names of headers in lower case."""
        if self._secret is None:
            return Forged("The agent of this turn has no secret, so it takes no answers here.")
        why = signing.fault(self._secret, headers, body, now=now)
        if why is not None:
            return Forged(why)
        try:
            return exchange.reply(body, turn_id=turn_id, run=run)
        except BadError as bad:
            return Malformed(f"This is no answer that can be used: {bad}.")

    async def close(self) -> None:
        await self._client.aclose()

    def _promised(self, request: TurnRequest, answered: bytes) -> Later | TurnFailed:
        if self._secret is None:
            return TurnFailed(
                "HTTP 202, but the agent has no secret: nobody could tell who answers later"
            )
        if request.reply_url is None:
            return TurnFailed("HTTP 202, but there is nowhere to post an answer later")
        return exchange.promise(answered, unless_said=self._later)

    async def _asked(
        self,
        webhook_id: str,
        body: bytes,
        read: Callable[[int, bytes], Got],
        traceparent: str | None,
    ) -> Got | TurnFailed:
        """Ask until there is something usable. `read` raises BadError."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.deadline.total_seconds()
        least = self._timeout / 10  # less is no chance to answer
        reasons: list[str] = []
        traced = {} if traceparent is None else {"traceparent": traceparent}
        for pause in self._pauses:
            if ends - loop.time() - pause < least:
                break
            await asyncio.sleep(pause)
            allowed = min(self._timeout, max(least, ends - loop.time()))
            try:
                async with asyncio.timeout(allowed):
                    return read(*await self._attempt(webhook_id, body, traced))
            except TimeoutError:
                reasons.append(f"timed out after {allowed:.3g} s")
            except BadError as bad:
                reasons.append(str(bad))
        why = ", then ".join(dict.fromkeys(reasons))
        return TurnFailed(f"{why} (attempts: {len(reasons)})")

    async def _attempt(
        self, webhook_id: str, body: bytes, traced: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """One exchange. Raises BadError, or TimeoutError from the caller's clock."""
        try:
            headers = {**self._signed(webhook_id, body), **traced}
            async with self._client.stream(
                "POST", self._url, content=body, headers=headers
            ) as response:
                if response.status_code not in _HTTP_OK:
                    raise BadError(_status(response))
                return response.status_code, await _read(response)
        except httpx.ConnectError as error:
            raise BadError(f"could not connect: {error}") from error
        except httpx.HTTPError as error:
            # Not its words: what a server sent in place of HTTP is quoted there.
            raise BadError(f"the connection broke ({type(error).__name__})") from error

    def _signed(self, webhook_id: str, body: bytes) -> dict[str, str]:
        timestamp = int(self._clock().timestamp())
        if self._secret is None:
            return {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp)}
        return signing.headers(self._secret, webhook_id=webhook_id, timestamp=timestamp, body=body)


@cache
def _tls() -> ssl.SSLContext:
    """Share one for all engines: it takes long to make. SSL_CERT_FILE names other authorities."""
    return httpx.create_ssl_context()


def _status(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"HTTP {response.status_code} (redirects are not followed)"
    return f"HTTP {response.status_code}"


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise BadError(f"the answer is over {MAX_BODY} bytes")
    return bytes(body)
