"""How requests are answered: as uvicorn does it, with less looking at each header."""

import asyncio
from collections.abc import Iterable
from typing import Final

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Cycle(RequestResponseCycle):
    """Writes the head of a whole answer at once, at a third of the cost."""

    async def run_asgi(self, app: ASGI3Application) -> None:
        """As uvicorn's, for which a request that was broken off is an error of the application."""

        async def until_broken_off(
            scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
        ) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:  # `serve.broken_off` tells of it
                if not self.disconnected:
                    raise

        await super().run_asgi(until_broken_off)

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn's, which looks at each header by itself."""
        if (
            message["type"] == "http.response.start"
            and not self.response_started
            and not self.disconnected
            and not self.flow.write_paused
            and (head := self._whole(message["status"], message.get("headers", ()))) is not None
        ):
            self.response_started, self.waiting_for_100_continue = True, False
            self.transport.write(head)
        else:
            await super().send(message)

    def _whole(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """None: there is something in it that uvicorn has to look at."""
        every = [*self.default_headers, *headers]
        framing = [header for header in every if header[0] in _OF_FRAMING]
        if not self.keep_alive or len(framing) != 1 or framing[0][0] != b"content-length":
            return None
        length = int(framing[0][1])
        lines = [name + b": " + value for name, value in every]
        head = STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"
        ends = len(lines) + 2
        if head.count(b"\r") != ends or head.count(b"\n") != ends:
            return None
        if len(head.translate(None, _BROKEN)) != len(head):
            return None
        self.chunked_encoding, self.expected_content_length = False, length
        return head


_OF_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_BROKEN: Final = bytes({*range(0x20), 0x7F} - {*b"\t\n\r"})
