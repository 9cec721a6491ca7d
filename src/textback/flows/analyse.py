"""A conversation that is over -> its agent's engine -> what was made of it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import analysis as rule
from textback.core import budget
from textback.core.analysis import Analysing
from textback.core.budget import Spent
from textback.core.engine import Analysis, TurnFailed
from textback.core.events import Event
from textback.core.ids import AgentId
from textback.db import analyses, events, usage
from textback.db.session import transaction

Outcome = Literal["analysed", "put_off", "not_analysed"]

MOST_ATTEMPTS = len(rule.WAITS) + 1
"""One that kills its worker so often is not tried again either."""


async def claim(
    db: AsyncEngine,
    *,
    margin: timedelta,
    limit: int,
    except_agents: Sequence[AgentId] = (),
    now: datetime,
) -> tuple[list[Analysing], datetime | None]:
    async with transaction(db) as c:
        found = await analyses.claim_due(
            c, now=now, margin=margin, limit=limit, except_agents=except_agents
        )
        due = [held for held in found if await _is_paid_for(c, held, now=now)]
        upcoming = None if found else await analyses.next_due(c, now=now)
    return due, upcoming


async def record(
    db: AsyncEngine, held: Analysing, answer: Analysis | TurnFailed, *, now: datetime
) -> Outcome | None:
    """Keep a usable answer, or that there is none; None when the lease was lost.

    Raises Unavailable: then the caller still has the answer and must try again.
    """
    async with transaction(db) as c:
        outcome = await _record(c, held, answer, now=now)
        if outcome is not None:
            used, asked = answer.usage, held.request
            spent = budget.spent(used, turns=0)
            day = budget.day_of(now, asked.timezone)
            await usage.add(c, asked.conversation_id, asked.project_id, spent, day=day)
    return outcome


async def give_back(db: AsyncEngine, held: Analysing, *, now: datetime) -> None:
    """This worker is stopping before the engine answered: another one tries."""
    async with transaction(db) as c:
        await analyses.put_off(c, held, attempts=held.attempts - 1, until=now)


async def _is_paid_for(c: AsyncConnection, held: Analysing, *, now: datetime) -> bool:
    """Else it waits until the project has a budget again."""
    asked = held.request
    spent = await usage.of_day(c, asked.project_id, budget.day_of(now, asked.timezone))
    reached = budget.reached(
        held.budgets, conversation=Spent(), day=spent, now=now, timezone=asked.timezone
    )
    if reached is None or reached.until is None:
        return True
    await analyses.put_off(c, held, attempts=held.attempts - 1, until=reached.until)
    return False


async def _record(
    c: AsyncConnection, held: Analysing, answer: Analysis | TurnFailed, *, now: datetime
) -> Outcome | None:
    at = now.isoformat()
    if isinstance(answer, Analysis):
        found = {
            "summary": answer.summary,
            "values": None if answer.values is None else dict(answer.values),
            "outcome": answer.outcome,
            "at": at,
        }
        if not await analyses.keep(c, held, found):
            return None
        await _tell(c, held, "conversation.analysed", {"outcome": answer.outcome}, now=now)
        return "analysed"
    again_at = rule.again_at(held.attempts, now=now)
    if again_at is not None:
        kept = await analyses.put_off(c, held, attempts=held.attempts, until=again_at)
        return "put_off" if kept else None
    if not await analyses.keep(c, held, {"error": answer.reason, "at": at}):
        return None
    await _tell(c, held, "conversation.not_analysed", {"why": answer.reason}, now=now)
    return "not_analysed"


async def _tell(
    c: AsyncConnection,
    held: Analysing,
    kind: Literal["conversation.analysed", "conversation.not_analysed"],
    data: dict[str, object],
    *,
    now: datetime,
) -> None:
    event = Event(kind=kind, conversation_id=held.request.conversation_id, data=data)
    await events.append(c, [event], now=now)
