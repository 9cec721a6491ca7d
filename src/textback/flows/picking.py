"""Which of several numbers texts a user, for sends that are accepted together (D11).

Picked before the transaction, from what was read a moment ago; in the transaction, with the user
locked, it is asked whether that still holds (`together`). If not, the send goes alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.commands import Caller, SendText
from textback.core.frozen import frozen
from textback.core.ids import ProjectId
from textback.core.numbers import Candidate, pick
from textback.core.phone import Phone
from textback.db import pairs, tenants
from textback.db.pairs import History
from textback.db.session import transaction
from textback.db.tenants import NumberRow
from textback.group import Group

FRESH: Final = timedelta(seconds=1)
"""For how long it is known how busy numbers are, but for what is added here."""
MOST: Final = 128


@frozen(kw_only=False)
class Picked:
    number: NumberRow
    history: History
    """Why this one."""


def as_usual(
    command: SendText,
    usable: Sequence[NumberRow],
    history: History,
    busy: dict[Phone, Candidate],
    *,
    now: datetime,
) -> Picked | None:
    """The text is added to `busy`. None: it has to be picked under the user's lock."""
    numbers = {each.number: each for each in usable}
    if history.opted_out or (history.latest is not None and history.latest not in numbers):
        return None
    picked = pick(list(busy.values()), user=command.user_number, last=history.latest)
    if picked is None:
        return None
    number, before = numbers[picked], busy[picked]
    waits = before.queue_seconds + 1 / number.segments_per_second
    busy[picked] = replace(before, queue_seconds=waits, used_at=now)
    return Picked(number, history)


class Picking:
    def __init__(self, db: AsyncEngine) -> None:
        self._db = db
        self._histories: Group[tuple[ProjectId, Phone], History] = Group(
            partial(_histories, db), most=MOST
        )
        self._busy: dict[tuple[Phone, ...], tuple[datetime, dict[Phone, Candidate]]] = {}

    async def pick(
        self, caller: Caller, command: SendText, usable: Sequence[NumberRow], *, now: datetime
    ) -> Picked | None:
        """None: it is not as usual, and has to be picked under the user's lock.

        Raises Unavailable.
        """
        history = await self._histories.do((caller.project_id, command.user_number))
        busy = await self._candidates(usable, now=now)
        return as_usual(command, usable, history, busy, now=now)

    async def _candidates(
        self, usable: Sequence[NumberRow], *, now: datetime
    ) -> dict[Phone, Candidate]:
        of = tuple(each.number for each in usable)
        at, found = self._busy.get(of, (None, dict[Phone, Candidate]()))
        if at is None or not timedelta(0) <= now - at < FRESH:
            self._busy[of] = now, found  # the others go on with what there is meanwhile
            async with transaction(self._db) as c:
                read = await tenants.candidates(c, usable)
            found = {each.number: each for each in read}
            self._busy[of] = now, found
        return found


async def _histories(db: AsyncEngine, users: Sequence[tuple[ProjectId, Phone]]) -> list[History]:
    async with transaction(db) as c:
        return await pairs.histories(c, users)
