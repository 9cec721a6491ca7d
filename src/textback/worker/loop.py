"""One loop of a worker: claim what is due, handle it, wait for more; drain when told to stop."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
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

GATHER = timedelta(milliseconds=60)
"""A claim costs about the same for one item as for ten."""
_LEAST_GATHERED = 1 / 3
"""Of the time to gather, when hardly anything more can be handled at once."""

UNAVAILABLE_WAIT = 1.0
TELL_AGAIN = 60
"""Of claims in a row for which the database was away, one in so many is told."""
FAILED_MOST = 30.0
"""Seconds between claims that fail by a bug, and between what is logged of it."""


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
        gather: timedelta = timedelta(0),
    ) -> None:
        """`gather`: while items are handled, claims begin so far apart, to bring more at a time.

        Whoever comes when nothing is under way does not wait for it, and the less can be handled
        besides, the shorter it is: what could be under way meanwhile is lost.
        """
        self.name, self._claim, self._handle = name, claim, handle
        self._concurrency, self.poll, self._now = concurrency, poll, now
        self._net: Callable[[], timedelta] = lambda: poll
        self._gather, self._claimed_at = gather.total_seconds(), 0.0
        self._awake = asyncio.Event()
        self._stopped = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[tuple[Sequence[Item], datetime | None]] | None = None
        self._away = self._failed = 0

    def rely_on(self, net: Callable[[], timedelta]) -> None:
        """Somebody wakes it when something is due: then it sleeps that long, if that is longer."""
        self._net = net

    def wake(self) -> None:
        """Something may be due."""
        self._awake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns once what was claimed is handled."""
        self._stopped.set()
        self._awake.set()

    def cancel(self) -> None:
        """The time to drain is over: what is unfinished is given back, or left to be rescued."""
        self.stop()
        if self._claiming is not None:
            self._claiming.cancel()
        for task in self._running:
            task.cancel()

    async def run(self) -> None:
        while not self._stopped.is_set():
            self._awake.clear()
            wait = await self._step()
            # After trouble no hint shortens the wait, or a busy queue would make it spin.
            until = self._stopped if self._away or self._failed else self._awake
            if wait > 0 and not self._stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await until.wait()
            await self._let_gather()
        while self._running:
            await asyncio.wait(self._running)

    async def _let_gather(self) -> None:
        if not self._gather or not self._running or self._stopped.is_set():
            return
        free = max(1 - len(self._running) / self._concurrency, _LEAST_GATHERED)
        left = self._claimed_at + self._gather * free - asyncio.get_running_loop().time()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._stopped.wait()

    async def _step(self) -> float:
        """Claim once; gives the seconds until it is worth claiming again."""
        room = self._concurrency - len(self._running)
        poll = self.poll.total_seconds()
        if room <= 0:
            return poll  # a finished item wakes us
        self._claimed_at = asyncio.get_running_loop().time()
        self._claiming = asyncio.ensure_future(self._claim(room))
        try:
            await asyncio.wait([self._claiming])
            if self._claiming.cancelled():
                return 0.0
            items, upcoming = self._claiming.result()
        except Exception as error:  # noqa: BLE001 - a loop that died would stop all behind it
            return self._trouble(error)
        finally:
            self._claiming.cancel()  # if it was we who were
            self._claiming = None
        if self._away:
            log.info("loop.going_on", loop=self.name)
        self._away = self._failed = 0
        for item in items:
            task = asyncio.create_task(self._guarded(item))
            self._running.add(task)
            task.add_done_callback(self._done)
        if items and len(items) >= room:
            return 0.0
        rest = max(self.poll, self._net()).total_seconds()
        if upcoming is None:
            return rest
        return min(rest, max(0.001, (upcoming - self._now()).total_seconds()))

    def _trouble(self, error: Exception) -> float:
        poll = self.poll.total_seconds()
        if isinstance(error, Unavailable):
            if self._away % TELL_AGAIN == 0:
                log.warning("loop.waiting", loop=self.name, why="the database cannot be reached")
            self._away += 1
            return min(poll, UNAVAILABLE_WAIT)
        self._failed += 1
        log.error("loop.failed", loop=self.name, times=self._failed, exc_info=error)
        return min(FAILED_MOST, poll * 2 ** min(self._failed, 10))

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


@asynccontextmanager
async def given_back(give: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """If we are stopped within, another worker goes on at once, without waiting for the lease."""
    try:
        yield
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await give()
        raise
