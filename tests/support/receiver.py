"""A webhook endpoint on loopback that keeps what it is posted."""

import asyncio
from typing import Self

from tests.support.fake_twilio.server import Answer, LoopbackServer, Request
from textback.core.ports import HookRequest


class Receiver:
    """Use as an async context manager. Answers 200 to everything, or `status`."""

    def __init__(self) -> None:
        self.got: list[HookRequest] = []
        self.status = 200
        self._arrival = asyncio.Condition()
        self._server = LoopbackServer(self._take)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    async def arrived(self, count: int) -> list[HookRequest]:
        """Wait for so many in all, at most 5 seconds."""
        async with asyncio.timeout(60), self._arrival:
            await self._arrival.wait_for(lambda: len(self.got) >= count)
        return self.got

    async def _take(self, request: Request) -> Answer:
        query = f"?{request.query}" if request.query else ""
        url = f"{self.url}{request.path}{query}"
        self.got.append(HookRequest(url=url, headers=request.headers, body=request.body))
        async with self._arrival:
            self._arrival.notify_all()
        return Answer(self.status, b"{}")
