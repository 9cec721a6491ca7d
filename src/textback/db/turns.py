"""Turns: at most one that waits, and one that is under way, per conversation, by unique index."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import turn as rule
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, MessageId, TurnId, new_turn_id
from textback.core.policy import WhileThinking
from textback.core.turn import Landing
from textback.db import events, under_way
from textback.db.driver import Statement
from textback.db.tables import messages
from textback.db.tables import turns as t
from textback.db.under_way import Held

_FIRST: Final = Statement("select min(due_at) as due_at from turns where state = 'waiting'")
_NEXT: Final = Statement(
    "select min(due_at) as due_at from turns where state = 'waiting' and due_at > :now"
)


@frozen(kw_only=False)
class Waiting:
    id: TurnId
    first_text_at: datetime


@frozen
class Standing:
    """A conversation's turns that have not ended, locked."""

    waiting: Waiting | None
    under_way: Held | None

    def landing(self, while_thinking: WhileThinking) -> Landing:
        busy = self.under_way
        return rule.landing(
            waits=self.waiting is not None,
            under_way=busy and busy.state,
            again=busy is not None and busy.again_at is not None,
            restarts=0 if busy is None else busy.restarts,
            policy=while_thinking,
        )

    def turn_of(self, landing: Landing, *, now: datetime) -> TurnId | None:
        """The one that the text comes to."""
        match landing:
            case "new":
                return new_turn_id(now)
            case "put off":
                return self.waiting and self.waiting.id
            case "again" | "restart":
                return self.under_way and self.under_way.id
            case "nothing":
                return None

    def due_at(
        self, landing: Landing, *, now: datetime, delay: timedelta, not_before: datetime | None
    ) -> datetime:
        """When it has been quiet for long enough, for the turn that answers."""
        joins = None if landing == "new" else self.waiting or self.under_way
        first = now if joins is None else joins.first_text_at
        due = rule.due_at(now=now, first_text_at=first, delay=delay)
        return max(due, not_before or due)


async def text_came(
    c: AsyncConnection,
    conversation_id: ConversationId,
    *,
    while_thinking: WhileThinking,
    now: datetime,
    delay: timedelta,
    not_before: datetime | None = None,
) -> None:
    """The user said something: it is answered when it has been quiet, by the turn that it fits.

    Call with the conversation locked.
    """
    row = (
        await c.execute(
            select(t.c.id, t.c.first_text_at)
            .where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
            .with_for_update()
        )
    ).one_or_none()
    waiting = None if row is None else Waiting(TurnId(row.id), row.first_text_at)
    busy = await under_way.hold_of(c, conversation_id)  # after the above: it may just be claimed
    standing = Standing(waiting=waiting, under_way=busy)
    landing = standing.landing(while_thinking)
    due = standing.due_at(landing, now=now, delay=delay, not_before=not_before)
    if landing == "new":
        await _add(c, conversation_id, first_text_at=now, due_at=due, opener_id=None, now=now)
    else:
        await land(c, standing, landing, due_at=due, now=now)


async def land(
    c: AsyncConnection, standing: Standing, landing: Landing, *, due_at: datetime, now: datetime
) -> None:
    """A text fits a turn that there is; one that begins a new one (`new`) changes none."""
    waiting, busy = standing.waiting, standing.under_way
    if landing == "put off" and waiting is not None:
        await c.execute(update(t).where(t.c.id == waiting.id).values(due_at=due_at))
        await events.wake(c, "turns")
    elif landing == "restart" and busy is not None:
        await under_way.restart(c, busy, due_at=due_at, now=now)
    elif landing == "again" and busy is not None:
        await c.execute(update(t).where(t.c.id == busy.id).values(again_at=due_at))
        await events.wake(c, "turns")


async def agent_opens(
    c: AsyncConnection, conversation_id: ConversationId, opener_id: MessageId, *, now: datetime
) -> None:
    await _add(c, conversation_id, first_text_at=now, due_at=now, opener_id=opener_id, now=now)


async def drop_waiting(
    c: AsyncConnection, conversation_id: ConversationId, *, why: str, now: datetime
) -> None:
    """End the waiting turn, with its event."""
    dropped = await c.scalar(
        update(t)
        .where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
        .values(state="ended", due_at=None, ended_at=now, outcome="dropped")
        .returning(t.c.id)
    )
    if dropped is not None:
        data = {"turn_id": dropped, "why": why}
        event = Event(kind="turn.dropped", conversation_id=conversation_id, data=data)
        await events.append(c, [event], now=now)


async def drop_all(
    c: AsyncConnection, conversation_id: ConversationId, *, why: str, now: datetime
) -> list[MessageId]:
    """End all that wait or are under way, with their events; gives the openers they were to write.

    What an engine says to one of them comes too late. Call with the conversation locked.
    """
    rows = await c.execute(
        update(t)
        .where(t.c.conversation_id == conversation_id, t.c.state != "ended")
        .values(
            state="ended",
            due_at=None,
            lease_until=None,
            again_at=None,
            ended_at=now,
            outcome="dropped",
        )
        .returning(t.c.id, t.c.opener_id)
    )
    found = rows.all()
    told = [
        Event(
            kind="turn.dropped",
            conversation_id=conversation_id,
            data={"turn_id": row.id, "why": why},
        )
        for row in found
    ]
    await events.append(c, told, now=now, wake="turns")  # whoever thinks of one may stop
    return [MessageId(row.opener_id) for row in found if row.opener_id is not None]


async def is_waiting(c: AsyncConnection, conversation_id: ConversationId) -> bool:
    found = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state == "waiting")
    )
    return found is not None


async def is_pending(c: AsyncConnection, conversation_id: ConversationId) -> bool:
    """Whether the agent has yet to answer, or to open."""
    found = await c.scalar(
        select(t.c.id).where(t.c.conversation_id == conversation_id, t.c.state != "ended").limit(1)
    )
    return found is not None


async def latest_text(c: AsyncConnection, conversation_id: ConversationId) -> int:
    """The place of the user's last text that was for the agent; 0 without any."""
    found = await c.scalar(
        select(func.max(messages.c.seq)).where(
            messages.c.conversation_id == conversation_id, messages.c.kind == "text"
        )
    )
    return found or 0


async def first_due(db: AsyncEngine) -> datetime | None:
    """When the first that waits is due, or was. Raises Unavailable."""
    [row] = await _FIRST.committed(db)
    return row["due_at"]


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    [row] = await _NEXT.rows(c, now=now)
    return row["due_at"]


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
