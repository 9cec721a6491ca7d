"""Http engines that ask a `TurnServer`, patient and quick to try again."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pydantic import SecretStr

from tests.support.turn_server import Answer, TurnServer
from tests.support.turns import turn
from textback.core.engine import Later, TurnFailed, TurnReply
from textback.engines.http import HttpConfig, HttpEngine

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HI = TurnReply(texts=("Hi.",))
SHORT = (0, 0.01, 0.02, 0.04, 0.08)
"""Pauses in which nothing is waited for."""


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


@asynccontextmanager
async def engine_for(
    url: str, *, seconds: float = 5, secret: str | None = None
) -> AsyncGenerator[HttpEngine]:
    sealed = None if secret is None else SecretStr(secret)
    config = HttpConfig(url=url, timeout_seconds=seconds, secret=sealed)
    engine = HttpEngine(config, clock=now, pauses=SHORT)
    yield engine
    await engine.close()


async def asked_of(server: TurnServer, seconds: float = 5) -> TurnReply | Later | TurnFailed:
    async with engine_for(server.url, seconds=seconds) as engine:
        return await engine.reply(turn("hi"))


async def all_asked_of(
    server: TurnServer, answers: list[Answer]
) -> list[TurnReply | Later | TurnFailed]:
    """What becomes of each answer, all given at the same time and again at each attempt."""
    server.answer = lambda received: answers[int(received.heard)]
    async with engine_for(server.url) as engine, asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.reply(turn(str(n)))) for n in range(len(answers))]
    return [task.result() for task in tasks]
