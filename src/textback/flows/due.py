"""Whose sends are taken up next, of all whose moment has come; `opening_due` takes them up."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import AccountId, BatchId, ProjectId
from textback.core.phone import Phone
from textback.db import batch_rows, batches, events, planning, plans, tenants
from textback.db.batch_rows import EXPIRED
from textback.db.batches import Running
from textback.db.session import transaction
from textback.db.tenants import NumberRow
from textback.flows.batches import tell

TURN: Final = 100
"""Rows that a batch, or single sends that an account, may have sent before it is others' turn."""
ALONE: Final = 10
"""As many of them may be such as go alone, which takes as long as many together."""

AT_ONCE: Final = timedelta(seconds=10)
"""A turn is no longer than its numbers need to send it in so long, or than `ALONE`: who has a turn
of the same numbers at the same moment has counted the same texts."""

AHEAD: Final = timedelta(minutes=1)
"""A batch queues no more texts for a number than that sends in so long, so that a pause stops it,
and who is texted one by one need not wait for all of it."""

_LOOKED_AT: Final = 100
"""Batches that are looked at in one go."""
_MANY: Final = 500
"""Rows that are given up in one go."""
_AWAY: Final = timedelta(minutes=10)
"""As long as that, a batch may wait for its turn behind others."""
_LOOK_AGAIN: Final = timedelta(seconds=5)


@frozen
class Turn:
    """Whose sends are taken up next: a batch's, or else an account's single ones."""

    account_id: AccountId
    batch_id: BatchId | None = None
    most: int = TURN
    alone: int = ALONE


async def due_accounts(
    db: AsyncEngine, *, now: datetime
) -> tuple[Sequence[AccountId], datetime | None]:
    """Whose single sends are due, who waits longest first; if nobody's, when the next is."""
    async with transaction(db) as c:
        return await planning.accounts_due(c, now=now)


async def claim_batches(
    db: AsyncEngine, *, limit: int, now: datetime
) -> tuple[list[Turn], datetime | None]:
    """Up to `limit` batches that have rows to send and room for them; accounts take turns.

    On the way, batches without a planned row are done, and rows that nobody was there to send
    within their validity are refused.
    """
    async with transaction(db) as c:
        running, upcoming = await batches.look(c, now=now, limit=_LOOKED_AT)
        ours = await batches.take(c, [b.id for b in running])
        rooms, turns, served = _Rooms(c), list[Turn](), list[BatchId]()
        for batch in _in_turn([b for b in running if b.id in ours]):
            if batch.first_due is None:
                await _end(c, batch, now=now)
            elif await _gave_up(c, batch, now=now):
                upcoming = now  # and perhaps more of it
            elif len(turns) < limit:
                room = await rooms.take(batch)
                if room:
                    turns.append(Turn(account_id=batch.account_id, batch_id=batch.id, most=room))
                if room or now - batch.served_at > _LOOK_AGAIN:
                    served.append(batch.id)
        await batches.served(c, served, now=now)
    return turns, upcoming


async def _end(c: AsyncConnection, batch: Running, *, now: datetime) -> None:
    if await batches.finished(c, batch.id, now=now):
        counted = (await plans.count(c, [batch.id], now=now))[batch.id]
        record = await plans.get_batch(c, batch.account_id, batch.id)
        if record is not None:
            more = {"refused": counted.refused, "accepted": counted.accepted}
            await tell(c, "batch.done", record, now=now, **more)


async def _gave_up(c: AsyncConnection, batch: Running, *, now: datetime) -> bool:
    """Rows that were due while nobody looked after their batch, for longer than texts are valid.

    Rows that only wait for those before them, or for their number, are looked after all along.
    """
    if batch.served_at >= now - _AWAY:
        return False
    policy = (await tenants.policies(c, [batch.project_id]))[batch.project_id]
    before = now - max(policy.validity, _AWAY)
    if batch.served_at >= before:
        return False
    gone = await batch_rows.missed(c, batch.id, due_before=before, limit=_MANY, now=now)
    told = [
        Event(
            kind="send.refused",
            message_id=each,
            account_id=batch.account_id,
            project_id=batch.project_id,
            data={"id": each, "problem": "Expired", "error": EXPIRED, "batch_id": batch.id},
        )
        for each in gone
    ]
    await events.append(c, told, now=now)
    return bool(gone)


def _in_turn(running: Sequence[Running]) -> Iterator[Running]:
    """One of each account, then the next of each."""
    of: dict[AccountId, list[Running]] = {}
    for batch in running:
        of.setdefault(batch.account_id, []).append(batch)
    for round_ in zip_longest(*of.values()):
        yield from (batch for batch in round_ if batch is not None)


class _Rooms:
    """How many texts more each number may have queued for batches."""

    def __init__(self, c: AsyncConnection) -> None:
        self._c = c
        self._numbers = dict[ProjectId, list[NumberRow]]()
        self._of: dict[tuple[Phone, bool], int] = {}

    async def take(self, batch: Running) -> int:
        """Rows that may be sent in this turn."""
        ours = await self._counted(batch)
        if not ours:
            return TURN  # it is gone: each row is refused, and says why
        pace = sum(n.segments_per_second for n in ours)
        most = min(TURN, max(ALONE, int(AT_ONCE.total_seconds() * pace)))
        keys = [(n.number, not batch.is_worded) for n in ours]
        room = min(most, sum(max(0, self._of[each]) for each in keys))
        for each in keys:
            self._of[each] -= -(-room // len(keys))
        return room

    async def _counted(self, batch: Running) -> list[NumberRow]:
        """The numbers that it may be sent from."""
        named, promised, project_id = batch.agent_number, not batch.is_worded, batch.project_id
        if project_id not in self._numbers:
            self._numbers[project_id] = await tenants.numbers_of(self._c, project_id)
        found = [
            n
            for n in self._numbers[project_id]
            if (n.number == named if named else n.environment == batch.environment)
        ]
        if new := [n for n in found if (n.number, promised) not in self._of]:
            names = [n.number for n in new]
            waiting = await batches.queued(self._c, names, promised=promised)
            for n in new:
                most = max(1, int(AHEAD.total_seconds() * n.segments_per_second))
                self._of[n.number, promised] = min(most, batches.BUSY) - waiting[n.number]
        return found
