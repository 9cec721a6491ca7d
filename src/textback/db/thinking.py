"""A turn that begins: what was said so far, for the engine to answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import AgentId, ConversationId, MessageId, ProjectId, TurnId
from textback.core.ports import Said
from textback.db.tables import agents, conversations, messages
from textback.db.tables import turns as t


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


async def begin(
    c: AsyncConnection,
    turn_id: TurnId,
    opener_id: str | None,
    attempts: int,
    *,
    now: datetime,
    margin: timedelta,
) -> Thinking:
    """Hand the turn, which the caller has locked, to an engine."""
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
    # Not those kept unanswered: an operator may yet have them answered.
    upto = max((row.seq for row in said if row.kind == "text"), default=0)
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
