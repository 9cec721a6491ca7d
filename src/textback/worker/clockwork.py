"""What time alone brings: deadlines, claims of dead workers, housekeeping."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from textback import metrics
from textback.flows import deliver, expire, lapse, send, tidy, turn
from textback.runtime import Runtime
from textback.worker.loop import Claim, Loop
from textback.worker.sweeping import Patience

log = structlog.stdlib.get_logger()

BATCH = 100
SELDOM = 5
"""Polls of the others for each look for dead workers: leases take longer, and it asks the most."""
MANY = 500
"""Texts whose validity ends while a carrier is away end together."""


class Clockwork:
    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self._patience = Patience(rt)
        self._expire = self._loop("expire", self._expire_due)
        self._rescue = self._loop("rescue", self._rescue_due, poll=rt.poll * SELDOM)
        self.loops = (
            self._expire,
            self._rescue,
            self._loop("tidy", self._tidy_up, poll=rt.sweep),
        )

    def _loop(
        self,
        name: str,
        act: Claim[None],
        *,
        poll: timedelta | None = None,
    ) -> Loop[None]:
        return Loop(name, act, _nothing, concurrency=1, poll=poll or self.rt.poll, now=self.rt.now)

    async def _expire_due(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        now = self.rt.now()
        done, upcoming = await expire.expire_due(
            self.rt.db, limit=BATCH, now=now, hold=self._patience.hold(now)
        )
        self._patience.looked(now)
        metrics.DEADLINES.inc(done)
        if done:
            log.info("deadlines.handled", conversations=done)
            self._expire.wake()
        return (), upcoming

    async def _rescue_due(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        rt, now = self.rt, self.rt.now()
        texts = await send.rescue(rt.db, policy=rt.policy, limit=BATCH, now=now)
        turns = await turn.rescue(rt.db, limit=BATCH, now=now)
        told = await deliver.rescue(rt.db, limit=BATCH, now=now)
        for queue, found in (("messages", texts), ("turns", turns), ("webhooks", told)):
            if found:
                metrics.RESCUED.labels(queue).inc(found)
                log.warning("claims.rescued", queue=queue, rows=found)
        expired = await lapse.drop_expired(rt.db, limit=MANY, now=now)
        if expired:
            metrics.EXPIRED.inc(expired)
            log.warning("texts.expired", texts=expired)
        if expired >= MANY:
            self._rescue.wake()
        return (), None

    async def _tidy_up(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        await tidy.tidy(self.rt.db, now=self.rt.now())
        return (), None


async def _nothing(_item: None) -> None:
    """The claim did it all."""
