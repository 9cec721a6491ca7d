"""Connections to one host, kept alive, with one request at a time on each: the cheap way to send.

A transport as httpx knows them, so that its errors are those of httpx's own, at a tenth of the cost
(ADR 33). It knows no proxy, follows no redirect and repeats nothing.
"""

import asyncio
import select
import socket
import ssl
from typing import Final, cast

import httpx
from httptools import HttpParserError, HttpResponseParser

HEADERS: Final = "http11.send_request_headers.started"
BODY: Final = "http11.send_request_body.started"
"""What httpx's `trace` extension is told before the first byte leaves, and before the body's."""

_LARGEST: Final = 1 << 20
"""Bytes of an answer; Twilio's have one or two thousand."""

_CONTINUE: Final = 100
_SWITCHED: Final = 101
_FINAL: Final = 200


class Wire(httpx.AsyncBaseTransport):
    """Answers come read in full. Of one event loop."""

    def __init__(
        self, base: httpx.URL, *, tls: ssl.SSLContext, patience: float, idle: float, most: int
    ) -> None:
        """`patience`: seconds for a free connection, and twice that to make one.

        `idle`: seconds after which one is not used again. `most`: connections at a time.
        """
        self._host, self._port = base.host, base.port or (443 if base.scheme == "https" else 80)
        self._tls = tls if base.scheme == "https" else None
        self._patience, self._idle_seconds = patience, idle
        self._places = asyncio.Semaphore(most)
        self._idle: list[_Line] = []
        self._family: int | None = None
        """Of the address that answered last."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask once.

        Raises httpx's ConnectError, ConnectTimeout and PoolTimeout before the first byte leaves,
        and others after. Cancelled, it closes the connection.
        """
        told = request.extensions["trace"]
        await self._place()
        try:
            line = self._kept() or await self._connected()
            try:
                await told(HEADERS, {})
            except BaseException:
                self._keep(line)  # nothing was written
                raise
            try:
                line.write(_head(request))
                await told(BODY, {})
                line.write(request.content)
                answer = await line.answer()
            except BaseException:
                line.abort()
                raise
            self._keep(line)
            return answer
        finally:
            self._places.release()

    async def aclose(self) -> None:
        for line in self._idle:
            line.abort()
        self._idle.clear()

    async def _place(self) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("no connection became free") from None

    def _kept(self) -> "_Line | None":
        """The one used last: those that are not needed grow old, and are closed."""
        now = asyncio.get_running_loop().time()
        found: _Line | None = None
        while self._idle and found is None:
            line = self._idle.pop()
            if now - line.idle_since < self._idle_seconds and line.is_usable():
                found = line
            else:
                line.abort()
        while self._idle and now - self._idle[0].idle_since >= self._idle_seconds:
            self._idle.pop(0).abort()
        return found

    def _keep(self, line: "_Line") -> None:
        if line.may_stay:
            line.idle_since = asyncio.get_running_loop().time()
            self._idle.append(line)
        else:
            line.abort()

    async def _connected(self) -> "_Line":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(2 * self._patience):
                connected = await self._socket(loop)
                try:
                    _, line = await loop.create_connection(
                        _Line,
                        sock=connected,
                        ssl=self._tls,
                        server_hostname=self._host if self._tls else None,
                    )
                except BaseException:
                    connected.close()
                    raise
        except TimeoutError:
            raise httpx.ConnectTimeout("the connection took too long") from None
        except OSError as error:  # also what TLS and the name's look-up raise
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        return line

    async def _socket(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        """Several addresses share the time: a dead one (IPv6, say) must not take all of it.

        The kind that answered last is tried first. Raises OSError.
        """
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        found.sort(key=lambda each: each[0] != self._family)  # stable: else as the resolver says
        last: OSError = OSError("the name has no address")
        for left, (family, kind, proto, _, address) in zip(
            range(len(found), 0, -1), found, strict=True
        ):
            one = socket.socket(family, kind, proto)
            try:
                one.settimeout(0)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.timeout(self._patience / left if left > 1 else None):
                    await loop.sock_connect(one, address)
            except OSError as error:  # also TimeoutError
                one.close()
                last = error
            except BaseException:
                one.close()
                raise
            else:
                self._family = family
                return one
        raise last


def _head(request: httpx.Request) -> bytes:
    first = b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)
    return b"\r\n".join((first, *(b"%b: %b" % each for each in request.headers.raw), b"", b""))


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.may_stay = True
        """Another request may follow."""
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[httpx.Response] | None = None
        self._ended: Exception | None = None
        self._begin()

    # --- what Wire asks of it ---

    def is_usable(self) -> bool:
        """Whether it is open and silent as far as the kernel knows, which may be ahead of us.

        What is written to one that the other side has closed may be lost, and nobody could say.
        """
        transport = self._transport
        if transport is None or not self.may_stay or transport.is_closing():
            return False
        found = cast("socket.socket | None", transport.get_extra_info("socket"))
        if found is None or found.fileno() < 0:
            return False
        asked = select.poll()
        asked.register(found.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not asked.poll(0)

    def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise httpx.WriteError("the connection was closed")
        self._transport.write(data)

    async def answer(self) -> httpx.Response:
        if self._ended is not None:
            raise self._ended
        self._asked = asyncio.get_running_loop().create_future()
        try:
            return await self._asked
        finally:
            self._asked = None

    def abort(self) -> None:
        self.may_stay = False
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop tells it ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._asked is None:
            self._end(httpx.RemoteProtocolError("an answer to no question"))
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._end(httpx.RemoteProtocolError(type(error).__name__))

    def eof_received(self) -> None:
        # Without a length, and not in chunks, an answer ends with the connection.
        if self._headers_end and not {b"content-length", b"transfer-encoding"} & {
            name.lower() for name, _ in self._headers
        }:
            self.may_stay = False
            self._answered()
        self._end(httpx.RemoteProtocolError("the connection ended without an answer"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(httpx.ReadError(type(exc).__name__ if exc else "the connection was closed"))

    def _end(self, why: httpx.TransportError) -> None:
        self.may_stay = False
        self._ended = self._ended or why
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(self._ended)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    # --- what the parser tells it ---

    def _begin(self) -> None:
        self._parser = HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._headers_end = False
        self._body: list[bytes] = []
        self._size = 0

    def on_message_begin(self) -> None:
        if self._asked is None or self._asked.done():  # something follows the answer
            self.may_stay = False
        self._headers.clear()
        self._headers_end = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._headers_end = True

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > _LARGEST:
            self._end(httpx.RemoteProtocolError("the answer is too long"))
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if _CONTINUE <= status < _FINAL and status != _SWITCHED:
            return  # the answer itself is still to come
        self.may_stay = self.may_stay and self._parser.should_keep_alive()
        self._answered()

    def _answered(self) -> None:
        asked = self._asked
        if asked is None or asked.done():
            return
        status = self._parser.get_status_code()
        try:
            found = httpx.Response(status, headers=self._headers, content=b"".join(self._body))
        except httpx.DecodingError as error:
            asked.set_exception(error)
            self.may_stay = False
            return
        asked.set_result(found)
        self._begin()
