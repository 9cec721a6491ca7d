"""Connections to public addresses only, for URLs that somebody else than the operator gave.

A name is resolved here, once for each connection; every address it has must be public; and the
connection goes to an address that was checked, not to the name. TLS still proves the name. So no
redirect, no DNS answer that changes, and no spelling of an address leads into a private network.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Final, TypeAlias, cast

import httpcore
import httpx

from textback.core import reach, webhook
from textback.core.frozen import frozen
from textback.core.ports import CarrierAccount

KEPT_SECONDS: Final = 3.0
"""An idle connection; servers close theirs after five or more, and closing ones lose a request."""
_AT_ONCE: Final = 100

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""A name and a port -> its IP addresses. Raises OSError."""


# Without anyio, which comes with httpx, it would be another class; so its type is not known.
_ANYIO: Final = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())


class NotPublic(Exception):  # noqa: N818 - nothing went wrong
    """It leads where nothing is asked of anybody, so no byte left."""


class _NotPublic(NotPublic, httpcore.ConnectError):
    """In the kinds of httpcore."""


def refusal(error: BaseException) -> str | None:
    """Why nothing was called, if that is what an error comes from, in whatever libraries put it."""
    found: dict[int, BaseException] = {}  # what an error comes from may come from it
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if isinstance(one, NotPublic):
            return str(one)
        if one is not None and id(one) not in found:
            found[id(one)] = one
            left += (one.__cause__, one.__context__)
            if isinstance(one, BaseExceptionGroup):
                left += cast("BaseExceptionGroup[BaseException]", one).exceptions
    return None


async def names(host: str, port: int) -> Sequence[str]:
    """As the system finds them (`event_loop.py`). Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, and to nothing else."""

    def __init__(
        self,
        resolve: Resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        *,
        private: bool = False,
        each_seconds: float = 2.0,
    ) -> None:
        """`private`: to those too. `each_seconds`: for one address, if there are more."""
        self._resolve, self._network, self._private = resolve, network or _ANYIO, private
        self._each = each_seconds

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
        raise _NotPublic("a socket of this machine is not posted to")

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
            raise _NotPublic("the host's name leads to a private address")
        return addresses

    async def _first(
        self,
        addresses: Sequence[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        last: Exception | None = None
        # One that is dead must not take all of the time.
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout(self._each if left > 1 else None):
                    return await self._network.connect_tcp(
                        address, port, None, local_address, socket_options
                    )
            except (httpcore.ConnectError, TimeoutError) as error:
                last = error
        raise last or httpcore.ConnectError("the host has no address")


class PublicNetwork:
    """The internet, and nothing of ours: one for all clients of a process."""

    def __init__(
        self,
        *,
        resolve: Resolve | None = None,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self.backend: Final = Checked(resolve or names, network)

    def transport(self) -> httpx.AsyncBaseTransport:
        """For one client, which closes it. It knows no proxy: one would resolve names by itself."""
        return _Transport(self._tls, self.backend)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


@frozen(kw_only=False)
class Way:
    """How the URLs of one entry are reached."""

    public: PublicNetwork | None = None
    """None: any address will do."""
    anywhere: Collection[str] | None = None
    """Origins that may be at private addresses all the same; None: all may."""

    def checked(self, url: str | None) -> PublicNetwork | None:
        """None: `url` is called like any other, as the operator's. No `url`: a vendor's own."""
        if url is None or self.anywhere is None or reach.origin(url) in self.anywhere:
            return None
        return self.public

    def transport(self, url: str) -> httpx.AsyncBaseTransport | None:
        """None: httpx' own."""
        checked = self.checked(url)
        return None if checked is None else checked.transport()


ANY_WAY: Final = Way()


@frozen(kw_only=False)
class CarrierWay:
    """How carriers are reached."""

    public: PublicNetwork | None = None
    """None: any address will do."""
    own_url: str = ""
    """The operator's, for accounts that callers bring."""

    def transport(self, account: CarrierAccount) -> httpx.AsyncBaseTransport | None:
        """None: the carrier's own."""
        if self.public is None or not account.public_only or account.base_url == self.own_url:
            return None
        return self.public.transport()


ANY_CARRIER_WAY: Final = CarrierWay()


class _Transport(httpx.AsyncHTTPTransport):
    """httpx' own, over our connections: it lets nobody choose how they are made."""

    def __init__(self, tls: ssl.SSLContext, backend: httpcore.AsyncNetworkBackend) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=_AT_ONCE,
            max_keepalive_connections=_AT_ONCE,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=backend,
        )
