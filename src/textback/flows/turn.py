"""A due turn -> the agent's engine -> queued replies."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import metrics, tracing
from textback.core import budget
from textback.core import turn as rule
from textback.core.engine import (
    NOTHING,
    Engine,
    Journal,
    Later,
    Notebook,
    TurnFailed,
    TurnReply,
    TurnRequest,
)
from textback.core.frozen import frozen
from textback.core.ids import AgentId, ConversationId, MessageId, TurnId
from textback.core.turn import Recorded
from textback.db import agents, answering, conversations, thinking, turns, under_way, usage
from textback.db.session import transaction
from textback.db.thinking import Thinking
from textback.flows.answers import Answers, is_ours
from textback.flows.reply import Reply
from textback.flows.saying import Saying

MOST_ATTEMPTS = 5
"""A turn that kills its worker this often is not run again: the fallback is sent instead."""

Late: TypeAlias = Literal["recorded", "late", "unknown"] | TurnFailed


@frozen(kw_only=False)
class Done:
    """What became of a turn with an answer, and the texts that say it."""

    came: Recorded
    texts: Sequence[MessageId] = ()


class Engines(Protocol):
    async def get(self, agent_id: AgentId, version: int) -> "tuple[Engine, str | None]":
        """The engine of that version of the agent, and its fallback text."""
        ...


async def claim(
    db: AsyncEngine,
    *,
    lease: timedelta,
    limit: int,
    except_agents: Sequence[AgentId] = (),
    now: datetime,
) -> tuple[list[Thinking], datetime | None]:
    first = await turns.first_due(db)  # most often none is due: whatever is new has to wait first
    if first is None or first > now:
        return [], first
    async with transaction(db) as c:
        due = await thinking.claim(
            c, now=now, lease=lease, limit=limit, except_agents=except_agents
        )
        upcoming = None if due else await turns.next_due(c, now=now)
    return due, upcoming


def without_asking(turn: Thinking) -> TurnFailed | None:
    """What comes of a turn that its engine is not to be asked for; None: it is."""
    if turn.reached is not None:
        return TurnFailed(turn.reached.why)
    if turn.attempts > MOST_ATTEMPTS:
        return TurnFailed(f"{turn.attempts - 1} workers died over it")
    return None


def request(
    turn: Thinking, *, journal: Journal | None = None, reply_url: str | None = None
) -> TurnRequest:
    return TurnRequest(
        turn_id=turn.id,
        conversation_id=turn.conversation_id,
        agent_id=turn.agent_id,
        project_id=turn.project_id,
        channel=turn.channel,
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
        reply_url=reply_url,
        traceparent=tracing.current(),
        journal=journal or Notebook(turn.id, at=turn.begun_at),
    )


async def record(
    db: AsyncEngine,
    turn: Thinking,
    answer: TurnReply | Later | TurnFailed,
    *,
    fallback: str | None,
    together: Answers | None = None,
    now: datetime,
) -> Done | None:
    """Queue what the agent said, if it may still be said; None when the lease was lost.

    It may not when the user said more meanwhile: then the turn waits to run again, with all of it.
    `together`: with what other agents say at the same time. Raises Unavailable: then the caller
    still has the answer and must try again.
    """
    usable, together = rule.usable(answer), together or Answers(db)
    if isinstance(usable, TurnReply) and without_asking(turn) is None:
        said = await together.write(turn, usable, now=now)
        if said is not None:
            _meter(usable, said, "answered", now=now)
            return Done("answered", said.texts)
    async with transaction(db) as c:
        reply = await _open(c, turn.conversation_id, turn.id, now=now)
        if reply is None or not is_ours(reply.turn, turn):
            await _count_lost(c, turn, usable, now=now)
            return None
        reply.fallback, reply.reached = fallback, turn.reached
        reply.asked = without_asking(turn) is None
        recorded = await reply.take(usable)
    _meter(usable, reply, recorded, now=now)
    return Done(recorded, reply.texts)


async def await_answer(
    db: AsyncEngine, turn: Thinking, *, within: timedelta, now: datetime
) -> Recorded | None:
    """The answer will be posted later: `answer_later` takes it, until `within` is over.

    Bounded by 1 s and 24 h. None when the lease was lost, or the answer was there first.
    Raises Unavailable.
    """
    done = await record(db, turn, Later(within=within), fallback=None, now=now)
    return None if done is None else done.came


async def answer_later(
    db: AsyncEngine,
    turn_id: TurnId,
    run: int,
    answer: TurnReply | TurnFailed,
    *,
    now: datetime,
) -> Late:
    """Record an answer that was posted: `late` if the turn ended, runs anew, or waits no longer.

    It may come before the word that it will come. One that cannot be said is not recorded, but
    given back as TurnFailed: a better one may come. Raises Unavailable.
    """
    async with transaction(db) as c:
        conversation_id = await under_way.conversation_of(c, turn_id)
        if conversation_id is None:
            return "unknown"
        reply = await _open(c, conversation_id, turn_id, now=now)
        if reply is None or reply.held.run != run or _is_overdue(reply, now=now):
            return "late"
        usable = rule.usable(answer)
        if isinstance(answer, TurnReply) and (fault := reply.fault(usable)) is not None:
            return fault
        reply.fallback = await _fallback(c, reply)
        recorded = await reply.take(usable)
    _meter(usable, reply, recorded, now=now)
    metrics.TURNS.labels(recorded).inc()
    return "late" if recorded in {"restarted", "dropped"} else "recorded"


async def give_back(db: AsyncEngine, turn: Thinking, *, due_at: datetime) -> None:
    """This worker is stopping before the engine answered: another one runs the turn."""
    async with transaction(db) as c:
        await conversations.lock(c, turn.conversation_id)
        held = await under_way.hold(c, turn.id)
        if held is not None and (held.run, held.state) == (turn.run, "thinking"):
            await under_way.give_back(c, held, due_at=due_at)


async def keep(db: AsyncEngine, runs: Mapping[TurnId, int], *, until: datetime) -> None:
    """Hold on to these turns, each with its run. Raises Unavailable."""
    async with transaction(db) as c:
        await under_way.keep(c, runs, until=until)


async def moot(db: AsyncEngine, runs: Mapping[TurnId, int]) -> list[TurnId]:
    """Of these turns, each with its run, those whose answer will not count: think no further."""
    async with transaction(db) as c:
        return await under_way.moot(c, runs)


async def rescue(db: AsyncEngine, *, limit: int, now: datetime) -> int:
    """Turns whose worker is gone run again, and those whose answer never came fail.

    Gives how many run again.
    """
    async with transaction(db) as c:
        rescued = await under_way.leases_run_out(c, now=now, limit=limit)
        overdue = await under_way.overdue(c, now=now, limit=limit)
    for turn_id, conversation_id in overdue:
        await _give_up(db, turn_id, conversation_id, now=now)
    return rescued


async def _give_up(
    db: AsyncEngine, turn_id: TurnId, conversation_id: ConversationId, *, now: datetime
) -> None:
    async with transaction(db) as c:
        reply = await _open(c, conversation_id, turn_id, now=now)
        if reply is None or not _is_overdue(reply, now=now):
            return
        reply.fallback = await _fallback(c, reply)
        recorded = await reply.take(TurnFailed("its answer was not posted in time"))
    metrics.TURNS.labels(recorded).inc()
    metrics.ENGINE_ERRORS.labels("http", "not_posted").inc()  # no other kind answers later


async def _open(
    c: AsyncConnection, conversation_id: ConversationId, turn_id: TurnId, *, now: datetime
) -> Reply | None:
    found = await answering.hold(c, conversation_id, turn_id)
    return None if found is None else Reply(c=c, turn=found, fallback=None, now=now)


def _is_overdue(reply: Reply, *, now: datetime) -> bool:
    """While it thinks the lease is its worker's: beyond it, the run counts until it is lost."""
    return reply.held.state == "awaiting" and reply.held.lease_until <= now


