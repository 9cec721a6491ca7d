"""A turn that begins: what was said so far, for the engine to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, Final, TypeAlias, cast

from pydantic_core import to_json
from sqlalchemy import ARRAY, Row, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import budget, rich
from textback.core.budget import Reached, Spent
from textback.core.engine import Earlier, Role, Said, ToolCall, ToolResult
from textback.core.ids import AgentId, ConversationId, MessageId, ProjectId, TurnId
from textback.core.phone import Channel, channel
from textback.core.policy import Budget, ProjectPolicy
from textback.db import usage
from textback.db.tables import agent_versions, conversations, projects
from textback.db.tables import turns as t
from textback.db.tenants import POLICY

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

# Put together once: SQLAlchemy takes longer over each than Postgres does (ADR 34).
_talk, _version = conversations.c, agent_versions.c
_TALKS: Final = (
    select(
        _talk.id,
        _talk.project_id,
        _talk.agent_id,
        _talk.agent_version,
        _talk.user_number,
        _talk.opened_at,
        _talk.heard_seq,
        _talk.metadata.label("extra"),
        _talk.variables,
        _talk.objective,
        _talk.start_node,
        _talk.engine_state,
        _talk.turns_taken,
        _talk.tokens_used,
        _talk.cost_usd,
        t.c.id.label("turn_id"),
        t.c.opener_id,
        t.c.attempts,
        t.c.run,
        t.c.restarts,
        _version.earlier,
        projects.c.policy,
    )
    .join(t, t.c.conversation_id == _talk.id)
    .join(
        agent_versions,
        (_version.agent_id == _talk.agent_id) & (_version.number == _talk.agent_version),
    )
    .join(projects, projects.c.id == _talk.project_id)
    .where(t.c.id == func.any(bindparam("ids", type_=ARRAY(Text))))
)
_SAID: Final = text("""
    select said.* from unnest(cast(:ids as text[])) with ordinality as i(id, place)
    cross join lateral (
        select conversation_id, seq, direction, kind, user_number, text, created_at, media
        from messages
        where conversation_id = i.id and kind not in ('keyword', 'notice')
            and state not in ('suppressed', 'failed')
            and (direction = 'inbound' or text <> '')  -- written by now
        order by seq desc
        limit :last
    ) as said
    order by i.place, said.seq
""").columns(media=JSONB)
_CALLS: Final = text("""
    select call.* from unnest(cast(:ids as text[])) as i(id)
    cross join lateral (
        select * from tool_calls where conversation_id = i.id order by seq desc limit :last
    ) as call
    order by call.seq
""").columns(arguments=JSONB)
_BEGIN: Final = text("""
    update turns t set state = 'thinking', due_at = null, lease_until = :lease_until,
        upto_seq = n.upto, attempts = t.attempts + 1, run = t.run + 1
    from jsonb_to_recordset(cast(:rows as jsonb)) as n(id text, upto bigint)
    where t.id = n.id and n.id || '' = n.id  -- seems to be few: so each is looked up by itself
""")

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
    c: AsyncConnection, turn_ids: Sequence[TurnId], *, now: datetime, lease: timedelta
) -> list[Thinking]:
    """Hand these turns, which the caller has locked, to their engines; in the order given."""
    if not turn_ids:
        return []
    talks = await _talks(c, turn_ids)
    ids = [talk.id for talk in talks.values()]
    said, calls = await _said(c, ids), await _calls(c, ids)
    begun = [
        await _begun(c, talks[t_id], said=said, calls=calls, now=now, lease=lease)
        for t_id in turn_ids
    ]
    rows = [{"id": each.id, "upto": each.upto_seq} for each in begun]
    given = {"rows": to_json(rows).decode(), "lease_until": now + lease}
    await c.execute(_BEGIN, given)
    return begun


async def _begun(
    c: AsyncConnection,
    talk: AnyRow,
    *,
    said: Mapping[str, Sequence[AnyRow]],
    calls: Mapping[str, Sequence[ToolCall]],
    now: datetime,
    lease: timedelta,
) -> Thinking:
    texts = said.get(talk.id, ())
    policy = POLICY.validate_python(talk.policy)
    return Thinking(
        id=TurnId(talk.turn_id),
        run=talk.run + 1,
        conversation_id=ConversationId(talk.id),
        project_id=ProjectId(talk.project_id),
        channel=channel(talk.user_number),
        agent_id=AgentId(talk.agent_id),
        agent_version=talk.agent_version,
        opener_id=None if talk.opener_id is None else MessageId(talk.opener_id),
        lease_until=now + lease,
        # Not those kept unanswered: an operator may yet have them answered.
        upto_seq=max((row.seq for row in texts if row.kind == "text"), default=0),
        attempts=talk.attempts + 1,
        restarts=talk.restarts,
        transcript=[as_said(row) for row in texts],
        heard="\n".join(
            row.text for row in texts if row.kind == "text" and row.seq > talk.heard_seq
        ),
        metadata=dict(talk.extra),
        variables=dict(talk.variables),
        objective=talk.objective,
        start_node=talk.start_node,
        state=dict(talk.engine_state),
        calls=calls.get(talk.id, ()),
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


async def _talks(c: AsyncConnection, turn_ids: Sequence[TurnId]) -> dict[TurnId, AnyRow]:
    rows = await c.execute(_TALKS, {"ids": list(turn_ids)})
    return {TurnId(row.turn_id): row for row in rows}


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
    c: AsyncConnection, conversation_ids: Sequence[str], *, last: int | None = None
) -> dict[str, Sequence[AnyRow]]:
    """What was said in each, oldest first; `last`: only so many of its latest texts."""
    found = dict[str, Sequence[AnyRow]]()
    rows = await c.execute(_SAID, {"ids": list(conversation_ids), "last": last})
    for conversation_id, texts in groupby(rows.all(), lambda row: row.conversation_id):
        found[conversation_id] = list(texts)
    return found


async def transcript(c: AsyncConnection, conversation_id: ConversationId) -> list[Said]:
    said = await _said(c, [conversation_id])
    return [as_said(row) for row in said.get(conversation_id, ())]


async def _calls(
    c: AsyncConnection, conversation_ids: Sequence[str]
) -> dict[str, Sequence[ToolCall]]:
    found = dict[str, list[ToolCall]]()
    for row in await c.execute(_CALLS, {"ids": list(conversation_ids), "last": MOST_CALLS}):
        call = ToolCall(
            call_id=row.id,
            turn_id=row.turn_id,
            name=row.name,
            arguments=row.arguments,
            at=row.began_at,
            result=None if row.ended_at is None else ToolResult(row.result, row.failed),
        )
        found.setdefault(row.conversation_id, []).append(call)
    return {**found}


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
    earlier = rows.all()
    said = await _said(c, [row.id for row in earlier], last=LAST_SAID)
    return [
        Earlier(
            ended_at=row.closed_at,
            summary=cast("dict[str, str | None]", row.analysis or {}).get("summary"),
            transcript=[as_said(text) for text in said.get(row.id, ())],
        )
        for row in earlier
    ]
