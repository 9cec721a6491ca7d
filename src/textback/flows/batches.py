"""Many sends at once: made, started, paused, resumed and cancelled as one."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, replace
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.batch import MOST_ROWS, Missing, Row
from textback.core.commands import Caller, Idempotency, SendText
from textback.core.errors import BadRequest, Conflict, Unavailable, UnknownResource
from textback.core.events import Event, Kind
from textback.core.frozen import frozen
from textback.core.ids import AccountId, BatchId, ProjectId, new_batch_id
from textback.core.phone import Phone
from textback.core.policy import ProjectPolicy
from textback.db import batch_rows, batches, events, idempotency, locks, planning, plans
from textback.db.batch_rows import NewRow
from textback.db.batches import Held, State
from textback.db.plans import BatchRecord
from textback.db.session import transaction
from textback.flows import choosing, doubt
from textback.flows.batch_rows import checked, user_of

_BREATH = 100
"""Rows that are checked in one go: others are served in between."""


@frozen
class RowError:
    """Why one row will not be sent."""

    row: int
    """From 1, in the order given."""
    to: str
    problem: str
    """A refusal's name: BadRequest, Conflict (the same user again), ..."""
    error: str
    """Its sentence."""


@frozen
class Created:
    batch: BatchRecord
    errors: Sequence[RowError]
    replayed: bool = False


@frozen
class Moved:
    batch: BatchRecord
    changed: bool
    """False: it was in that state before."""
    rows: int = 0
    """How many `cancel` kept from being sent."""


async def create(
    db: AsyncEngine,
    caller: Caller,
    rows: Sequence[Row],
    shared: SendText,
    *,
    name: str | None = None,
    draft: bool = False,
    missing: Missing = "refused",
    twice: bool = False,
    extra: Mapping[str, object] | None = None,
    now: datetime,
) -> Created:
    """Store a batch; its rows are sent from now on, or from `shared.send_at`, or once started.

    `shared`: what every row has: `text` may hold `{{name}}`, `variables` and `metadata` are added
    to, `user_number` is nobody's (give Phone("")), `dialect`, `send_at` and `idempotency` are the
    batch's. `extra`: the dialect's own, of the batch. `draft`: nothing is sent before `start`.
    `twice`: a user may be named in several rows.

    A row that is wrong is stored as refused, and does not stop the others. Raises BadRequest (no
    row, too many, every row wrong, send_at too far), and what `choosing.choose` does; then nothing
    is stored. KeyReused, Unavailable.
    """
    if shared.idempotency is not None:
        first = await replay(db, caller.account_id, shared.idempotency, now=now)
        if first is not None:
            return first
    if not rows:
        raise BadRequest("The batch has no row.")
    if len(rows) > MOST_ROWS:
        raise BadRequest(f"The batch has more than {MOST_ROWS} rows; make several of it.")
    policy, can_open = await _chosen(db, caller, rows, shared)
    new = await _in_breaths(
        checked(rows, shared, policy, can_open=can_open, missing=missing, twice=twice, now=now)
    )
    if all(row.due_at is None for row in new):
        raise BadRequest(f"No row can be sent. Row 1: {new[0].error}")
    made = _New(caller, shared, new, name=name, draft=draft, extra=extra or {})
    return await _store(db, made, now=now)


async def replay(
    db: AsyncEngine, account_id: AccountId, key: Idempotency, *, now: datetime
) -> Created | None:
    """The batch this request made before, if it came before. Raises KeyReused, Unavailable."""
    async with transaction(db) as c:
        first = await idempotency.find_answer(c, account_id, key, now=now)
        return None if first is None else await _again(c, account_id, first)


@frozen(kw_only=False)
class _New:
    caller: Caller
    shared: SendText
    rows: Sequence[NewRow]
    _: KW_ONLY
    name: str | None
    draft: bool
    extra: Mapping[str, object]


async def _store(db: AsyncEngine, new: _New, *, now: datetime) -> Created:
    batch_id, batch, key = new_batch_id(now), None, new.shared.idempotency
    account_id = new.caller.account_id
    try:
        async with transaction(db) as c:
            if key:
                answer = {"batch_id": batch_id}
                first = await idempotency.claim(c, account_id, key, answer, now=now)
                if first is not None:
                    return await _again(c, account_id, first)
            batch = await _add(c, batch_id, new, now=now)
    except Unavailable as error:

        async def is_stored(c: AsyncConnection) -> bool:
            await locks.plan(c, batch_id)
            return await plans.get_batch(c, account_id, batch_id) is not None

        # Told 503, a caller without an idempotency key would text everybody again.
        if not error.in_doubt or batch is None or not await doubt.took_hold(db, is_stored):
            raise
    return Created(batch=batch, errors=[_error(row) for row in new.rows if row.due_at is None])


