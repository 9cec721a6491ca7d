"""Posts events to URLs that users gave, which must lead nowhere but to the internet.

A name is resolved here, once for each connection; every address it has must be public; and the
connection goes to an address that was checked, not to the name. TLS still proves the name. So no
redirect, no DNS answer that changes, and no spelling of an address leads into a private network.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final, TypeAlias, cast

import httpcore
import httpx

from textback import __version__
from textback.core import webhook
from textback.core.webhook import Answered, NotAnswered

CONNECT_SECONDS: Final = 5.0
WHOLE_SECONDS: Final = 15.0
"""Name, connection, request and answer together."""
MOST_READ: Final = 4096
"""Bytes of an answer; the rest is left unread."""

AT_ONCE: Final = 64
_LOOK_UPS: Final = 32
_KEPT_SECONDS: Final = 3.0
"""An idle connection; servers close theirs after five or more, and closing ones lose a request."""

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""A name and a port -> its IP addresses. Raises OSError."""


# Without anyio, which comes with httpx, it would be another class; so its type is not known.
_ANYIO: Final = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())


class Refused(Exception):  # noqa: N818 - nothing went wrong
    """The URL leads where nothing is posted."""


class HttpSender:
    """A `core.webhook.WebhookSender`. `private`: private addresses and plain http are allowed."""

    def __init__(
        self,
        *,
        private: bool = False,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
        whole_seconds: float = WHOLE_SECONDS,
    ) -> None:
        self._private, self._whole = private, whole_seconds
        self._names = _Names()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=AT_ONCE,
            max_keepalive_connections=AT_ONCE,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=_Checked(resolve or self._names, network or _ANYIO, private=private),
        )

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answered | NotAnswered:
        began = monotonic()
        fault = webhook.url_fault(url, private=self._private)
        if fault is not None:
            return NotAnswered(why=f"nothing was sent: the URL {fault}")
        try:
            async with asyncio.timeout(self._whole):
                return await self._post(url, headers, body, began)
        except Refused as refused:
            why = f"nothing was sent: {refused}"
        except (TimeoutError, httpcore.TimeoutException):
            why = "no answer in time"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            why = _words(error)
        return NotAnswered(why=why, milliseconds=_since(began))

    async def close(self) -> None:
        await self._pool.aclose()
        self._names.close()

    async def _post(
        self, url: str, headers: Mapping[str, str], body: bytes, began: float
    ) -> Answered:
        sent = {
            "Host": httpx.URL(url).netloc.decode("ascii"),  # httpcore adds none
            "User-Agent": f"textback/{__version__}",
            "Accept": "*/*",
            "Content-Length": str(len(body)),
            **headers,
        }
        # No redirects are followed, no proxies and no netrc are read: httpcore does neither.
        async with self._pool.stream(
            "POST",
            url,
            headers=list(sent.items()),
            content=body,
            extensions={"timeout": {"connect": CONNECT_SECONDS, "pool": self._whole}},
        ) as answer:
            read = bytearray()
            async for chunk in answer.aiter_stream():
                read += chunk
                if len(read) >= MOST_READ:
                    break
        told = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
        return Answered(
            status=answer.status,
            body=bytes(read[:MOST_READ]).decode("utf-8", "replace").replace("\0", "\ufffd"),
            milliseconds=_since(began),
            retry_after=_retry_after(told.get(b"retry-after"), told.get(b"date")),
        )


class _Names:
    """The system's resolver, in threads of its own: one that hangs is nobody else's trouble."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="webhook-names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(each[4][0]) for each in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(
        self, resolve: Resolve, network: httpcore.AsyncNetworkBackend, *, private: bool
    ) -> None:
        self._resolve, self._network, self._private = resolve, network, private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The first of its addresses that takes the connection, in the resolver's order."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._addresses(host, port)
                return await self._first(addresses, port, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("no connection in time") from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del path, timeout, socket_options
        raise Refused("a socket of this machine is not posted to")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            try:
                addresses = await self._resolve(host, port)
            except (OSError, UnicodeError) as error:
                raise httpcore.ConnectError("the host's name is not known") from error
        if not addresses:
            raise httpcore.ConnectError("the host's name is not known")
        # One private address among public ones is enough: whoever named it knows why.
        if not self._private and not all(webhook.is_public(each) for each in addresses):
            raise Refused("the host's name leads to a private address")
        return addresses

    async def _first(
        self,
        addresses: Sequence[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        last: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    address, port, None, local_address, socket_options
                )
            except httpcore.ConnectError as error:
                last = error
        raise last or httpcore.ConnectError("the host has no address")


def _retry_after(value: str | None, date: str | None) -> timedelta | None:
    """RFC 9110, 10.2.3: seconds, or a date, which is read by the server's own clock."""
    value = (value or "").strip()
    if value.isascii() and value.isdecimal() and len(value) <= 9:  # noqa: PLR2004
        return timedelta(seconds=int(value))
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(date or "")
    except (ValueError, TypeError, OverflowError):  # no date, one without a zone, or of no year
        return None
    return max(wait, timedelta(0))


def _words(error: Exception) -> str:
    said = " ".join(str(error).split())[:200]
    return said or type(error).__name__


def _since(began: float) -> int:
    return round((monotonic() - began) * 1000)
