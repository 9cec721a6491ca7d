"""Conversations that are over and wait for their analysis: claimed, put off, kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.analysis import Analysing
from textback.core.engine import AnalysisRequest
from textback.core.ids import AgentId, ConversationId, ProjectId
from textback.db.agents import ANALYSIS
from textback.db.tables import agent_versions, projects, turns
from textback.db.tables import conversations as t
from textback.db.tenants import POLICY
from textback.db.thinking import AnyRow, transcript


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
            t.c.metadata.label("extra"),
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


async def _begin(c: AsyncConnection, row: AnyRow, *, now: datetime, margin: timedelta) -> Analysing:
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
            transcript=await transcript(c, conversation_id),
            ended=row.reason,
            wanted=ANALYSIS.validate_python(row.wanted),
            metadata=dict(row.extra),
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
