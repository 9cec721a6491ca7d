"""Posts events to URLs that users gave, over connections that lead nowhere but to the internet."""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final

import httpcore
import httpx

from textback import __version__
from textback.core import webhook
from textback.core.webhook import Answered, NotAnswered
from textback.public_network import KEPT_SECONDS, Checked, NotPublic, Resolve, names

CONNECT_SECONDS: Final = 5.0
WHOLE_SECONDS: Final = 15.0
"""Name, connection, request and answer together."""
MOST_READ: Final = 4096
"""Bytes of an answer; the rest is left unread."""

AT_ONCE: Final = 64


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
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            max_connections=AT_ONCE,
            max_keepalive_connections=AT_ONCE,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=Checked(resolve or names, network, private=private),
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
        except NotPublic as refused:
            why = f"nothing was sent: {refused}"
        except (TimeoutError, httpcore.TimeoutException):
            why = "no answer in time"
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            why = _words(error)
        return NotAnswered(why=why, milliseconds=_since(began))

    async def close(self) -> None:
        await self._pool.aclose()

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
