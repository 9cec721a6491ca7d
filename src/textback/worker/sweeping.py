"""Lost replies, looked for number by number; and for how long timers wait for that."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from textback import metrics
from textback.core.errors import Unavailable
from textback.core.ids import CarrierId
from textback.core.ports import NoAnswer
from textback.flows import expire, sweep
from textback.flows.sweep import Sweeping
from textback.runtime import Runtime, Unprovisioned
from textback.worker.loop import Loop
from textback.worker.pauses import Pauses

log = structlog.stdlib.get_logger()

NUMBERS = 4
"""At once, in one worker."""

REQUESTS = 3
"""How many carrier timeouts one sweep usually takes at most: the list, its media, what is over."""

PATIENCE = timedelta(hours=1)
"""For how long timers wait for a carrier that cannot be asked."""


class Sweeps:
    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        # One claim for as long as a sweep may take, or several would be under way for one number.
        self._lease = max(rt.sweep, rt.policy.carrier_timeout * REQUESTS)
        self._carriers = Pauses[CarrierId]()
        self._silent: set[CarrierId] = set()
        self.loops = (
            Loop("sweep", self._claim, self._sweep, concurrency=NUMBERS, poll=rt.poll, now=rt.now),
        )

    async def _claim(self, limit: int) -> tuple[Sequence[Sweeping], datetime | None]:
        now = self.rt.now()
        due, upcoming = await sweep.claim(
            self.rt.db,
            lease=self._lease,
            except_carriers=self._carriers.active(now),
            limit=limit,
            now=now,
        )
        ends = [upcoming, self._carriers.next_end()]
        return due, min((end for end in ends if end is not None), default=None)

    async def _sweep(self, held: Sweeping) -> None:
        rt, began = self.rt, self.rt.now()
        try:
            outcome = await sweep.sweep(rt.db, held, rt.carriers, clock=rt.now)
            await sweep.done(rt.db, held, again_at=began + rt.sweep)
        except Unavailable:  # what was not done is due again when the claim has run out
            metrics.SWEEPS.labels("no_database").inc()
            log.warning("sweep.waiting", why="the database cannot be reached")
            return
        except (Unprovisioned, ValueError):
            outcome = NoAnswer("the carrier's entry cannot be used")
        if isinstance(outcome, NoAnswer):
            metrics.SWEEPS.labels("no_answer").inc()
            self._carriers.back_off(held.carrier_id, now=rt.now(), at_least=None)
            self._tell_of(held.carrier_id, outcome)
            return
        metrics.SWEEPS.labels("incomplete" if outcome.failed else "complete").inc()
        self._carriers.well(held.carrier_id)
        if held.carrier_id in self._silent:
            self._silent.discard(held.carrier_id)
            log.warning("sweep.going_on", carrier_id=held.carrier_id, why="its list answers again")

    def _tell_of(self, carrier_id: CarrierId, outcome: NoAnswer) -> None:
        """Once, until it works again."""
        if carrier_id not in self._silent:
            self._silent.add(carrier_id)
            log.warning("sweep.no_answer", carrier_id=carrier_id, why=outcome.reason)


class Patience:
    """Which conversations time may end, seen from one worker.

    A reply may be lost in the time before its number was last swept. Who has been at it without a
    break for an hour, and still has no answer, waits no longer: the carrier cannot be asked.
    """

    def __init__(self, rt: Runtime) -> None:
        self._behind = 3 * rt.sweep + sweep.GRACE
        self._since = self._latest = rt.now()

    def hold(self, now: datetime) -> expire.Hold:
        if now - self._latest > self._behind:  # this worker, or its database, was away
            self._since = now
        steady = now - self._since >= PATIENCE
        return expire.Hold(
            swept_since=now - self._behind, over_if_due_by=now - PATIENCE if steady else None
        )

    def looked(self, now: datetime) -> None:
        """The database answered."""
        self._latest = max(self._latest, now)
