"""Turns: at most one waiting and one thinking per conversation, by unique index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import turn as rule
from textback.core.ids import AgentId, ConversationId, MessageId, ProjectId, TurnId, new_turn_id
from textback.core.ports import Said
from textback.db import events
from textback.db.tables import agents, conversations, messages
from textback.db.tables import turns as t

Outcome = Literal["answered", "silent", "failed", "dropped", "merged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A turn that a worker holds until `lease_until`."""

    id: TurnId
    conversation_id: ConversationId
    project_id: ProjectId
    agent_id: AgentId
    opener_id: MessageId | None
    lease_until: datetime
    upto_seq: int
    attempts: int
    transcript: Sequence[Said]
    heard: str
    metadata: dict[str, object]


async def text_came(
    c: AsyncConnection, conversation_id: ConversationId, *, now: datetime, delay: timedelta
) -> None:
    """The user said something: put the waiting turn off until it is quiet, or begin one."""
    row = (
        await c.execute(
            select(t.c.id, t.c.first_text_at)
            .where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        due = rule.due_at(now=now, first_text_at=now, delay=delay)
        await _add(c, conversation_id, first_text_at=now, due_at=due, opener_id=None, now=now)
    else:
        due = rule.due_at(now=now, first_text_at=row.first_text_at, delay=delay)
        await c.execute(update(t).where(t.c.id == row.id).values(due_at=due))
        await events.wake(c, "turns")


async def agent_opens(
    c: AsyncConnection, conversation_id: ConversationId, opener_id: MessageId, *, now: datetime
) -> None:
    await _add(c, conversation_id, first_text_at=now, due_at=now, opener_id=opener_id, now=now)


async def claim_due(
    c: AsyncConnection, *, now: datetime, margin: timedelta, limit: int
) -> list[Thinking]:
    """Take up to `limit` due turns, each with all that its engine needs.

    The lease is the engine's own deadline and `margin` for recording what came of it.
    """
    other = t.alias("other")
    rows = await c.execute(
        select(t.c.id, t.c.conversation_id, t.c.opener_id, t.c.attempts)
        .where(
            t.c.state == "waiting",
            t.c.due_at <= now,
            ~exists().where(
                other.c.conversation_id == t.c.conversation_id, other.c.state == "thinking"
            ),
        )
        .order_by(t.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=t)
    )
    return [
        await _think(c, TurnId(row.id), row.opener_id, row.attempts, now=now, margin=margin)
        for row in rows.all()
    ]


async def end(c: AsyncConnection, turn: Thinking, outcome: Outcome, *, now: datetime) -> bool:
    """Compare and set: False when the lease ran out and somebody else has taken the turn."""
    result = await c.execute(
        update(t)
        .where(t.c.id == turn.id, t.c.state == "thinking", t.c.lease_until == turn.lease_until)
        .values(state="ended", lease_until=None, ended_at=now, outcome=outcome)
    )
    return result.rowcount == 1


async def give_back(c: AsyncConnection, turn: Thinking, *, due_at: datetime) -> None:
    """Unfinished through no fault of the engine's: it runs again, or joins the one that waits.

    Call with the conversation locked.
    """
    held = await c.scalar(
        select(t.c.id)
        .where(t.c.id == turn.id, t.c.state == "thinking", t.c.lease_until == turn.lease_until)
        .with_for_update()
    )
    if held is not None:
        attempts = turn.attempts - 1
        await _wait_again(c, turn.id, turn.conversation_id, due_at=due_at, attempts=attempts)


async def leases_run_out(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Turns whose worker is gone wait again; gives how many."""
    rows = await c.execute(
        select(t.c.id, t.c.conversation_id, t.c.attempts)
        .join(conversations, conversations.c.id == t.c.conversation_id)
        .where(t.c.state == "thinking", t.c.lease_until <= now)
        .limit(limit)
        # The conversation too: a text that comes now may be making the waiting turn.
        .with_for_update(skip_locked=True, key_share=True, of=[t, conversations])
    )
    found = rows.all()
    for row in found:
        await _wait_again(c, row.id, row.conversation_id, due_at=now, attempts=row.attempts)
    return len(found)


async def drop_waiting(
    c: AsyncConnection, conversation_id: ConversationId, *, now: datetime, openers: bool = False
) -> None:
    """End the waiting turn; one that is to write an opener only when `openers`."""
    which = [t.c.conversation_id == conversation_id, t.c.state == "waiting"]
    if not openers:
        which.append(t.c.opener_id.is_(None))
    await c.execute(
        update(t).where(*which).values(state="ended", due_at=None, ended_at=now, outcome="dropped")
    )


async def is_pending(c: AsyncConnection, conversation_id: ConversationId) -> bool:
    """Whether the agent has yet to answer, or to open."""
    found = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state != "ended").limit(1)
    )
    return found is not None


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    return await c.scalar(
        select(func.min(t.c.due_at)).where(t.c.state == "waiting", t.c.due_at > now)
    )


async def _wait_again(
    c: AsyncConnection, turn_id: str, conversation_id: str, *, due_at: datetime, attempts: int
) -> None:
    waiting = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
    )
    if waiting is not None:  # it will hear everything this one would have
        values = {"state": "ended", "ended_at": due_at, "outcome": "merged"}
    else:
        values = {"state": "waiting", "due_at": due_at, "attempts": attempts}
    opener = await c.scalar(
        update(t)
        .where(t.c.id == turn_id)
        .values(lease_until=None, upto_seq=None, **values)
        .returning(t.c.opener_id)
    )
    if waiting is not None and opener is not None:  # and it keeps the promise
        await c.execute(update(t).where(t.c.id == waiting).values(opener_id=opener))
    await events.wake(c, "turns")


async def _think(
    c: AsyncConnection,
    turn_id: TurnId,
    opener_id: str | None,
    attempts: int,
    *,
    now: datetime,
    margin: timedelta,
) -> Thinking:
    talk = (
        await c.execute(
            select(
                conversations.c.id,
                conversations.c.project_id,
                conversations.c.agent_id,
                conversations.c.heard_seq,
                conversations.c.metadata.label("extra"),
                agents.c.deadline_seconds,
            )
            .join(t, t.c.conversation_id == conversations.c.id)
            .join(agents, agents.c.id == conversations.c.agent_id)
            .where(t.c.id == turn_id)
        )
    ).one()
    said = (
        await c.execute(
            select(
                messages.c.seq,
                messages.c.direction,
                messages.c.kind,
                messages.c.text,
                messages.c.created_at,
                messages.c.media,
            )
            .where(
                messages.c.conversation_id == talk.id,
                messages.c.kind.not_in(["keyword", "notice"]),
                messages.c.state.not_in(["suppressed", "failed"]),
                or_(messages.c.direction == "inbound", messages.c.text != ""),  # written by now
            )
            .order_by(messages.c.seq)
        )
    ).all()
    upto = max((row.seq for row in said if row.direction == "inbound"), default=0)
    lease_until = now + timedelta(seconds=talk.deadline_seconds) + margin
    await c.execute(
        update(t)
        .where(t.c.id == turn_id)
        .values(
            state="thinking",
            due_at=None,
            lease_until=lease_until,
            upto_seq=upto,
            attempts=attempts + 1,
        )
    )
    return Thinking(
        id=turn_id,
        conversation_id=ConversationId(talk.id),
        project_id=ProjectId(talk.project_id),
        agent_id=AgentId(talk.agent_id),
        opener_id=None if opener_id is None else MessageId(opener_id),
        lease_until=lease_until,
        upto_seq=upto,
        attempts=attempts + 1,
        transcript=[
            Said(
                role="user" if row.direction == "inbound" else "agent",
                text=row.text,
                at=row.created_at,
                media=row.media,
            )
            for row in said
        ],
        heard="\n".join(
            row.text for row in said if row.kind == "text" and row.seq > talk.heard_seq
        ),
        metadata=dict(talk.extra),
    )


async def _add(
    c: AsyncConnection,
    conversation_id: ConversationId,
    *,
    first_text_at: datetime,
    due_at: datetime,
    opener_id: MessageId | None,
    now: datetime,
) -> None:
    await c.execute(
        insert(t).values(
            id=new_turn_id(now),
            conversation_id=conversation_id,
            state="waiting",
            first_text_at=first_text_at,
            due_at=due_at,
            opener_id=opener_id,
        )
    )
    await events.wake(c, "turns")
