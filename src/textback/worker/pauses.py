"""What a worker leaves alone for a while: a carrier that says wait.

In this process's memory only: it saves claims that would be in vain, and decides nothing.
"""

from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from textback.core import retry

Key = TypeVar("Key", bound=Hashable)

FIRST = timedelta(seconds=1)
MOST = timedelta(seconds=30)


class Pauses(Generic[Key]):
    def __init__(self) -> None:
        self._until: dict[Key, datetime] = {}
        self._times: dict[Key, int] = {}

    def until(self, key: Key, at: datetime) -> None:
        self._until[key] = max(at, self._until.get(key, at))

    def back_off(
        self, key: Key, *, now: datetime, at_least: timedelta | None, first: timedelta = FIRST
    ) -> None:
        """Pause for longer each time, up to half a minute, until it is `well` again.

        What was already under way when the pause began says nothing new.
        """
        if self._until.get(key, now) > now:
            return
        times = self._times[key] = self._times.get(key, 0) + 1
        wait = retry.backoff(times, first=first, most=MOST)
        self.until(key, now + max(wait, at_least or wait))

    def end(self, key: Key) -> None:
        """Try again; if that fails, the pause is longer all the same."""
        self._until.pop(key, None)

    def well(self, key: Key) -> None:
        self._times.pop(key, None)
        self._until.pop(key, None)

    def active(self, now: datetime) -> list[Key]:
        self._until = {key: until for key, until in self._until.items() if until > now}
        return list(self._until)

    def next_end(self) -> datetime | None:
        return min(self._until.values(), default=None)
