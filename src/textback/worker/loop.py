"""One loop of a worker: claim what is due, handle it, wait for more; drain when told to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

import structlog

from textback.core.errors import Unavailable

log = structlog.stdlib.get_logger()

Item = TypeVar("Item")
Claimed_co = TypeVar("Claimed_co", covariant=True)
T = TypeVar("T")

RETRY_FIRST = 0.1
RETRY_MOST = 5.0


class Claim(Protocol[Claimed_co]):
    async def __call__(self, limit: int, /) -> tuple[Sequence[Claimed_co], datetime | None]:
        """Up to `limit` items; when there are none, when the next one will be due if known."""
        ...


class Loop(Generic[Item]):
    """At most `concurrency` items are handled at once, and no more are claimed than that."""

    def __init__(
        self,
        name: str,
        claim: Claim[Item],
        handle: Callable[[Item], Awaitable[None]],
        *,
        concurrency: int,
        poll: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self.name, self._claim, self._handle = name, claim, handle
        self._concurrency, self._poll, self._now = concurrency, poll, now
        self._awake = asyncio.Event()
        self._stopping = False
        self._running: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Something may be due."""
        self._awake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns once what was claimed is handled."""
        self._stopping = True
        self._awake.set()

    def cancel(self) -> None:
        """The time to drain is over: what is unfinished is left to be rescued."""
        for task in self._running:
            task.cancel()

    async def run(self) -> None:
        while not self._stopping:
            self._awake.clear()
            wait = await self._step()
            if wait > 0 and not self._stopping:
                try:
                    async with asyncio.timeout(wait):
                        await self._awake.wait()
                except TimeoutError:
                    pass
        while self._running:
            await asyncio.wait(self._running)

    async def _step(self) -> float:
        """Claim once; gives the seconds until it is worth claiming again."""
        room = self._concurrency - len(self._running)
        poll = self._poll.total_seconds()
        if room <= 0:
            return poll  # a finished item wakes us
        try:
            items, upcoming = await self._claim(room)
        except Unavailable:
            log.warning("loop.waiting", loop=self.name, why="the database cannot be reached")
            return min(poll, 1.0)
        except Exception:  # a loop that died would stop everything behind it
            log.exception("loop.failed", loop=self.name)
            return poll
        for item in items:
            task = asyncio.create_task(self._guarded(item))
            self._running.add(task)
            task.add_done_callback(self._done)
        if items:
            return 0.0 if len(items) >= room else poll
        if upcoming is None:
            return poll
        return min(poll, max(0.001, (upcoming - self._now()).total_seconds()))

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._awake.set()  # there is room again, and what waited behind it may go

    async def _guarded(self, item: Item) -> None:
        try:
            await self._handle(item)
        except Exception:  # the item's lease runs out, and it is taken up again
            log.exception("item.failed", loop=self.name)


async def persist(save: Callable[[], Awaitable[T]]) -> T:
    """Save what is known until it is saved: a lost database must not lose a carrier's answer."""
    wait = RETRY_FIRST
    while True:
        try:
            return await save()
        except Unavailable:
            await asyncio.sleep(wait)
            wait = min(wait * 2, RETRY_MOST)
