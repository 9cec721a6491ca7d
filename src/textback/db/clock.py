"""One time for all processes: Postgres'.

Leases, look-ups, validities and deadlines are compared by processes on machines whose clocks may
differ, and may be set. So each asks Postgres for the time, and goes on from there by a clock that
nobody sets.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db.session import transaction


class SharedClock:
    def __init__(self, wall: Callable[[], datetime], steady: Callable[[], float]) -> None:
        """`wall` is this machine's own clock, believed until Postgres was asked for the first time.

        `steady` gives seconds and goes on evenly.
        """
        self._wall, self._steady = wall, steady
        self._known: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        if self._known is None:
            return self._wall()
        then, at = self._known
        return then + timedelta(seconds=self._steady() - at)

    async def look(self, db: AsyncEngine) -> timedelta:
        """Ask Postgres; gives by how much we were ahead of it. Raises Unavailable.

        Its answer was true at some moment of the round trip: only what is certainly wrong is
        corrected, so that a slow answer makes no time worse.
        """
        async with transaction(db) as c:
            began = self._steady()
            answer = (await c.execute(text("select clock_timestamp()"))).scalar_one()
            ended, ours = self._steady(), self()
        latest = answer + timedelta(seconds=ended - began)
        now = min(max(ours, answer), latest)
        self._known = (now, ended)
        return ours - now
