"""Checked connections (`public_network.py`) for httpx2, which the libraries of models speak by."""

import ssl
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final

import httpcore
import httpcore2
import httpx2

from textback.public_network import KEPT_SECONDS, NotPublic, Way, refusal

_KINDS: Final[tuple[tuple[type[Exception], type[Exception]], ...]] = (
    (httpcore.ConnectError, httpcore2.ConnectError),
    (httpcore.ConnectTimeout, httpcore2.ConnectTimeout),
    (httpcore.ReadError, httpcore2.ReadError),
    (httpcore.ReadTimeout, httpcore2.ReadTimeout),
    (httpcore.WriteError, httpcore2.WriteError),
    (httpcore.WriteTimeout, httpcore2.WriteTimeout),
)


def transport(way: Way, url: str | None, tls: ssl.SSLContext) -> httpx2.AsyncBaseTransport | None:
    """None: httpx2's own."""
    public = way.checked(url)
    return None if public is None else _Transport(tls, _Backend(public.backend))


@contextmanager
def _in_its_kinds() -> Generator[None]:
    try:
        yield
    except Exception as error:
        for kind, its in _KINDS:
            if isinstance(error, kind):
                raise its(str(error)) from error
        raise


class _NotPublic(NotPublic, httpx2.ConnectError):
    """In the kinds of httpx2."""


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        with _in_its_kinds():
            return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        with _in_its_kinds():
            await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        with _in_its_kinds():
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - its own type
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.AsyncNetworkBackend):
    """Another library's words for the same connections."""

    def __init__(self, checked: httpcore.AsyncNetworkBackend) -> None:
        self._checked = checked

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        with _in_its_kinds():
            return _Stream(
                await self._checked.connect_tcp(host, port, timeout, local_address, socket_options)
            )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        with _in_its_kinds():
            return _Stream(await self._checked.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._checked.sleep(seconds)


class _Transport(httpx2.AsyncHTTPTransport):
    """As that of `public_network.py`."""

    def __init__(self, tls: ssl.SSLContext, backend: httpcore2.AsyncNetworkBackend) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls, keepalive_expiry=KEPT_SECONDS, network_backend=backend
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await super().handle_async_request(request)
        except httpx2.ConnectError as error:
            if (why := refusal(error)) is not None:  # libraries forget what an error came from
                raise _NotPublic(why, request=request) from error
            raise
