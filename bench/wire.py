"""HTTP/1.1 with as little as can be: what generates load must cost less than what serves it."""

import asyncio
import base64
import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import quote_plus

Answered = Callable[[int, bytes], None]
"""Told the status and the head; status 0: the connection broke."""


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time. Reads answers with a Content-Length."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._answered: Answered | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, answered: Answered) -> None:
        if self._transport is None:
            answered(0, b"")
            return
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read = self._read + data if self._read else data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._read[:end].lower()
        at = head.find(b"content-length:")
        length = 0 if at < 0 else int(head[at + 15 :].split(b"\r", 1)[0])
        if len(self._read) < end + 4 + length:
            return
        self._read = b""
        if b"connection: close" in head and self._transport is not None:
            self._transport.close()
        self._tell(int(head[9:12]), head)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._tell(0, b"")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _tell(self, status: int, head: bytes) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status, head)


class Pool:
    """Connections to several addresses, in turn. What finds none free waits its turn."""

    def __init__(self, targets: list[tuple[str, int]], size: int) -> None:
        self._targets, self._size, self._made = targets, size, 0
        self._free = deque[Connection]()
        self._waiting = deque[tuple[bytes, Answered]]()
        self._opening = set[asyncio.Task[None]]()

    async def fill(self) -> None:
        for _ in range(self._size):
            self._free.append(await self._open())

    def send(self, request: bytes, answered: Answered) -> None:
        while self._free:
            connection = self._free.popleft()
            if connection.is_open:
                self._use(connection, request, answered)
                return
            self._made -= 1
        self._waiting.append((request, answered))
        if self._made < self._size:
            self._made += 1
            task = asyncio.get_running_loop().create_task(self._more())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> Connection:
        self._made += 1
        host, port = self._targets[self._made % len(self._targets)]
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, host, port))[1]

    async def _more(self) -> None:
        try:
            connection = await self._open()
        except OSError:
            if self._waiting:
                self._waiting.popleft()[1](0, b"")
            return
        finally:
            self._made -= 1
        self._give(connection)

    def _use(self, connection: Connection, request: bytes, answered: Answered) -> None:
        def done(status: int, head: bytes) -> None:
            self._give(connection)
            answered(status, head)

        connection.send(request, done)

    def _give(self, connection: Connection) -> None:
        if self._waiting and connection.is_open:
            self._use(connection, *self._waiting.popleft())
        else:
            self._free.append(connection)


def post(path: str, host: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def signed(url: str, path: str, form: Mapping[str, str], token: str) -> bytes:
    """A webhook as Twilio posts it: https://www.twilio.com/docs/usage/webhooks/webhooks-security."""
    posted = url + "".join(name + form[name] for name in sorted(form))
    digest = hmac.digest(token.encode(), posted.encode(), hashlib.sha1)
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Twilio-Signature": base64.b64encode(digest).decode(),
    }
    return post(path, "bench", _written(form), headers)


def _written(form: Mapping[str, str]) -> bytes:
    """Most values are letters and digits, which need no quoting."""
    quoted = (
        f"{name}={value if value.isascii() and value.isalnum() else quote_plus(value)}"
        for name, value in form.items()
    )
    return "&".join(quoted).encode()


def inbound(account_sid: str, sid: str, user: str, agent: str, text: str) -> dict[str, str]:
    return {
        "MessageSid": sid,
        "SmsSid": sid,
        "SmsMessageSid": sid,
        "AccountSid": account_sid,
        "From": user,
        "To": agent,
        "Body": text,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }
