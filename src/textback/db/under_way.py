"""Turns that are under way: an engine thinks, or its answer is awaited."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import RowMapping, Select, bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, MessageId, TurnId
from textback.core.turn import Outcome, UnderWay
from textback.db import events
from textback.db.tables import conversations
from textback.db.tables import turns as t

STATES: tuple[UnderWay, ...] = ("thinking", "awaiting")

# Put together once: SQLAlchemy takes longer over each than Postgres does (ADR 34).
_UNDER_WAY: Final = (
    select(t, (t.c.upto_seq > conversations.c.heard_seq).label("is_asked"))
    .join(conversations, conversations.c.id == t.c.conversation_id)
    .where(t.c.state.in_(STATES))
    .with_for_update(of=t)
)
_HOLD: Final = _UNDER_WAY.where(t.c.id == bindparam("which"))
_HOLD_OF: Final = _UNDER_WAY.where(t.c.conversation_id == bindparam("which"))
_END: Final = text("""
    with talk as (
        update conversations set heard_seq = :upto where id = :talk and :upto > 0
    )
    update turns set state = 'ended', lease_until = null, again_at = null, ended_at = :now,
        outcome = :outcome
    where id = :id
""")


@frozen
class Held:
    """A turn that is under way, locked until the transaction ends."""

    id: TurnId
    run: int
    state: UnderWay
    conversation_id: ConversationId
    opener_id: MessageId | None
    first_text_at: datetime
    lease_until: datetime
    upto_seq: int
    attempts: int
    restarts: int
    again_at: datetime | None
    """What is being thought does not count: with what the user said since, it runs then."""
    is_asked: bool
    """Whether it has texts of the user's to answer."""


async def hold(c: AsyncConnection, turn_id: TurnId) -> Held | None:
    """The turn, if it is under way, as it will stay until the transaction ends.

    Whose `run` is another has lost it.
    """
    return await _hold(c, _HOLD, turn_id)


async def went_on_without(c: AsyncConnection, turn_id: TurnId, run: int) -> bool:
    """Whether another run, or nobody, answers in place of this one: it was not counted."""
    other_run = (t.c.run != run) | (t.c.outcome == "dropped")
    return bool(await c.scalar(select(other_run).where(t.c.id == turn_id)))


async def hold_of(c: AsyncConnection, conversation_id: ConversationId) -> Held | None:
    """The one of that conversation."""
    return await _hold(c, _HOLD_OF, conversation_id)


async def conversation_of(c: AsyncConnection, turn_id: TurnId) -> ConversationId | None:
    """Locks nothing."""
    found = await c.scalar(select(t.c.conversation_id).where(t.c.id == turn_id))
    return None if found is None else ConversationId(found)


async def moot(c: AsyncConnection, runs: Mapping[TurnId, int]) -> list[TurnId]:
    """Of these turns, each with its run, those whose answer will not count any more."""
    rows = await c.execute(
        select(t.c.id, t.c.run).where(
            t.c.id.in_(runs), t.c.state == "thinking", t.c.again_at.is_(None)
        )
    )
    wanted = {(row.id, row.run) for row in rows}
    return [turn_id for turn_id, run in runs.items() if (turn_id, run) not in wanted]


async def keep(c: AsyncConnection, runs: Mapping[TurnId, int], *, until: datetime) -> None:
    """Their worker lives and thinks: nobody else takes these turns before `until`."""
    rows = await c.execute(
        select(t.c.id, t.c.run)
        .where(t.c.id.in_(runs), t.c.state == "thinking")
        .with_for_update(skip_locked=True)  # what is being recorded needs no lease any more
    )
    ours = [row.id for row in rows if runs[TurnId(row.id)] == row.run]
    if ours:
        await c.execute(update(t).where(t.c.id.in_(ours)).values(lease_until=until))


async def end(
    c: AsyncConnection, held: Held, outcome: Outcome, *, heard_upto: int, now: datetime
) -> None:
    """`heard_upto`: it has covered the user's texts up to here; 0: none."""
    given = {"id": held.id, "outcome": outcome, "now": now}
    await c.execute(_END, given | {"talk": held.conversation_id, "upto": heard_upto})


async def restart(c: AsyncConnection, held: Held, *, due_at: datetime, now: datetime) -> None:
    """Its answer does not count, or is not waited for: the user has said more meanwhile."""
    await _wait_again(
        c,
        held.id,
        held.conversation_id,
        due_at=due_at,
        values={"attempts": 0, "restarts": held.restarts + 1},
    )
    data = {"turn_id": held.id, "run": held.run}
    event = Event(kind="turn.restarted", conversation_id=held.conversation_id, data=data)
    await events.append(c, [event], now=now)


async def await_answer(c: AsyncConnection, held: Held, *, until: datetime) -> None:
    await c.execute(update(t).where(t.c.id == held.id).values(state="awaiting", lease_until=until))


async def give_back(c: AsyncConnection, held: Held, *, due_at: datetime) -> None:
    """Unfinished through no fault of the engine's: it runs again, or joins the one that waits.

    Call with the conversation locked.
    """
    due_at = max(due_at, held.again_at or due_at)
    values = {"attempts": held.attempts - 1}
    await _wait_again(c, held.id, held.conversation_id, due_at=due_at, values=values)


async def leases_run_out(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Turns whose worker is gone wait again; gives how many."""
    rows = await c.execute(
        select(t.c.id, t.c.conversation_id, t.c.again_at)
        .join(conversations, conversations.c.id == t.c.conversation_id)
        .where(t.c.state == "thinking", t.c.lease_until <= now)
        .limit(limit)
        # The conversation too: a text that comes now may be making the waiting turn.
        .with_for_update(skip_locked=True, key_share=True, of=[t, conversations])
    )
    found = rows.all()
    for row in found:
        due_at = max(now, row.again_at or now)
        await _wait_again(c, row.id, row.conversation_id, due_at=due_at, values={})
    return len(found)


async def overdue(
    c: AsyncConnection, *, now: datetime, limit: int
) -> list[tuple[TurnId, ConversationId]]:
    """Turns whose answer was to be posted by now. Locks nothing."""
    rows = await c.execute(
        select(t.c.id, t.c.conversation_id)
        .where(t.c.state == "awaiting", t.c.lease_until <= now)
        .order_by(t.c.lease_until)
        .limit(limit)
    )
    return [(TurnId(row.id), ConversationId(row.conversation_id)) for row in rows]


async def _wait_again(
    c: AsyncConnection,
    turn_id: str,
    conversation_id: str,
    *,
    due_at: datetime,
    values: Mapping[str, object],
) -> None:
    waiting = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
    )
    if waiting is not None:  # it will hear everything this one would have
        values = {"state": "ended", "ended_at": due_at, "outcome": "merged"}
    else:
        values = {"state": "waiting", "due_at": due_at, **values}
    opener = await c.scalar(
        update(t)
        .where(t.c.id == turn_id)
        .values(lease_until=None, upto_seq=None, again_at=None, **values)
        .returning(t.c.opener_id)
    )
    if waiting is not None and opener is not None:  # and it keeps the promise
        await c.execute(update(t).where(t.c.id == waiting).values(opener_id=opener))
    await events.wake(c, "turns")


async def _hold(c: AsyncConnection, query: Select[Any], which: str) -> Held | None:
    row = (await c.execute(query, {"which": which})).mappings().one_or_none()
    return None if row is None else held_of(row)


def held_of(row: RowMapping | asyncpg.Record, prefix: str = "") -> Held:
    """`prefix`: of its columns' names."""
    opener = row[f"{prefix}opener_id"]
    return Held(
        id=TurnId(row[f"{prefix}id"]),
        run=row[f"{prefix}run"],
        state=row[f"{prefix}state"],
        conversation_id=ConversationId(row[f"{prefix}conversation_id"]),
        opener_id=None if opener is None else MessageId(opener),
        first_text_at=row[f"{prefix}first_text_at"],
        lease_until=row[f"{prefix}lease_until"],
        upto_seq=row[f"{prefix}upto_seq"],
        attempts=row[f"{prefix}attempts"],
        restarts=row[f"{prefix}restarts"],
        again_at=row[f"{prefix}again_at"],
        is_asked=row[f"{prefix}is_asked"],
    )
