"""A busy caller's units are taken before they are asked for: then nobody waits for the limiter."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from textback.core.gcra import Denied, Granted, Rate
from textback.core.ports import Limiter, Unreachable

SPAN: Final = 0.1
"""Seconds: as many units are taken ahead as the last of these spans used."""
LEAST: Final = 4
"""Units. Whoever uses fewer in a span waits a moment for each."""
KEEP: Final = timedelta(milliseconds=250)
"""How long units are kept that were taken ahead; then they are given back."""
LAST: Final = timedelta(seconds=1)
"""For a process that ends to give them back; time refills what it does not."""


class AheadLimiter:
    """`behind`, asked once for many where calls of one unit come fast.

    It grants nothing that `behind` did not grant, at most `KEEP` before: to a bucket that is a
    clock which is late by that much. Units are taken ahead only while half of a bucket is left, so
    where a limit is nearly reached nothing is kept but what was taken just before.
    """

    def __init__(
        self, behind: Limiter, *, clock: Callable[[], float], keep: timedelta = KEEP
    ) -> None:
        """`clock` in seconds, never going back (`time.monotonic`)."""
        self._behind, self._clock, self._keep = behind, clock, keep.total_seconds()
        self._reserves = dict[str, _Reserve]()
        self._under_way = set[asyncio.Task[None]]()  # asyncio itself keeps no task alive

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        if units != 1 or rate.lends:
            return await self._behind.take(key, rate, units)
        now, reserve = self._clock(), self._reserves.get(key)
        if reserve is None:
            reserve = self._reserves[key] = _Reserve(rate, self._keep, span_began=now)
            self._look_later(key)
        elif reserve.rate is not rate and reserve.rate != rate:  # it was changed a moment ago
            return await self._behind.take(key, rate)
        answer = reserve.take(now)
        if ahead := reserve.wanted():
            reserve.is_asking = True
            self._begin(self._ask(key, reserve, ahead))
        if answer is None:
            answer = await self._behind.take(key, rate)
            reserve.hear(answer, self._clock())
        return answer

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        await self._behind.give_back(key, rate, units)

    async def close(self) -> None:
        """Gives back what was not used, if that takes no longer than a moment."""
        reserves, self._reserves = self._reserves, {}
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST.total_seconds()):
                if self._under_way:
                    await asyncio.wait(self._under_way)
                for key, reserve in reserves.items():
                    await self._return(key, reserve)
        await self._behind.close()

    async def _ask(self, key: str, reserve: "_Reserve", units: int) -> None:
        try:
            answer, now = await self._behind.take(key, reserve.rate, units), self._clock()
            reserve.hear(answer, now)
            if isinstance(answer, Granted):
                reserve.add(units, now)
        except Unreachable:  # as whoever has nothing left finds out
            pass
        finally:
            reserve.is_asking = False

    async def _return(self, key: str, reserve: "_Reserve") -> None:
        unused = reserve.unused(self._clock())
        if unused > 0:
            with suppress(Unreachable):
                await self._behind.give_back(key, reserve.rate, unused)

    def _look_later(self, key: str) -> None:
        # One timer goes on for as long as there is a reserve: one for each call would cost more.
        asyncio.get_running_loop().call_later(self._keep, self._look, key)

    def _look(self, key: str) -> None:
        reserve = self._reserves.get(key)
        if reserve is None:  # closed
            return
        if reserve.is_over(self._clock()):
            del self._reserves[key]
            self._begin(self._return(key, reserve))
        else:
            self._look_later(key)

    def _begin(self, doing: Coroutine[None, None, None]) -> None:
        # Not in the context of whoever begins it: its logs and traces are of one request.
        task = asyncio.get_running_loop().create_task(doing, context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


@dataclass(slots=True)
class _Reserve:
    """Units of one bucket that were taken and are not yet used. The oldest are used first."""

    rate: Rate
    keep: float
    """Seconds."""
    span_began: float
    used: int = 0
    """In this span."""
    used_before: float = 0
    """In the one before it."""
    left: int = 0
    lot: int = 0
    """How many of these were taken last."""
    taken_at: float = 0
    older_at: float = 0
    """When the oldest of the others was taken."""
    is_asking: bool = False
    told: Granted | None = None
    """Of the bucket, when it was asked last; None: it refused, or was not asked yet."""
    told_at: float = 0

    def take(self, now: float) -> Granted | None:
        passed = now - self.span_began
        if passed >= SPAN:
            self.used_before, self.used, self.span_began = self.used * SPAN / passed, 0, now
        self.used += 1
        if not self.left or self.told is None or now - self._since() >= self.keep:
            return None
        self.left -= 1
        back = self.left * self.rate.seconds / self.rate.amount + now - self.told_at
        # Time has refilled some of what was taken ahead; no bucket holds more than it can.
        remaining = min(self.told.remaining + self.left, int(self.rate.amount - 1))
        return Granted(remaining, reset=max(0.0, self.told.reset - back))

    def wanted(self) -> int:
        """How many should be taken ahead."""
        expected = max(self.used_before, self.used)
        if self.is_asking or self.told is None or 2 * self.left > expected:
            return 0
        units = int(min(expected, self.told.remaining - self.rate.amount / 2))
        return units if units >= LEAST else 0

    def hear(self, answer: Granted | Denied, now: float) -> None:
        self.told, self.told_at = answer if isinstance(answer, Granted) else None, now

    def add(self, units: int, now: float) -> None:
        self.older_at = self._since() if self.left else now
        self.left, self.lot, self.taken_at = self.left + units, units, now

    def is_over(self, now: float) -> bool:
        since = self._since() if self.left else self.span_began
        return not self.is_asking and now - since >= self.keep

    def unused(self, now: float) -> float:
        """Units to give back: what time has refilled meanwhile is there already."""
        refilled = (now - self._since()) * self.rate.amount / self.rate.seconds
        return self.left - refilled if self.left else 0

    def _since(self) -> float:
        return self.taken_at if self.left <= self.lot else self.older_at
