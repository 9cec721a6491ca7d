"""A network without a network: names lead where a test says, and connections to its server."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import cast

import httpcore

_ANYIO = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())


class Network(httpcore.AsyncNetworkBackend):
    """Notes where it is to connect to, and connects to the stage."""

    def __init__(self, port: int) -> None:
        self.to: list[str] = []
        self._port = port

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's name
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del port
        self.to.append(host)
        if host.endswith(".99"):
            raise httpcore.ConnectError("nobody there")
        if host.endswith(".98"):
            await asyncio.Event().wait()
        return await _ANYIO.connect_tcp(
            "127.0.0.1", self._port, timeout, local_address, socket_options
        )


class Names:
    """A resolver whose answers change."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        del port
        self.asked.append(host)
        found = self._answers.pop(0)
        if not found:
            raise OSError("no such name")
        return found