async def _fallback(c: AsyncConnection, reply: Reply) -> str | None:
    talk = reply.conversation
    agent = await agents.find(c, talk.agent_id, talk.agent_version)
    return None if agent is None else agent.fallback


async def _count_lost(
    c: AsyncConnection, turn: Thinking, answer: TurnReply | Later | TurnFailed, *, now: datetime
) -> None:
    """What it used was used, although nothing of it is said. Call with the conversation locked."""
    used = NOTHING if isinstance(answer, Later) else answer.usage
    if used != NOTHING and await under_way.went_on_without(c, turn.id, turn.run):
        day = budget.day_of(now, turn.policy.timezone)
        spent = budget.spent(used, turns=1)
        await usage.add(c, turn.conversation_id, turn.project_id, spent, day=day)


def _meter(
    answer: TurnReply | Later | TurnFailed, reply: Saying, recorded: Recorded, *, now: datetime
) -> None:
    if recorded in {"answered", "silent", "failed"}:
        metrics.TURN.observe(max(0.0, (now - reply.held.first_text_at).total_seconds()))
    metrics.SEGMENTS_SAVED.inc(reply.saved)
    if not isinstance(answer, Later):
        metrics.TOKENS.labels("input").inc(answer.usage.input_tokens)
        metrics.TOKENS.labels("output").inc(answer.usage.output_tokens)
