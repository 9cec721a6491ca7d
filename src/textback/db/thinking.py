"""A turn that begins: what was said so far, for the engine to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

from sqlalchemy import Row, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import budget, rich
from textback.core.budget import Reached, Spent
from textback.core.engine import Earlier, Role, Said, ToolCall, ToolResult
from textback.core.ids import AgentId, ConversationId, MessageId, ProjectId, TurnId
from textback.core.phone import Channel, channel
from textback.core.policy import Budget, ProjectPolicy
from textback.db import usage
from textback.db.tables import agent_versions, conversations, messages, projects, tool_calls
from textback.db.tables import turns as t
from textback.db.tenants import POLICY

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

MOST_CALLS = 50
"""Of a conversation's latest calls of tools, those that an engine is told."""

LAST_SAID = 10
"""Of an earlier conversation, the texts that an engine is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A turn that a worker holds until `lease_until`."""

    id: TurnId
    run: int
    conversation_id: ConversationId
    project_id: ProjectId
    channel: Channel
    agent_id: AgentId
    agent_version: int
    opener_id: MessageId | None
    lease_until: datetime
    upto_seq: int
    attempts: int
    restarts: int
    transcript: Sequence[Said]
    heard: str
    metadata: Mapping[str, object]
    variables: Mapping[str, object]
    objective: str | None
    start_node: str | None
    state: Mapping[str, object]
    calls: Sequence[ToolCall]
    earlier: Sequence[Earlier]
    policy: ProjectPolicy = field(repr=False)
    reached: Reached | None
    """The budget that keeps it from its engine."""
    begun_at: datetime


async def begin(
    c: AsyncConnection, turn_id: TurnId, *, now: datetime, lease: timedelta
) -> Thinking:
    """Hand the turn, which the caller has locked, to an engine."""
    talk = await _talk(c, turn_id)
    said = await _said(c, talk.id)
    # Not those kept unanswered: an operator may yet have them answered.
    upto = max((row.seq for row in said if row.kind == "text"), default=0)
    lease_until = now + lease
    policy = POLICY.validate_python(talk.policy)
    await c.execute(
        update(t)
        .where(t.c.id == turn_id)
        .values(
            state="thinking",
            due_at=None,
            lease_until=lease_until,
            upto_seq=upto,
            attempts=talk.attempts + 1,
            run=talk.run + 1,
        )
    )
    return Thinking(
        id=turn_id,
        run=talk.run + 1,
        conversation_id=ConversationId(talk.id),
        project_id=ProjectId(talk.project_id),
        channel=channel(talk.user_number),
        agent_id=AgentId(talk.agent_id),
        agent_version=talk.agent_version,
        opener_id=None if talk.opener_id is None else MessageId(talk.opener_id),
        lease_until=lease_until,
        upto_seq=upto,
        attempts=talk.attempts + 1,
        restarts=talk.restarts,
        transcript=[as_said(row) for row in said],
        heard="\n".join(
            row.text for row in said if row.kind == "text" and row.seq > talk.heard_seq
        ),
        metadata=dict(talk.extra),
        variables=dict(talk.variables),
        objective=talk.objective,
        start_node=talk.start_node,
        state=dict(talk.engine_state),
        calls=await _calls(c, talk.id),
        earlier=await _earlier(c, talk) if talk.earlier else (),
        policy=policy,
        reached=await _reached(c, talk, policy, now=now),
        begun_at=now,
    )


def as_said(row: AnyRow) -> Said:
    """From a row of messages: what `_said` selects."""
    ours: Role = "person" if row.kind == "person" else "agent"
    role: Role = "user" if row.direction == "inbound" else ours
    text = rich.marked(row.text, row.media, row.user_number)
    return Said(seq=row.seq, role=role, text=text, at=row.created_at, media=row.media)


async def _talk(c: AsyncConnection, turn_id: TurnId) -> AnyRow:
    talk, version = conversations.c, agent_versions.c
    return (
        await c.execute(
            select(
                talk.id,
                talk.project_id,
                talk.agent_id,
                talk.agent_version,
                talk.user_number,
                talk.opened_at,
                talk.heard_seq,
                talk.metadata.label("extra"),
                talk.variables,
                talk.objective,
                talk.start_node,
                talk.engine_state,
                talk.turns_taken,
                talk.tokens_used,
                talk.cost_usd,
                t.c.opener_id,
                t.c.attempts,
                t.c.run,
                t.c.restarts,
                version.earlier,
                projects.c.policy,
            )
            .join(t, t.c.conversation_id == talk.id)
            .join(
                agent_versions,
                (version.agent_id == talk.agent_id) & (version.number == talk.agent_version),
            )
            .join(projects, projects.c.id == talk.project_id)
            .where(t.c.id == turn_id)
        )
    ).one()


async def _reached(
    c: AsyncConnection, talk: AnyRow, policy: ProjectPolicy, *, now: datetime
) -> Reached | None:
    day = Spent()
    if policy.budgets.day != Budget():
        today = budget.day_of(now, policy.timezone)
        day = await usage.of_day(c, ProjectId(talk.project_id), today)
    spent = Spent(turns=talk.turns_taken, tokens=talk.tokens_used, cost_usd=talk.cost_usd)
    return budget.reached(
        policy.budgets, conversation=spent, day=day, now=now, timezone=policy.timezone
    )


async def _said(
    c: AsyncConnection, conversation_id: str, *, last: int | None = None
) -> Sequence[AnyRow]:
    """What was said, oldest first; `last`: only so many of its latest texts."""
    m = messages.c
    rows = await c.execute(
        select(m.seq, m.direction, m.kind, m.user_number, m.text, m.created_at, m.media)
        .where(
            m.conversation_id == conversation_id,
            m.kind.not_in(["keyword", "notice"]),
            m.state.not_in(["suppressed", "failed"]),
            or_(m.direction == "inbound", m.text != ""),  # written by now
        )
        .order_by(m.seq.desc())
        .limit(last)
    )
    return rows.all()[::-1]


async def transcript(c: AsyncConnection, conversation_id: ConversationId) -> list[Said]:
    return [as_said(row) for row in await _said(c, conversation_id)]


async def _calls(c: AsyncConnection, conversation_id: str) -> list[ToolCall]:
    rows = await c.execute(
        select(tool_calls)
        .where(tool_calls.c.conversation_id == conversation_id)
        .order_by(tool_calls.c.seq.desc())
        .limit(MOST_CALLS)
    )
    return [
        ToolCall(
            call_id=row.id,
            turn_id=row.turn_id,
            name=row.name,
            arguments=row.arguments,
            at=row.began_at,
            result=None if row.ended_at is None else ToolResult(row.result, row.failed),
        )
        for row in rows.all()[::-1]
    ]


async def _earlier(c: AsyncConnection, talk: AnyRow) -> list[Earlier]:
    rows = await c.execute(
        select(conversations.c.id, conversations.c.closed_at, conversations.c.analysis)
        .where(
            conversations.c.project_id == talk.project_id,
            conversations.c.user_number == talk.user_number,
            conversations.c.id != talk.id,
            conversations.c.opened_at <= talk.opened_at,
            conversations.c.state == "closed",
        )
        .order_by(conversations.c.opened_at.desc())
        .limit(talk.earlier)
    )
    return [
        Earlier(
            ended_at=row.closed_at,
            summary=cast("dict[str, str | None]", row.analysis or {}).get("summary"),
            transcript=[as_said(said) for said in await _said(c, row.id, last=LAST_SAID)],
        )
        for row in rows.all()
    ]
