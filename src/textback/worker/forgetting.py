"""What projects do not keep for ever: removed while everything else goes on.

One piece at a time, and a rest after it that is longer than it took: of the database's time
forgetting gets no more than a quarter of one connection's.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic

import structlog

from textback import metrics
from textback.flows import retention
from textback.flows.retention import Past
from textback.runtime import Runtime
from textback.worker.loop import Loop

log = structlog.stdlib.get_logger()

REST = 3
"""Times as long as a piece took."""


class Forgetting:
    def __init__(
        self,
        rt: Runtime,
        *,
        clock: Callable[[], float] = monotonic,
        at_once: int = retention.CONVERSATIONS,
    ) -> None:
        """`clock` in seconds."""
        self.rt, self._clock, self._at_once = rt, clock, at_once
        self._due = deque[Past]()
        self.loops = (
            Loop("forget", self.step, _nothing, concurrency=1, poll=rt.sweep, now=rt.now),
        )

    async def step(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        """One piece; until when to rest if there is another. Raises Unavailable."""
        rt, began = self.rt, self._clock()
        if not self._due:
            self._due += await retention.overdue(rt.db, now=rt.now())
            if not self._due:
                return (), None
        past = self._due.popleft()  # projects take turns
        gone = await retention.forget(rt.db, past, limit=self._at_once, now=rt.now())
        if gone.more:
            self._due.append(past)
        counted = {
            "conversations": gone.conversations,
            "texts": gone.texts,
            "batches": gone.batches,
            "sends": gone.sends,
            "events": gone.events,
        }
        for what, count in counted.items():
            metrics.FORGOTTEN.labels(what).inc(count)
        if any(counted.values()):
            log.info("retention.forgotten", project_id=past.project_id, **counted)
        if not self._due:
            return (), None
        return (), rt.now() + timedelta(seconds=REST * (self._clock() - began))


async def _nothing(_item: None) -> None:
    """The claim did it all."""
