"""What was provisioned, kept by each process for as long as it is known to be unchanged.

Postgres tells every process that listens when a row of it changes (triggers of migration 0005), and
each process asks it twice a second whether it still hears. What was read before the last change, or
while nobody heard, is read again: a key that is revoked is refused everywhere within a second, also
by a process that is cut off from the news.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Final, Protocol, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.db.listen import listen
from textback.db.session import transaction

CHANNEL: Final = "textback_provisioned"
TRUSTED_SECONDS: Final = 1.0
"""For how long after Postgres was heard nothing can have changed that would not be known."""
ASK_SECONDS: Final = 0.5
MOST: Final = 100_000

T = TypeVar("T")


class Look(Protocol):
    """Where provisioned rows are looked up."""

    async def get(self, key: Hashable, load: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """What `load` reads. `key` stands for it: the same key, the same question."""
        ...


class Within:
    """In a transaction: as it is now."""

    def __init__(self, c: AsyncConnection) -> None:
        self._c = c

    async def get(self, key: Hashable, load: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        del key
        return await load(self._c)


class Book:
    """As it was less than a second ago, if `keep_fresh` runs; else as it is now."""

    def __init__(self, db: AsyncEngine, *, clock: Callable[[], float] = monotonic) -> None:
        """`clock` in seconds, never going back."""
        self._db, self._clock = db, clock
        self._entries = OrderedDict[Hashable, object]()
        self._changes = 0
        self._trusted_until = clock()

    async def get(self, key: Hashable, load: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Raises Unavailable, and what `load` does. None, for what is not there, is not kept."""
        is_trusted = self._clock() < self._trusted_until
        if is_trusted and (found := self._entries.get(key)) is not None:
            return cast("T", found)
        changes = self._changes
        async with transaction(self._db) as c:
            loaded = await load(c)
        # What was read while something changed may be from before.
        if is_trusted and loaded is not None and changes == self._changes:
            self._entries[key] = loaded
            if len(self._entries) > MOST:
                self._entries.popitem(last=False)
        return loaded

    def forget(self) -> None:
        """Something changed."""
        self._changes += 1
        self._entries.clear()

    def confirm(self, asked_at: float) -> None:
        """Postgres has answered, on the connection that hears of changes, what was asked then."""
        self._trusted_until = asked_at + TRUSTED_SECONDS

    async def keep_fresh(self, database_url: str) -> None:
        """Until cancelled."""
        await listen(
            database_url,
            lambda _: self.forget(),
            channel=CHANNEL,
            check_seconds=ASK_SECONDS,
            begun=self.forget,
            alive=self.confirm,
        )
