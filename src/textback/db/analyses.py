"""Conversations that are over and wait for their analysis: claimed, put off, kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.analysis import Analysing
from textback.core.engine import AnalysisRequest
from textback.core.ids import AgentId, ConversationId, ProjectId
from textback.core.phone import channel
from textback.db.agents import ANALYSIS
from textback.db.tables import agent_versions, messages, projects, turns
from textback.db.tables import conversations as t
from textback.db.tenants import POLICY
from textback.db.thinking import transcript


async def claim_due(
    c: AsyncConnection,
    *,
    now: datetime,
    margin: timedelta,
    limit: int,
    except_agents: Sequence[AgentId] = (),
) -> list[Analysing]:
    """Take up to `limit`, each with all that its engine needs.

    The lease, until which nobody else finds it due, is the engine's own deadline and `margin`.
    """
    version = agent_versions.c
    rows = await c.execute(
        select(
            t,
            t.c.metadata.label("told"),
            version.deadline_seconds,
            version.analysis.label("wanted"),
            projects.c.policy,
        )
        .join(
            agent_versions,
            (version.agent_id == t.c.agent_id) & (version.number == t.c.agent_version),
        )
        .join(projects, projects.c.id == t.c.project_id)
        .where(
            t.c.analysis_due_at <= now,
            t.c.agent_id.not_in(except_agents),
            # Who asked before a newer send took over is answered still.
            ~exists().where(turns.c.conversation_id == t.c.id, turns.c.state != "ended"),
        )
        .order_by(t.c.analysis_due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True, of=t)
    )
    return [await _begin(c, row, now=now, margin=margin) for row in rows.all()]


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    return await c.scalar(select(func.min(t.c.analysis_due_at)).where(t.c.analysis_due_at > now))


async def put_off(c: AsyncConnection, held: Analysing, *, attempts: int, until: datetime) -> bool:
    return await _set(c, held, analysis_due_at=until, analysis_attempts=attempts)


async def keep(c: AsyncConnection, held: Analysing, found: Mapping[str, object]) -> bool:
    return await _set(c, held, analysis_due_at=None, analysis=dict(found))


async def _set(c: AsyncConnection, held: Analysing, **values: object) -> bool:
    """Compare and set: False when the lease ran out and somebody else has taken it."""
    result = await c.execute(
        update(t)
        .where(
            t.c.id == held.request.conversation_id,
            t.c.analysis_due_at == held.lease_until,
            t.c.analysis_attempts == held.attempts,
        )
        .values(**values)
    )
    return result.rowcount == 1


async def _begin(
    c: AsyncConnection, row: Row[*tuple[Any, ...]], *, now: datetime, margin: timedelta
) -> Analysing:
    policy = POLICY.validate_python(row.policy)
    lease_until = now + timedelta(seconds=row.deadline_seconds) + margin
    attempts = row.analysis_attempts + 1
    await c.execute(
        update(t)
        .where(t.c.id == row.id)
        .values(analysis_due_at=lease_until, analysis_attempts=attempts)
    )
    conversation_id = ConversationId(row.id)
    return Analysing(
        request=AnalysisRequest(
            conversation_id=conversation_id,
            agent_id=AgentId(row.agent_id),
            project_id=ProjectId(row.project_id),
            channel=channel(row.user_number),
            transcript=await transcript(c, conversation_id),
            ended=row.reason,
            wanted=ANALYSIS.validate_python(row.wanted),
            metadata=dict(row.told),
            variables=dict(row.variables),
            objective=row.objective,
            state=dict(row.engine_state),
            now=now,
            timezone=policy.timezone,
        ),
        agent_version=row.agent_version,
        attempts=attempts,
        lease_until=lease_until,
        budgets=policy.budgets,
    )


async def ask(c: AsyncConnection, conversation_id: ConversationId, *, now: datetime) -> None:
    """Have it analysed, unless that is so, or is about to be. One that failed is tried anew."""
    there_is_none = or_(t.c.analysis.is_(None), t.c.analysis.has_key("error"))
    await c.execute(
        update(t)
        .where(t.c.id == conversation_id, there_is_none, t.c.analysis_due_at.is_(None))
        .values(analysis_due_at=now, analysis_attempts=0, analysis=None)
    )


async def made(
    c: AsyncConnection, conversation_id: ConversationId
) -> tuple[Mapping[str, Any], int] | None:
    """What was made of it, or why nothing, with the number of its texts; None: not yet."""
    texts = select(func.count()).where(messages.c.conversation_id == t.c.id).scalar_subquery()
    query = select(t.c.analysis, texts).where(t.c.id == conversation_id)
    row = (await c.execute(query.where(t.c.analysis_due_at.is_(None)))).one_or_none()
    return None if row is None or row[0] is None else (row[0], row[1])
