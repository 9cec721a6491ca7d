"""An operator's server for the http engine, on loopback: answers as the test says, also badly."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support import in_thread


@dataclass(frozen=True, kw_only=True)
class Received:
    """A turn as it arrived. Header names in lower case; `at` in seconds of a steady clock."""

    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def heard(self) -> str:
        """The last text of the transcript, if any."""
        messages = json.loads(self.body)["messages"]
        return messages[-1]["text"] if messages else ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`body` comes `repeats` times over, after `delay` seconds and with `drip` between."""

    body: bytes = b'{"messages":[]}'
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    delay: float = 0
    drip: float = 0
    repeats: int = 1


def says(*texts: str, end: bool = False) -> Answer:
    answer = {"messages": [{"text": text} for text in texts], "end_conversation": end}
    return Answer(body=json.dumps(answer).encode())


class TurnServer:
    """`answer` is asked for each attempt; `received` keeps what came, oldest first."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self.answer: Callable[[Received], Answer] = lambda _: Answer()

    def answers(self, *answers: Answer) -> None:
        """Give these in turn, and the last for ever."""
        self.received.clear()
        self.answer = lambda _: answers[min(len(self.received), len(answers)) - 1]

    async def handle(self, request: Request) -> Response:
        received = Received(
            headers=dict(request.headers), body=await request.body(), at=time.monotonic()
        )
        self.received.append(received)
        answer = self.answer(received)
        await asyncio.sleep(answer.delay)

        async def body() -> AsyncGenerator[bytes]:
            for _ in range(answer.repeats):
                yield answer.body
                await asyncio.sleep(answer.drip)

        return StreamingResponse(body(), answer.status, answer.headers)


@contextmanager
def serving() -> Generator[TurnServer]:
    """Run a server in a thread until the block ends."""
    turns = TurnServer()
    app = Starlette(routes=[Route("/turn", turns.handle, methods=["POST"])])
    with in_thread.serving(app) as address:
        turns.url = f"{address}/turn"
        yield turns
