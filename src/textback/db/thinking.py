"""A turn that begins: what was said so far, for the engine to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final, cast

from asyncpg import Record
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import budget, rich
from textback.core.budget import Reached, Spent
from textback.core.engine import Earlier, Role, Said, ToolCall, ToolResult
from textback.core.frozen import frozen
from textback.core.ids import AgentId, ConversationId, MessageId, ProjectId, TurnId
from textback.core.phone import Channel, channel
from textback.core.policy import Budget, ProjectPolicy
from textback.db import usage
from textback.db.driver import Statement
from textback.db.tables import conversations
from textback.db.tenants import policy_of

# Planned once for each connection, and often while its tables are small: so all but the due turns,
# which are never many, is found one by one, however the tables grow.
_CLAIM: Final = Statement("""
    with due as materialized (
        select t.id, t.conversation_id, t.opener_id, t.attempts, t.run, t.restarts, t.due_at
        from turns t
        cross join lateral (
            select agent_id from conversations where id = t.conversation_id order by id limit 1
        ) c
        where t.state = 'waiting' and t.due_at <= :now and c.agent_id <> all(cast(:but as text[]))
            and coalesce((
                select true from turns other
                where other.conversation_id = t.conversation_id
                    and other.state in ('thinking', 'awaiting')
                order by other.conversation_id limit 1
            ), false) is false
        order by t.due_at
        limit :limit
        for update of t skip locked
    )
    select due.id as turn_id, due.opener_id, due.attempts, due.run, due.restarts, c.*, v.earlier,
        cast(p.policy as text) as policy, exists (
            select from tool_calls where conversation_id = due.conversation_id
        ) as has_calls
    from due
    cross join lateral (
        select id, project_id, agent_id, agent_version, user_number, opened_at, heard_seq,
            metadata, variables, objective, start_node, engine_state, turns_taken, tokens_used,
            cost_usd
        from conversations where id = due.conversation_id
        order by id limit 1
    ) c
    join agent_versions v on v.agent_id = c.agent_id and v.number = c.agent_version
    join projects p on p.id = c.project_id
    order by due.due_at
""")
_SAID_IN: Final = """
    select said.* from unnest(cast(:ids as text[])) with ordinality as i(id, place)
    cross join lateral (
        select conversation_id, seq, direction, kind, user_number, text, created_at, media
        from messages
        where conversation_id = i.id and kind not in ('keyword', 'notice')
            and state not in ('suppressed', 'failed')
            and (direction = 'inbound' or text <> '')  -- written by now
        order by seq desc
        limit cast(:last as bigint)
    ) as said
    order by i.place, said.seq
"""
_SAID: Final = Statement(_SAID_IN)
_CALLS: Final = Statement("""
    select call.* from unnest(cast(:ids as text[])) as i(id)
    cross join lateral (
        select * from tool_calls where conversation_id = i.id order by seq desc limit :last
    ) as call
    order by call.seq
""")
# What they are to answer is asked with the turns locked: until then, a text may join its turn. Not
# those kept unanswered count: an operator may yet have them answered.
_BEGIN: Final = Statement(f"""
    with begun as (
        update turns t set state = 'thinking', due_at = null, lease_until = :lease_until,
            attempts = t.attempts + 1, run = t.run + 1, upto_seq = coalesce((
                select seq from messages where conversation_id = t.conversation_id
                    and kind = 'text' and state not in ('suppressed', 'failed')
                order by seq desc limit 1
            ), 0)
        from unnest(cast(:turns as text[])) as n(id)
        where t.id = n.id and n.id || '' = n.id  -- seems to be few: so each is looked up by itself
    )
    {_SAID_IN}
""")  # noqa: S608 - our own words

MOST_CALLS = 50
"""Of a conversation's latest calls of tools, those that an engine is told."""

LAST_SAID = 10
"""Of an earlier conversation, the texts that an engine is told."""


@frozen
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


async def claim(
    c: AsyncConnection,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    except_agents: Sequence[AgentId] = (),
) -> list[Thinking]:
    """Take up to `limit` due turns, each with all that its engine needs.

    Whoever thinks for longer than `lease` has to renew it.
    """
    due = await _CLAIM.rows(c, now=now, but=list(except_agents), limit=limit)
    if not due:
        return []
    given = {"turns": [talk["turn_id"] for talk in due], "ids": [talk["id"] for talk in due]}
    said = _by_talk(await _BEGIN.rows(c, **given, last=None, lease_until=now + lease))
    calls = await _calls(c, [talk["id"] for talk in due if talk["has_calls"]])
    return [await _begun(c, talk, said=said, calls=calls, now=now, lease=lease) for talk in due]


