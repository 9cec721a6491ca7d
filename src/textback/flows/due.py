"""Sends whose moment has come: each opens its conversation, or is refused, once.

Marking a plan and opening its conversation is one transaction: whatever dies on the way, the plan
is either still planned or there is its text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.commands import Accepted, SendText
from textback.core.errors import Refusal, Unavailable, UnknownResource
from textback.core.events import Event
from textback.core.ids import AccountId, BatchId
from textback.core.phone import Phone
from textback.db import batch_rows, batches, events, planning, plans, tenants
from textback.db.batch_rows import EXPIRED
from textback.db.batches import Running
from textback.db.planning import Plan
from textback.db.session import savepoint, transaction
from textback.flows import opening
from textback.flows.batches import tell
from textback.flows.planning import fact, held, put_off

TURN: Final = 10
"""Rows that a batch, or single sends that an account, may have sent before it is others' turn."""

AHEAD: Final = timedelta(minutes=1)
"""A batch queues no more texts for a number than that sends in so long, so that a pause stops it,
and who is texted one by one need not wait for all of it."""

MOST_TRIES: Final = 10
TRY_AGAIN: Final = timedelta(seconds=2)
"""After a mistake of ours; then twice as long each time, up to `TRY_MOST`."""
TRY_MOST: Final = timedelta(minutes=5)

_LOOKED_AT: Final = 100
"""Batches that are looked at in one go."""
_MANY: Final = 500
"""Rows that are given up in one go."""
_AWAY: Final = timedelta(minutes=10)
"""As long as that, a batch may wait for its turn behind others."""
_LOOK_AGAIN: Final = timedelta(seconds=5)

Outcome = Literal["accepted", "refused", "held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Whose sends are taken up next: a batch's, or else an account's single ones."""

    account_id: AccountId
    batch_id: BatchId | None = None
    most: int = TURN


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


async def send_next(db: AsyncEngine, turn: Turn, *, now: datetime) -> Outcome | None:
    """The next that is due of whose turn it is; None: there is none, or its batch does not run.

    Raises Unavailable; whatever else it raises, the plan is tried again later, a few times.
    """
    taken: Plan | None = None
    try:
        async with transaction(db) as c:
            if turn.batch_id is not None and not await batches.stays_running(c, turn.batch_id):
                return None
            taken = await planning.take_due(
                c, account_id=turn.account_id, batch_id=turn.batch_id, now=now
            )
            return None if taken is None else await _send(c, taken, now=now)
    except Unavailable:
        raise
    except Exception:
        if taken is not None:
            await _try_later(db, taken, now=now)
        raise


async def _send(c: AsyncConnection, plan: Plan, *, now: datetime) -> Outcome:
    ends_at = _ends_at(plan)
    if ends_at is not None and ends_at <= now:
        return await _refuse(c, plan, "Expired", EXPIRED, now=now)
    command = replace(plan.command, send_at=None)
    if ends_at is not None:
        command = replace(command, validity=ends_at - now)
    try:
        async with savepoint(c):
            return await _open(c, plan, command, now=now)
    except Unavailable:
        raise
    except Refusal as refusal:
        return await _refuse(c, plan, type(refusal).__name__, refusal.sentence, now=now)


async def _open(c: AsyncConnection, plan: Plan, command: SendText, *, now: datetime) -> Outcome:
    if not await planning.is_provisioned(c, plan.caller.project_id):
        raise UnknownResource("The project is not there any more.")
    found = await opening.choose(c, plan.caller, command)
    # Asked again: we may be late, and the project's quiet hours may have been changed.
    if (again := held(found.project.policy, command, now=now)) is not None:
        await put_off(c, plan, due=again[0], why=again[1], now=now)
        return "held"
    ids = Accepted(conversation_id=plan.conversation_id, message_id=plan.id)
    done = await opening.text_user(c, plan.caller, command, ids, found=found, now=now)
    await planning.accepted(c, plan, done, now=now)
    return "accepted"


def _ends_at(plan: Plan) -> datetime | None:
    """When it is too late for it. None: a row's time comes with its turn, however late that is."""
    if plan.batch_id is None:
        return plan.due_at + (plan.command.validity or plan.policy.validity)
    return None if plan.command.validity is None else plan.due_at + plan.command.validity


async def _refuse(
    c: AsyncConnection, plan: Plan, problem: str, error: str, *, now: datetime
) -> Outcome:
    await planning.refused(c, plan.id, problem, error, now=now)
    of_batch = {} if plan.batch_id is None else {"batch_id": plan.batch_id, "row": plan.row}
    told = fact("send.refused", plan.caller, plan.id, problem=problem, error=error, **of_batch)
    await events.append(c, [told], now=now)
    return "refused"


async def _try_later(db: AsyncEngine, plan: Plan, *, now: datetime) -> None:
    """A mistake of ours, or two who stood in each other's way."""
    async with transaction(db) as c:
        found = await planning.lock(c, plan.caller.account_id, plan.id)
        if found is None or found.state != "planned":
            return
        if found.tries >= MOST_TRIES:
            sentence = "Something went wrong on our side, each time it was tried; it was logged."
            await _refuse(c, found, "ServerError", sentence, now=now)
            return
        wait = min(TRY_MOST, TRY_AGAIN * 2**found.tries)
        await planning.hold(c, found, due=now + wait, tries=found.tries + 1)


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
        self._of: dict[tuple[Phone, bool], int] = {}

    async def take(self, batch: Running) -> int:
        """Rows that may be sent in this turn."""
        ours = await self._numbers(batch)
        if not ours:
            return TURN  # it is gone: each row is refused, and says why
        room = min(TURN, sum(max(0, self._of[each]) for each in ours))
        for each in ours:
            self._of[each] -= -(-room // len(ours))
        return room

    async def _numbers(self, batch: Running) -> list[tuple[Phone, bool]]:
        named, promised = batch.agent_number, not batch.is_worded
        found = [
            n
            for n in await tenants.numbers_of(self._c, batch.project_id)
            if (n.number == named if named else n.environment == batch.environment)
        ]
        if new := [n for n in found if (n.number, promised) not in self._of]:
            names = [n.number for n in new]
            waiting = await batches.queued(self._c, names, promised=promised)
            for n in new:
                most = max(1, int(AHEAD.total_seconds() * n.segments_per_second))
                self._of[n.number, promised] = min(most, batches.BUSY) - waiting[n.number]
        return [(n.number, promised) for n in found]
