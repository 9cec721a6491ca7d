"""How requests are read: as httptools does it, and all of them as HTTP/1.1."""

from collections.abc import Iterable
from typing import Final

from httptools import HttpParserUpgrade, HttpRequestParser

CONNECT: Final = b"CONNECT"


class Parser(HttpRequestParser):
    """Reads a request that asks for another protocol (RFC 9110, 7.8) as if it did not ask.

    httptools leaves what follows such a head to that protocol. We speak none, and the body would be
    lost, or be taken for the next request: for one that no proxy before us has seen.
    """

    def __init__(self, protocol: object) -> None:
        super().__init__(protocol)
        # As uvicorn has it: a request is answered though more comes after the last one.
        self.set_dangerous_leniencies(lenient_data_after_close=True)
        self.again = b""
        """The head of a request that is read again, from where its callbacks see that it must."""

    def feed_data(self, data: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        while True:
            try:
                super().feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self.again:
                    data, self.again = self.again + data[upgrade.args[0] :], b""
                    continue
                # After CONNECT: nothing that comes is a request of ours.
            return

    def read_again(self, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """`headers`: with names in lower case."""
        first = b"%s %s HTTP/%s" % (self.get_method(), url, self.get_http_version().encode())
        lines = [b"%s: %s" % each for each in headers if each[0] != b"upgrade"]
        self.again = b"\r\n".join([first, *lines, b"", b""])
