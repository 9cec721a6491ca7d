"""Events as they are committed, each once and in the order of their ids, for `textback tail`.

Ids are given out before commits, so a lower one may come later. Whoever inserts holds a lock on the
table from before it takes its id until after its commit: once those have let go of it who held it
when an id was seen, nothing below that id can come any more.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.db.session import transaction

STEP: Final = 5_000
"""Ids looked at in one statement, which so takes milliseconds, whatever few of them are wanted."""

_BEHIND: Final = 1_000
"""Ids that may still be on their way when following begins."""

_APART: Final = timedelta(minutes=1)
"""By which the times of events may be out of the order of their ids, and more."""

# In one statement the snapshot, by which `upto` is seen, comes before the look at the locks.
_NOW: Final = text("""
    select coalesce((select max(id) from events), 0) as upto,
        coalesce((select min(id) from events), 0) as least,
        array(select l.virtualtransaction from pg_locks l
            where l.relation = 'events'::regclass and l.mode = 'RowExclusiveLock' and l.granted
            and l.database = (select oid from pg_database where datname = current_database())
        ) as writers
""")

_SOME: Final = text("""
    select e.id, e.at, e.kind, coalesce(c.account_id, e.account_id) as account_id,
        coalesce(c.project_id, e.project_id) as project_id, e.conversation_id, e.message_id,
        c.agent_number, c.user_number, e.data
    from events e left join conversations c on c.id = e.conversation_id
    where e.id > :after and e.id <= :upto
        and (cast(:since as timestamptz) is null or e.at >= :since)
        and (cast(:account as text) is null or coalesce(c.account_id, e.account_id) = :account)
        and (cast(:conversation as text) is null or e.conversation_id = :conversation)
        and (cast(:numbers as text[]) is null
            or c.agent_number = any(:numbers) or c.user_number = any(:numbers))
        and (cast(:kinds as text[]) is null or e.kind like any(:kinds))
    order by e.id
""")


@frozen
class Happened:
    id: int
    at: datetime
    kind: str
    account_id: str
    project_id: str | None
    conversation_id: str | None
    message_id: str | None
    agent_number: str | None
    user_number: str | None
    data: Mapping[str, Any]


@frozen
class Wanted:
    """None: whatever it is."""

    account: str | None = None
    conversation: str | None = None
    number: str | None = None
    """Of either side, without its channel."""
    kinds: Sequence[str] = ()
    """A * stands for anything: `message.*`."""
    since: datetime | None = None
    """None: from now on."""


class Tail:
    """Goes on where it was, whatever happened to the connection meanwhile."""

    def __init__(self, db: AsyncEngine, wanted: Wanted) -> None:
        self._db, self._since = db, wanted.since
        channels = ("", "rcs:", "whatsapp:")
        self._where = {
            "since": wanted.since,
            "account": wanted.account,
            "conversation": wanted.conversation,
            "numbers": [f"{c}{wanted.number}" for c in channels] if wanted.number else None,
            "kinds": [_like(kind) for kind in wanted.kinds] or None,
        }
        self._after: int | None = None
        self._known = frozenset[int]()
        self._whole = 0
        """Up to here all that will ever be there is there."""
        self._seen: tuple[int, frozenset[str]] | None = None
        """An id, and who was writing when it was seen."""

    async def more(self) -> tuple[list[Happened], bool]:
        """What has come, and whether more is known to be there or on its way.

        Raises Unavailable; then the next call gives what this one would have.
        """
        if self._after is None:
            await self._begin()
        async with transaction(self._db) as c:
            now = (await c.execute(_NOW)).one()
        writers = frozenset[str](now.writers)
        if self._seen is not None and not writers & self._seen[1]:
            self._whole, self._seen = self._seen[0], None
        if self._seen is None and now.upto > self._whole:
            if writers:
                self._seen = (now.upto, writers)
            else:
                self._whole = now.upto
        after = self._after or 0
        upto = min(self._whole, after + STEP)
        if upto <= after:
            return [], self._seen is not None
        async with transaction(self._db) as c:
            rows = await c.execute(_SOME, self._where | {"after": after, "upto": upto})
            found = [Happened(**row) for row in rows.mappings() if row["id"] not in self._known]
        self._after = upto
        return found, upto < self._whole or self._seen is not None

    async def _begin(self) -> None:
        async with transaction(self._db) as c:
            now = (await c.execute(_NOW)).one()
            if self._since is None:
                after = max(0, now.upto - _BEHIND)
                ids = await c.scalars(text("select id from events where id > :id"), {"id": after})
                self._known, self._after = frozenset(ids), after
        if self._since is not None:
            self._after = await self._before(self._since - _APART, now.least - 1, now.upto)

    async def _before(self, moment: datetime, low: int, high: int) -> int:
        """An id before all events since then: events have no index by time."""
        query = text("select at from events where id > :id order by id limit 1")
        while high - low > 1:
            middle = (low + high) // 2
            async with transaction(self._db) as c:
                at = await c.scalar(query, {"id": middle})
            if at is None or at >= moment:
                high = middle
            else:
                low = middle
        return low


def _like(kind: str) -> str:
    for special in ("\\", "%", "_"):
        kind = kind.replace(special, "\\" + special)
    return kind.replace("*", "%")
