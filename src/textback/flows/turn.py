"""A due turn -> the agent's engine -> queued replies."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import turn as rule
from textback.core.engine import Engine, TurnFailed, TurnReply, TurnRequest
from textback.core.ids import AgentId
from textback.db import conversations, tenants, turns
from textback.db.session import transaction
from textback.db.thinking import Thinking
from textback.db.turns import Outcome
from textback.flows.reply import Reply

MOST_ATTEMPTS = 5
"""A turn that kills its worker this often is not run again: the fallback is sent instead."""


class Engines(Protocol):
    async def get(self, agent_id: AgentId, version: int) -> "tuple[Engine, str | None]":
        """The engine of that version of the agent, and its fallback text."""
        ...


async def claim(
    db: AsyncEngine,
    *,
    margin: timedelta,
    limit: int,
    except_agents: Sequence[AgentId] = (),
    now: datetime,
) -> tuple[list[Thinking], datetime | None]:
    async with transaction(db) as c:
        due = await turns.claim_due(
            c, now=now, margin=margin, limit=limit, except_agents=except_agents
        )
        upcoming = None if due else await turns.next_due(c, now=now)
    return due, upcoming


def request(turn: Thinking) -> TurnRequest:
    return TurnRequest(
        turn_id=turn.id,
        conversation_id=turn.conversation_id,
        agent_id=turn.agent_id,
        project_id=turn.project_id,
        transcript=turn.transcript,
        heard=turn.heard,
        metadata=turn.metadata,
        run=turn.run,
        variables=turn.variables,
        objective=turn.objective,
        start_node=turn.start_node,
        state=turn.state,
        calls=turn.calls,
        earlier=turn.earlier,
        now=turn.begun_at,
        timezone=turn.policy.timezone,
    )


async def record(
    db: AsyncEngine,
    turn: Thinking,
    answer: TurnReply | TurnFailed,
    *,
    fallback: str | None,
    now: datetime,
) -> Outcome | None:
    """Queue what the agent said, if it may still be said; None when the lease was lost.

    Raises Unavailable: then the caller still has the answer and must try again.
    """
    async with transaction(db) as c:
        conversation = await conversations.lock(c, turn.conversation_id)
        if conversation is None:
            return None
        project = await tenants.get_project(c, turn.project_id)
        reply = Reply(c, turn, conversation, project, now)
        return await reply.take(rule.usable(answer), fallback)


async def give_back(db: AsyncEngine, turn: Thinking, *, due_at: datetime) -> None:
    """This worker is stopping before the engine answered: another one runs the turn."""
    async with transaction(db) as c:
        await conversations.lock(c, turn.conversation_id)
        await turns.give_back(c, turn, due_at=due_at)


async def rescue(db: AsyncEngine, *, limit: int, now: datetime) -> int:
    async with transaction(db) as c:
        return await turns.leases_run_out(c, now=now, limit=limit)
