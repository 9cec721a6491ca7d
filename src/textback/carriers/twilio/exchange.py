"""How the SDK's requests travel: our own HTTP client under Twilio's types.

The SDK's async client ignores its timeout and, with `max_retries`, repeats POSTs on 5xx: one create
became three texts (https://github.com/twilio/twilio-python/issues/925, measured with 9.13.0).
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx
from twilio.http import AsyncHttpClient  # pyright: ignore[reportMissingTypeStubs]
from twilio.http.response import Response  # pyright: ignore[reportMissingTypeStubs]

from textback.carriers.twilio.wire import Wire
from textback.core.ports import NoAnswer

_logger = logging.getLogger(__name__)

NEVER_LEFT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
)
"""Raised by httpx only before the first byte of the request is written: DNS, connect, TLS, waiting
for a free connection, a proxy that will not connect us."""

# A connection that idles longer is not used again: one that Twilio closes at the same moment would
# swallow a request, and nobody could say whether it arrived.
_IDLE_SECONDS: Final = 3.0
_MAX_CONNECTIONS: Final = 100


@cache
def _tls() -> ssl.SSLContext:
    """One for all accounts: reading the certificates takes 20 ms."""
    made = httpx.create_ssl_context()
    made.set_alpn_protocols(["http/1.1"])
    return made


def base_url(raw: str) -> httpx.URL:
    """The API base of an account, maybe with a path prefix. Raises ValueError for anything else."""
    try:
        url = httpx.URL(raw)
    except httpx.InvalidURL as error:
        msg = f"base_url is not a URL: {error}"
        raise ValueError(msg) from error
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query:
        msg = "base_url must be an address such as https://api.twilio.com"
        raise ValueError(msg)
    return url


def wire(base: httpx.URL, timeout: timedelta) -> Wire | None:
    """The cheap way to one account's API; None where a proxy is on the way."""
    proxies = getproxies() if base.scheme == "https" else {}
    if ("https" in proxies or "all" in proxies) and not proxy_bypass(base.host):
        return None
    return Wire(
        base,
        tls=_tls(),
        patience=timeout.total_seconds() / 4,
        idle=_IDLE_SECONDS,
        most=_MAX_CONNECTIONS,
    )


def pool(
    base: httpx.URL, timeout: timedelta, transport: httpx.AsyncBaseTransport | None
) -> httpx.AsyncClient:
    """Connections to one account's API. Follows no redirect and retries nothing."""
    seconds = timeout.total_seconds()
    return httpx.AsyncClient(
        # Getting connected has at most three quarters of the whole (a free slot, TCP, TLS), so that
        # it ends in an error of its own, which proves that nothing was sent.
        timeout=httpx.Timeout(seconds, connect=seconds / 4, pool=seconds / 4),
        limits=httpx.Limits(
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
        ),
        verify=_tls(),
        follow_redirects=False,
        # HTTPS_PROXY is honoured on the way to Twilio; plain http is a gateway or double beside us.
        trust_env=base.scheme == "https",
        transport=transport,
    )


class Fence:
    """Keeps a process that stalled from sending: httpx' `trace` extension, for one request.

    One that stalled while it connected would go on before its timeout strikes. By then others may
    think it dead, and have sent the text. The body is looked at by itself, because it is written by
    itself: without it nothing is sent.
    """

    def __init__(self, steady: Callable[[], float], seconds: float) -> None:
        self._steady = steady
        self._ends = steady() + seconds

    async def __call__(self, event: str, _: object) -> None:
        """Raises ConnectTimeout before anything left, WriteTimeout after the head did."""
        step = event.rpartition(".send_request_")[2]
        if step in {"headers.started", "body.started"} and self._steady() >= self._ends:
            stalled = httpx.ConnectTimeout if step == "headers.started" else httpx.WriteTimeout
            raise stalled("the process stalled")


def unknown(what: str, status: int | None, headers: Mapping[str, str]) -> NoAnswer:
    if status is None:
        return NoAnswer(what)
    request_id = headers.get("twilio-request-id", "none")
    return NoAnswer(f"{what} (HTTP {status}, Twilio-Request-Id {request_id})")


def named(error: Exception) -> str:
    """Never the error's own words: the SDK quotes whole answers there, with texts in them."""
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return "timed out"
    return f"no usable answer: {type(error).__name__}"


class Exchange(AsyncHttpClient):
    """One call of the SDK. Keeps what its exceptions leave out; logs nothing."""

    def __init__(
        self,
        pool: httpx.AsyncClient,
        base: httpx.URL,
        timeout: timedelta,
        steady: Callable[[], float],
    ) -> None:
        super().__init__(_logger, is_async=True, timeout=timeout.total_seconds())
        self._steady = steady
        self._pool = pool
        self._base = base
        self._seconds = timeout.total_seconds()
        self.status: int | None = None
        """HTTP status of the last answer that was read in full."""
        self.headers: Mapping[str, str] = httpx.Headers()

    async def request(  # noqa: PLR0917 - the SDK's signature
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the SDK never sets it
        allow_redirects: bool = False,  # noqa: ARG002, FBT001, FBT002 - the SDK's signature
    ) -> Response:
        """Send once. Raises httpx's errors, and TimeoutError when the whole took too long."""
        self.status = None
        fence = Fence(self._steady, self._seconds)
        async with asyncio.timeout(self._seconds):
            answer = await self._pool.request(
                method.upper(),
                self._here(uri),
                extensions={"trace": fence},
                params=httpx.QueryParams(_plain(params)) if params else None,
                data=data,
                headers=headers,
                auth=auth or httpx.USE_CLIENT_DEFAULT,
            )
        self.status, self.headers = answer.status_code, answer.headers
        return Response(answer.status_code, answer.text, answer.headers)

    def _here(self, uri: str) -> httpx.URL:
        """The SDK builds URLs on https://api.twilio.com, also for next pages.

        Messaging Services are at messaging.twilio.com; a stand-in has all at one address.
        """
        asked = httpx.URL(uri)
        path = self._base.raw_path.rstrip(b"/") + asked.raw_path
        product, host = asked.host.partition(".")[0], self._base.host
        if host.startswith("api.") and host.endswith(".twilio.com"):
            host = product + host.removeprefix("api")
        return self._base.copy_with(host=host, raw_path=path)


def _plain(params: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}
