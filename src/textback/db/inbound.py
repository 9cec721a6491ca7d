"""Texts from users: stored once, counted for the limits."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import and_, bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import (
    CarrierId,
    ConversationId,
    MessageId,
    ProjectId,
    as_the_carriers,
    on_record,
)
from textback.core.phone import Phone
from textback.db import erasing, events, traces
from textback.db.tables import conversations
from textback.db.tables import messages as t

Kind = Literal["text", "keyword", "unanswered"]
"""For the agent; STOP and its like; or kept without an answer, `note` says why."""

MOST_ROWS = 5000
"""Of a pair's latest texts, those that the limits are counted over."""

_said = (  # however much the two have said to each other, no more is looked at
    select(t.c.seq, t.c.direction, t.c.kind, t.c.state, t.c.created_at, t.c.text)
    .where(t.c.agent_number == bindparam("agent"), t.c.user_number == bindparam("user"))
    .order_by(t.c.seq.desc())
    .limit(bindparam("rows"))
    .subquery()
    .c
)
_REPLIES: Final = (
    select(_said.created_at)
    .where(
        _said.kind.in_(["reply", "notice"]),
        _said.state.not_in(["suppressed", "failed"]),
        _said.created_at > bindparam("since"),
    )
    .order_by(_said.seq)
)


async def is_at_home(
    c: AsyncConnection, pair: tuple[Phone, Phone], *, rather_than: tuple[Phone, Phone]
) -> bool:
    """Whether a text of somebody who may mean either pair belongs to the first.

    Who has a live conversation comes first, and of two `rather_than`; else who was in touch last.
    """
    talk = conversations.c
    first, other = [
        and_(talk.agent_number == agent, talk.user_number == user)
        for agent, user in (pair, rather_than)
    ]
    is_live = talk.state != "closed"
    found = await c.scalar(
        select(first)
        .where(or_(first, other))
        .order_by(is_live.desc(), and_(is_live, other).desc(), talk.opened_at.desc())
        .limit(1)
    )
    return bool(found)


@frozen
class Place:
    """Where a text is on record, whoever said it."""

    message_id: MessageId
    conversation_id: ConversationId
    agent_number: Phone
    user_number: Phone


async def place_of(
    c: AsyncConnection, carrier_id: CarrierId, carrier_message_id: str
) -> Place | None:
    """If it is known from both, from the carrier."""
    named = [carrier_message_id, on_record(carrier_message_id)]
    found = await c.execute(
        select(t.c.id, t.c.conversation_id, t.c.agent_number, t.c.user_number)
        .where(t.c.carrier_id == carrier_id, t.c.carrier_message_id.in_(named))
        .order_by((t.c.carrier_message_id == named[0]).desc())
        .limit(1)
    )
    row = found.one_or_none()
    if row is None:
        return None
    return Place(
        message_id=MessageId(row.id),
        conversation_id=ConversationId(row.conversation_id),
        agent_number=Phone(row.agent_number),
        user_number=Phone(row.user_number),
    )


async def known(
    c: AsyncConnection, carrier_id: CarrierId, carrier_message_ids: Collection[str]
) -> set[str]:
    """Which of these we have already; also what was erased since, or a caller put on record."""
    named = [*carrier_message_ids, *map(on_record, carrier_message_ids)]
    stored = select(t.c.carrier_message_id).where(
        t.c.carrier_id == carrier_id, t.c.carrier_message_id.in_(named)
    )
    found = await c.scalars(stored.union_all(erasing.among_erased(carrier_id, named)))
    return {as_the_carriers(str(each)) for each in found}


async def add(
    c: AsyncConnection,
    *,
    message_id: MessageId,
    conversation_id: ConversationId,
    project_id: ProjectId,
    carrier_id: CarrierId,
    carrier_message_id: str,
    agent_number: Phone,
    user_number: Phone,
    kind: Kind,
    text: str,
    media: Sequence[Mapping[str, str]],
    note: str | None,
    at: datetime,
    now: datetime,
) -> int:
    """Store what was said `at` some time, with its event; gives its place in the order of texts."""
    seq = await c.scalar(
        insert(t)
        .values(
            id=message_id,
            conversation_id=conversation_id,
            project_id=project_id,
            carrier_id=carrier_id,
            carrier_message_id=carrier_message_id,
            agent_number=agent_number,
            user_number=user_number,
            direction="inbound",
            state="received",
            kind=kind,
            text=text,
            media=[dict(m) for m in media],
            note=note,
            created_at=at,
            **traces.here(),
        )
        .returning(t.c.seq)
    )
    await events.append(c, [received(conversation_id, message_id, note=note)], now=now)
    return int(seq or 0)


def received(conversation_id: ConversationId, message_id: MessageId, *, note: str | None) -> Event:
    return Event(
        kind="message.received",
        conversation_id=conversation_id,
        message_id=message_id,
        data={} if note is None else {"note": note},
    )


async def keywords(c: AsyncConnection, agent: Phone, user: Phone, *, since: datetime) -> list[str]:
    """The words of the user's keywords after that moment."""
    found = await c.scalars(
        select(t.c.text).where(
            t.c.agent_number == agent,
            t.c.user_number == user,
            t.c.direction == "inbound",
            t.c.kind == "keyword",
            t.c.created_at > since,
        )
    )
    return [str(each) for each in found]


def latest(rows: int) -> int:
    """How many of a pair's latest texts are looked at for so many that count."""
    return min(200 + rows, MOST_ROWS)


async def replies(
    c: AsyncConnection, agent: Phone, user: Phone, *, since: datetime, at_most: int
) -> list[datetime]:
    """When the latest of our replies and notices to the user were written, oldest first."""
    given = {"agent": agent, "user": user, "rows": MOST_ROWS, "since": since}
    return list(await c.scalars(_REPLIES, given))[-at_most:]


async def hear_kept(c: AsyncConnection, conversation_id: ConversationId) -> int:
    """Texts kept unanswered in a pause are for the agent after all; gives how many."""
    heard = (
        select(conversations.c.heard_seq)
        .where(conversations.c.id == conversation_id)
        .scalar_subquery()
    )
    result = await c.execute(
        update(t)
        .where(
            t.c.conversation_id == conversation_id,
            t.c.seq > heard,
            t.c.kind == "unanswered",
            t.c.note.in_(["reply_budget", "paused"]),
        )
        .values(kind="text", note=None)
    )
    return result.rowcount