async def _begun(
    c: AsyncConnection,
    talk: Record,
    *,
    said: Mapping[str, Sequence[Record]],
    calls: Mapping[str, Sequence[ToolCall]],
    now: datetime,
    lease: timedelta,
) -> Thinking:
    texts = said.get(talk["id"], ())
    policy = policy_of(talk["policy"])
    return Thinking(
        id=TurnId(talk["turn_id"]),
        run=talk["run"] + 1,
        conversation_id=ConversationId(talk["id"]),
        project_id=ProjectId(talk["project_id"]),
        channel=channel(talk["user_number"]),
        agent_id=AgentId(talk["agent_id"]),
        agent_version=talk["agent_version"],
        opener_id=None if talk["opener_id"] is None else MessageId(talk["opener_id"]),
        lease_until=now + lease,
        upto_seq=max((row["seq"] for row in texts if row["kind"] == "text"), default=0),
        attempts=talk["attempts"] + 1,
        restarts=talk["restarts"],
        transcript=[_as_said(row) for row in texts],
        heard="\n".join(
            row["text"] for row in texts if row["kind"] == "text" and row["seq"] > talk["heard_seq"]
        ),
        metadata=talk["metadata"],
        variables=talk["variables"],
        objective=talk["objective"],
        start_node=talk["start_node"],
        state=talk["engine_state"],
        calls=calls.get(talk["id"], ()),
        earlier=await _earlier(c, talk) if talk["earlier"] else (),
        policy=policy,
        reached=await _reached(c, talk, policy, now=now),
        begun_at=now,
    )


def _as_said(row: Record) -> Said:
    """From a row of `_said`."""
    ours: Role = "person" if row["kind"] == "person" else "agent"
    role: Role = "user" if row["direction"] == "inbound" else ours
    text = rich.marked(row["text"], row["media"], row["user_number"])
    return Said(seq=row["seq"], role=role, text=text, at=row["created_at"], media=row["media"])


async def _reached(
    c: AsyncConnection, talk: Record, policy: ProjectPolicy, *, now: datetime
) -> Reached | None:
    day = Spent()
    if policy.budgets.day != Budget():
        today = budget.day_of(now, policy.timezone)
        day = await usage.of_day(c, ProjectId(talk["project_id"]), today)
    spent = Spent(turns=talk["turns_taken"], tokens=talk["tokens_used"], cost_usd=talk["cost_usd"])
    return budget.reached(
        policy.budgets, conversation=spent, day=day, now=now, timezone=policy.timezone
    )


async def _said(
    c: AsyncConnection, conversation_ids: Sequence[str], *, last: int | None = None
) -> dict[str, Sequence[Record]]:
    """What was said in each, oldest first; `last`: only so many of its latest texts."""
    return _by_talk(await _SAID.rows(c, ids=list(conversation_ids), last=last))


def _by_talk(rows: Sequence[Record]) -> dict[str, Sequence[Record]]:
    found = dict[str, Sequence[Record]]()
    for conversation_id, texts in groupby(rows, lambda row: row["conversation_id"]):
        found[conversation_id] = list(texts)
    return found


async def transcript(c: AsyncConnection, conversation_id: ConversationId) -> list[Said]:
    said = await _said(c, [conversation_id])
    return [_as_said(row) for row in said.get(conversation_id, ())]


async def _calls(
    c: AsyncConnection, conversation_ids: Sequence[str]
) -> dict[str, Sequence[ToolCall]]:
    found = dict[str, list[ToolCall]]()
    if not conversation_ids:
        return {}
    for row in await _CALLS.rows(c, ids=list(conversation_ids), last=MOST_CALLS):
        call = ToolCall(
            call_id=row["id"],
            turn_id=row["turn_id"],
            name=row["name"],
            arguments=row["arguments"],
            at=row["began_at"],
            result=None if row["ended_at"] is None else ToolResult(row["result"], row["failed"]),
        )
        found.setdefault(row["conversation_id"], []).append(call)
    return {**found}


async def _earlier(c: AsyncConnection, talk: Record) -> list[Earlier]:
    rows = await c.execute(
        select(conversations.c.id, conversations.c.closed_at, conversations.c.analysis)
        .where(
            conversations.c.project_id == talk["project_id"],
            conversations.c.user_number == talk["user_number"],
            conversations.c.id != talk["id"],
            conversations.c.opened_at <= talk["opened_at"],
            conversations.c.state == "closed",
        )
        .order_by(conversations.c.opened_at.desc())
        .limit(talk["earlier"])
    )
    earlier = rows.all()
    said = await _said(c, [row.id for row in earlier], last=LAST_SAID)
    return [
        Earlier(
            ended_at=row.closed_at,
            summary=cast("dict[str, str | None]", row.analysis or {}).get("summary"),
            transcript=[_as_said(text) for text in said.get(row.id, ())],
        )
        for row in earlier
    ]
