"""Conversations that were held with an agent, for another version to be tried on them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

from sqlalchemy import Row, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.engine import Earlier
from textback.core.frozen import frozen
from textback.core.ids import AgentId, ConversationId
from textback.db.tables import (
    agent_versions,
    conversations,
    events,
    messages,
    projects,
    tool_calls,
    turns,
)
from textback.db.tenants import POLICY
from textback.db.thinking import LAST_SAID, transcript

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

ANSWERED = ("answered", "silent", "failed")
"""Outcomes of turns whose answers counted."""


@frozen
class Held:
    """A conversation, with the rows of its texts, turns, calls and hand-overs, oldest first."""

    talk: AnyRow
    timezone: str
    texts: Sequence[AnyRow]
    turns: Sequence[AnyRow]
    calls: Sequence[AnyRow]
    handed_off: Sequence[AnyRow]
    earlier: Sequence[Earlier]
    """As many as the version was told of, newest first."""


async def ids(
    c: AsyncConnection, agent_id: AgentId, *, limit: int, since: datetime | None
) -> list[str]:
    """Of the latest with a turn that an engine answered, oldest first."""
    t = conversations.c
    answered = exists().where(turns.c.conversation_id == t.id, turns.c.outcome.in_(ANSWERED))
    query = select(t.id).where(t.agent_id == agent_id, answered)
    if since is not None:
        query = query.where(t.opened_at >= since)
    found = await c.scalars(query.order_by(t.opened_at.desc(), t.id.desc()).limit(limit))
    return list(found.all())[::-1]


async def held(c: AsyncConnection, conversation_id: str) -> Held:
    """All of one conversation that an engine could know or did."""
    t, m = conversations.c, messages.c
    talk = (
        await c.execute(
            select(
                t.id,
                t.project_id,
                t.opened_at,
                t.agent_id,
                t.agent_version,
                agent_versions.c.earlier,
                t.agent_number,
                t.user_number,
                t.objective,
                t.variables,
                t.start_node,
                t.metadata.label("extra"),
                t.reason,
                t.closed_at,
                projects.c.policy,
            )
            .join(projects, projects.c.id == t.project_id)
            .join(
                agent_versions,
                (agent_versions.c.agent_id == t.agent_id)
                & (agent_versions.c.number == t.agent_version),
            )
            .where(t.id == conversation_id)
        )
    ).one()
    texts = await c.execute(
        select(m.id, m.seq, m.direction, m.kind, m.text, m.created_at)
        .where(
            m.conversation_id == conversation_id,
            m.kind.not_in(["keyword", "notice"]),
            or_(m.direction == "inbound", m.text != ""),
        )
        .order_by(m.seq)
    )
    rows = await c.execute(
        select(turns.c.id, turns.c.opener_id, turns.c.upto_seq, turns.c.ended_at, turns.c.outcome)
        .where(turns.c.conversation_id == conversation_id, turns.c.outcome.in_(ANSWERED))
        .order_by(turns.c.ended_at, turns.c.id)
    )
    calls = await c.execute(
        select(tool_calls)
        .where(tool_calls.c.conversation_id == conversation_id)
        .order_by(tool_calls.c.seq)
    )
    handed_off = await c.execute(
        select(events.c.at, events.c.data)
        .where(
            events.c.conversation_id == conversation_id,
            events.c.kind == "conversation.handed_off",
        )
        .order_by(events.c.id)
    )
    policy = POLICY.validate_python(cast("object", talk.policy))
    return Held(
        talk=talk,
        timezone=policy.timezone,
        texts=texts.all(),
        turns=rows.all(),
        calls=calls.all(),
        handed_off=handed_off.all(),
        earlier=await _earlier(c, talk) if talk.earlier else (),
    )


async def _earlier(c: AsyncConnection, talk: AnyRow) -> list[Earlier]:
    t = conversations.c
    rows = await c.execute(
        select(t.id, t.closed_at, t.analysis)
        .where(
            t.project_id == talk.project_id,
            t.user_number == talk.user_number,
            t.id != talk.id,
            t.closed_at <= talk.opened_at,
        )
        .order_by(t.opened_at.desc())
        .limit(talk.earlier)
    )
    return [
        Earlier(
            ended_at=row.closed_at,
            summary=cast("dict[str, str | None]", row.analysis or {}).get("summary"),
            transcript=(await transcript(c, ConversationId(row.id)))[-LAST_SAID:],
        )
        for row in rows.all()
    ]
