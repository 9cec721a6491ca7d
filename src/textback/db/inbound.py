"""Texts from users: stored once, counted for the limits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event
from textback.core.ids import CarrierId, ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.core.throttle import Heard
from textback.db import events
from textback.db.tables import messages as t

Kind = Literal["text", "keyword", "unanswered"]
"""For the agent; STOP and its like; or kept without an answer, `note` says why."""


async def is_known(c: AsyncConnection, carrier_id: CarrierId, carrier_message_id: str) -> bool:
    found = await c.scalar(
        select(t.c.id).where(
            t.c.carrier_id == carrier_id, t.c.carrier_message_id == carrier_message_id
        )
    )
    return found is not None


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
    now: datetime,
) -> int:
    """Store it, with its event; gives its place in the order of texts."""
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
            created_at=now,
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


async def recent_from_sender(
    c: AsyncConnection, agent: Phone, user: Phone, *, since: datetime
) -> list[Heard]:
    """The sender's latest texts since then, at most 200, oldest first; keywords left out."""
    rows = await c.execute(
        select(t.c.created_at, t.c.text, t.c.kind)
        .where(
            t.c.agent_number == agent,
            t.c.user_number == user,
            t.c.direction == "inbound",
            t.c.kind != "keyword",
            t.c.created_at > since,
        )
        .order_by(t.c.seq.desc())
        .limit(200)
    )
    return [Heard(r.created_at, r.text, answered=r.kind == "text") for r in reversed(rows.all())]


async def count_answered(
    c: AsyncConnection, project_id: ProjectId, *, since: datetime, at_most: int
) -> int:
    """Texts of all the project's users since then that went to an agent, up to `at_most`."""
    some = (
        select(t.c.id)
        .where(
            t.c.project_id == project_id,
            t.c.direction == "inbound",
            t.c.kind == "text",
            t.c.created_at > since,
        )
        .limit(at_most)
    )
    return await c.scalar(select(func.count()).select_from(some.subquery())) or 0
