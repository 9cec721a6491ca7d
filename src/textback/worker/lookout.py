"""One look at all queues, so that loops with nothing to do need not look each for themselves.

It wakes a loop when something of its queue is due, also in the middle between two looks. While it
looks, the loops' own polling is only the net under it; when it cannot, they poll as without it.
"""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from textback.flows.upcoming import upcoming
from textback.runtime import Runtime
from textback.worker.loop import Loop

NET: Final = 20
"""Polls between two looks of a loop that nothing wakes; up to `SPREAD` times as many."""
SPREAD: Final = 1.5

LOOPS: Final = {
    "texts": "send",
    "look_ups": "settle",
    "turns": "turn",
    "analyses": "analyse",
    "deadlines": "expire",
    "sweeps": "sweep",
    "webhooks": "deliver",
    "leases": "rescue",
    "plans": "plans",
    "batches": "batches",
}
"""By queue, as `db/horizon.py` names them."""


class Lookout:
    def __init__(self, rt: Runtime, loops: Iterable[Loop[Any]]) -> None:
        """`loops`: of the whole worker; those of a queue rely on it from now on."""
        self.rt = rt
        named = {loop.name: loop for loop in loops}
        self._of = {queue: named[name] for queue, name in LOOPS.items()}
        self._due: dict[str, datetime] = {}
        self._woken: dict[str, tuple[datetime, float]] = {}
        """By queue, for which row it was last woken, and when."""
        self._asked = float("-inf")
        self._sees = False
        for loop in self._of.values():
            loop.rely_on(self._net)
        self.loops = (
            Loop("look out", self._look, _nothing, concurrency=1, poll=rt.poll, now=rt.now),
        )

    def _net(self) -> timedelta:
        """Not the same for all, nor each time: else all would look at the same moment."""
        if not self._sees:
            return timedelta(0)
        return self.rt.poll * NET * random.uniform(1, SPREAD)  # noqa: S311 - no secret

    async def _look(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        """Ask at most once in the time of a poll; in between, go by the last answer."""
        clock, poll = asyncio.get_running_loop(), self.rt.poll.total_seconds()
        if clock.time() - self._asked >= poll:
            self._asked = clock.time()
            self._due = dict(await self._ask())
        now = self.rt.now()
        for queue in [queue for queue, at in self._due.items() if at <= now]:
            self._wake(queue, self._due.pop(queue), clock.time())
        again = now + timedelta(seconds=max(0.0, self._asked + poll - clock.time()))
        return (), min([again, *self._due.values()])

    async def _ask(self) -> Mapping[str, datetime]:
        # Who waits longer than a poll for an answer does not know either.
        late = asyncio.get_running_loop().call_later(self.rt.poll.total_seconds(), self._blind)
        try:
            found = await upcoming(self.rt.db)
        except BaseException:
            self._blind()
            raise
        finally:
            late.cancel()
        self._sees = True
        return found

    def _blind(self) -> None:
        if self._sees:
            self._sees = False
            for loop in self._of.values():
                loop.wake()

    def _wake(self, queue: str, due: datetime, at: float) -> None:
        """What is due and stays so cannot be taken now: that is looked at as often as ever."""
        loop = self._of[queue]
        row, before = self._woken.get(queue, (None, 0.0))
        if row != due or at - before >= loop.poll.total_seconds():
            self._woken[queue] = due, at
            loop.wake()


async def _nothing(_item: None) -> None:
    """The claim did it all."""
