"""The worker: a loop for each queue, and one that looks at all of them."""

import asyncio
from typing import Any

import structlog

from textback.core.errors import Unavailable
from textback.db.listen import listen
from textback.runtime import Runtime
from textback.worker.analyses import Analyses
from textback.worker.clockwork import Clockwork
from textback.worker.deliveries import Deliveries
from textback.worker.forgetting import Forgetting
from textback.worker.lookout import Lookout
from textback.worker.loop import Loop, persist
from textback.worker.plans import Plans
from textback.worker.sweeping import Sweeps
from textback.worker.texts import Texts
from textback.worker.turns import Turns

log = structlog.stdlib.get_logger()


GIVE_BACK = 2.0
"""Seconds, after the time to drain, to give back what was cut off."""

LAST_WORDS = 1.0
"""Seconds for connections to be closed, once all is cut off."""

LISTEN_AGAIN = 30.0


class Worker:
    def __init__(self, rt: Runtime, *, concurrency: int) -> None:
        self.rt = rt
        self._texts = Texts(rt, concurrency=concurrency)
        self._turns = Turns(rt, concurrency=concurrency)
        self._analyses = Analyses(rt)
        self._plans = Plans(rt)
        self._sweeps = Sweeps(rt)
        self._clockwork = Clockwork(rt)
        self._deliveries = Deliveries(rt)
        loops: tuple[Loop[Any], ...] = (
            *self._texts.loops,
            *self._turns.loops,
            *self._analyses.loops,
            *self._plans.loops,
            *self._sweeps.loops,
            *self._clockwork.loops,
            *Forgetting(rt).loops,
            *self._deliveries.loops,
        )
        self._loops = (*loops, *Lookout(rt, loops).loops)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then finish what was claimed, within the time to drain.

        Whatever hangs by then is cut off, and has `GIVE_BACK` and `LAST_WORDS` to end.
        """
        rt = self.rt
        stopping = asyncio.create_task(stop.wait())
        warming = asyncio.create_task(self._warm_up())
        await asyncio.wait([stopping, warming], return_when=asyncio.FIRST_COMPLETED)
        keeping = asyncio.create_task(rt.keep_time())
        hints = asyncio.create_task(self._listen())
        loops = [asyncio.create_task(loop.run()) for loop in self._loops]
        try:
            log.info("worker.started")
            ended, _ = await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
            for task in ended:  # a loop ends only by being stopped: then this process is no good
                task.result()
            log.info("worker.stopping", drain_seconds=rt.drain.total_seconds())
            for loop in self._loops:
                loop.stop()
            _, late = await asyncio.wait(loops, timeout=rt.drain.total_seconds())
            if late:
                log.warning("worker.cut_off", loops=len(late))
                for loop in self._loops:
                    loop.cancel()
                await asyncio.wait(late, timeout=GIVE_BACK)
        finally:
            for loop in self._loops:
                loop.cancel()
            tasks = (stopping, warming, keeping, hints, *loops)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=LAST_WORDS)
        log.info("worker.stopped")

    async def _warm_up(self) -> None:
        await self.rt.warm_up()
        try:  # nothing is claimed by a clock that may be wrong
            await self.rt.set_clock()
        except Unavailable:
            log.warning("worker.waiting", why="the database cannot be reached")
            await persist(self.rt.set_clock)

    async def _listen(self) -> None:
        while True:
            try:
                await listen(self.rt.direct_url, self._hint)
            except Exception:  # only hints come this way: without them, loops poll
                log.exception("listen.failed")
            await asyncio.sleep(LISTEN_AGAIN)

    def _hint(self, queue: str) -> None:
        if queue == "messages":
            self._texts.wake()
        elif queue == "turns":
            self._turns.wake()
        elif queue == "plans":
            self._plans.wake()
        elif queue == "webhooks":
            self._deliveries.wake()