async def _add(c: AsyncConnection, batch_id: BatchId, new: _New, *, now: datetime) -> BatchRecord:
    await locks.plan(c, batch_id)
    await batches.add(
        c,
        batch_id,
        new.caller,
        name=new.name,
        state="draft" if new.draft else "running",
        total=len(new.rows),
        send_at=new.shared.send_at,
        dialect=new.shared.dialect,
        command=planning.stored(new.shared),
        extra=new.extra,
        now=now,
    )
    await batch_rows.add_rows(c, batch_id, new.rows, now=now)
    batch = await _record(c, new.caller.account_id, batch_id)
    if not new.draft:
        await tell(c, "batch.started", batch, now=now)
        await events.wake(c, "plans")
    return batch


async def start(db: AsyncEngine, account_id: AccountId, batch_id: str, *, now: datetime) -> Moved:
    """A draft. Raises UnknownResource, Conflict (it is over), Unavailable."""
    async with transaction(db) as c:
        held = await _held(c, account_id, batch_id)
        if held.state == "paused":
            raise Conflict("The batch is paused: resume it.")
        return await _move(c, held, "running", "batch.started", now=now)


async def pause(db: AsyncEngine, account_id: AccountId, batch_id: str, *, now: datetime) -> Moved:
    """No further row is texted; what is queued goes out. Raises as `start`."""
    async with transaction(db) as c:
        held = await _held(c, account_id, batch_id)
        if held.state == "draft":
            raise Conflict("The batch is not started.")
        return await _move(c, held, "paused", "batch.paused", now=now)


async def resume(db: AsyncEngine, account_id: AccountId, batch_id: str, *, now: datetime) -> Moved:
    """Go on after a pause. Raises as `start`."""
    async with transaction(db) as c:
        held = await _held(c, account_id, batch_id)
        if held.state == "draft":
            raise Conflict("The batch is not started.")
        return await _move(c, held, "running", "batch.resumed", now=now)


async def cancel(db: AsyncEngine, account_id: AccountId, batch_id: str, *, now: datetime) -> Moved:
    """What is still planned is not sent. Raises as `start`; a cancelled one stays as it is."""
    async with transaction(db) as c:
        held = await _held(c, account_id, batch_id)
        rows = 0
        if held.state != "cancelled":
            rows = await batch_rows.cancel_rows(c, held.id, now=now)
        moved = await _move(c, held, "cancelled", "batch.cancelled", now=now)
        return replace(moved, rows=rows)


async def _chosen(
    db: AsyncEngine, caller: Caller, rows: Sequence[Row], shared: SendText
) -> tuple[ProjectPolicy, bool]:
    """What can be known before the rows are looked at: the number, and the agent."""
    someone = replace(
        shared,
        user_number=_anybody(rows, shared.agent_number),
        text=shared.text or "-",
        refuses_opted_out=False,
    )
    async with transaction(db) as c:
        found = await choosing.choose(c, caller, someone)
    return found.project.policy, found.agent.greeting is not None or found.agent.can_open


def _anybody(rows: Sequence[Row], agent_number: Phone | None) -> Phone:
    for row in rows:
        with suppress(BadRequest):
            return user_of(row.to, agent_number)
    return Phone("")


async def _in_breaths(rows: Iterator[NewRow]) -> list[NewRow]:
    done: list[NewRow] = []
    while some := list(islice(rows, _BREATH)):
        done += some
        await asyncio.sleep(0)
    return done


async def _again(c: AsyncConnection, account_id: AccountId, answer: Mapping[str, Any]) -> Created:
    """What the same request was answered before."""
    batch = await _record(c, account_id, answer["batch_id"])
    found = await batch_rows.refused_at_once(c, BatchId(batch.id))
    return Created(batch=batch, errors=[RowError(**each) for each in found], replayed=True)


async def _held(c: AsyncConnection, account_id: AccountId, batch_id: str) -> Held:
    found = await batches.lock(c, account_id, batch_id)
    if found is None:
        raise UnknownResource(f"There is no batch {batch_id}.")
    return found


async def _move(
    c: AsyncConnection, held: Held, state: State, kind: Kind, *, now: datetime
) -> Moved:
    if held.state == state:
        return Moved(batch=await _record(c, held.account_id, held.id), changed=False)
    if held.state in {"cancelled", "done"}:
        raise Conflict(f"The batch is over: it is {held.state}.")
    await batches.moved(c, held.id, state, now=now)
    batch = await _record(c, held.account_id, held.id)
    await tell(c, kind, batch, now=now)
    await events.wake(c, "plans")
    return Moved(batch=batch, changed=True)


async def tell(
    c: AsyncConnection, kind: Kind, batch: BatchRecord, *, now: datetime, **more: object
) -> None:
    told = Event(
        kind=kind,
        account_id=AccountId(batch.account_id),
        project_id=ProjectId(batch.project_id),
        data={"id": batch.id, "name": batch.name, "total": batch.total, **more},
    )
    await events.append(c, [told], now=now)


async def _record(c: AsyncConnection, account_id: AccountId, batch_id: str) -> BatchRecord:
    found = await plans.get_batch(c, account_id, batch_id)
    if found is None:
        raise UnknownResource(f"There is no batch {batch_id}.")
    return found


def _error(row: NewRow) -> RowError:
    return RowError(
        row=row.row, to=row.user_number, problem=row.problem or "", error=row.error or ""
    )
