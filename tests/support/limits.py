"""What tests of limiters share."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from redis import Redis

from textback.core.gcra import Denied, Granted, Rate

SLOW = Rate(50, 3600)
"""Refills by nothing while a test runs."""
AMPLE = timedelta(seconds=5)
"""For servers that answer, or refuse at once: a busy machine must not look like a dead Redis."""

Ask = Callable[..., Any]
"""Gives Redis one command, word by word, and returns its answer."""


@contextmanager
def asking(url: str) -> Generator[Ask]:
    with Redis.from_url(url) as client:  # pyright: ignore[reportUnknownMemberType]
        yield client.execute_command  # pyright: ignore[reportUnknownMemberType]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def at_once(count: int, do: Callable[[], Awaitable[Granted | Denied]]) -> list[bool]:
    """Which of `count` calls made together were granted."""

    async def one() -> bool:
        return isinstance(await do(), Granted)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(count)]
    return [task.result() for task in tasks]
