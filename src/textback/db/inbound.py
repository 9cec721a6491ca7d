"""Texts from users: stored once, counted for the limits."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import and_, bindparam, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event
from textback.core.ids import (
    CarrierId,
    ConversationId,
    MessageId,
    ProjectId,
    as_the_carriers,
    on_record,
)
from textback.core.phone import Phone
from textback.core.throttle import Heard
from textback.db import erasing, events
from textback.db.tables import conversations
from textback.db.tables import messages as t

Kind = Literal["text", "keyword", "unanswered"]
"""For the agent; STOP and its like; or kept without an answer, `note` says why."""

MOST_ROWS = 5000
"""Of a pair's latest texts, those that the limits are counted over."""

_latest = (  # however much the two have said to each other, no more is looked at
    select(t.c.seq, t.c.direction, t.c.kind, t.c.state, t.c.created_at, t.c.text)
    .where(t.c.agent_number == bindparam("agent"), t.c.user_number == bindparam("user"))
    .order_by(t.c.seq.desc())
    .limit(bindparam("rows"))
    .subquery()
    .c
)
_FROM_SENDER: Final = (
    select(_latest.created_at, _latest.text, _latest.kind)
    .where(
        _latest.direction == "inbound",
        _latest.kind != "keyword",
        _latest.created_at > bindparam("since"),
        _latest.created_at <= bindparam("until"),
    )
    .order_by(_latest.seq)
)
_REPLIES: Final = (
    select(_latest.created_at)
    .where(
        _latest.kind.in_(["reply", "notice"]),
        _latest.state.not_in(["suppressed", "failed"]),
        _latest.created_at > bindparam("since"),
    )
    .order_by(_latest.seq)
)


async def is_known(c: AsyncConnection, carrier_id: CarrierId, carrier_message_id: str) -> bool:
    """Also one that was erased since, or that a caller has put on record."""
    return bool(await known(c, carrier_id, [carrier_message_id]))


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


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """Which of these we have already; as `is_known`."""
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
        )
        .returning(t.c.seq)
    )
    event = Event(
        kind="message.received",
        conversation_id=conversation_id,
        message_id=message_id,
        data={} if note is None else {"note": note},
    )
    await events.append(c, [event], now=now)
    return int(seq or 0)


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


async def recent_from_sender(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    since: datetime,
    until: datetime,
    at_most: int,
) -> list[Heard]:
    """The sender's texts of that time among the pair's latest, oldest first; no keywords."""
    rows = min(200 + 2 * at_most, MOST_ROWS)
    given = {"agent": agent, "user": user, "rows": rows, "since": since, "until": until}
    found = await c.execute(_FROM_SENDER, given)
    return [Heard(r.created_at, r.text, answered=r.kind == "text") for r in found]


async def replies(
    c: AsyncConnection, agent: Phone, user: Phone, *, since: datetime, at_most: int
) -> list[datetime]:
    """When the latest of our replies and notices to the user were written, oldest first."""
    rows = min(200 + 4 * at_most, MOST_ROWS)
    given = {"agent": agent, "user": user, "rows": rows, "since": since}
    return list(await c.scalars(_REPLIES, given))[-at_most:]


async def count_answered(
    c: AsyncConnection, project_id: ProjectId, *, since: datetime, until: datetime, at_most: int
) -> int:
    """Texts of all the project's users in that time that went to an agent, up to `at_most`."""
    some = (
        select(t.c.id)
        .where(
            t.c.project_id == project_id,
            t.c.direction == "inbound",
            t.c.kind == "text",
            t.c.created_at > since,
            t.c.created_at <= until,
        )
        .limit(at_most)
    )
    return await c.scalar(select(func.count()).select_from(some.subquery())) or 0


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
