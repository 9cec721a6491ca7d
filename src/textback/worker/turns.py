"""Turns: what users said goes to the agent's engine, and its answer into the queue."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from textback import metrics
from textback.core import turn as rule
from textback.core.engine import TurnFailed
from textback.core.ids import AgentId
from textback.db.thinking import Thinking
from textback.flows import turn
from textback.runtime import Runtime
from textback.worker.loop import Loop, persist

log = structlog.stdlib.get_logger()

ENGINE_GRACE = timedelta(seconds=1)
"""An engine keeps its own deadline; this long after it, it is cut off."""


PER_TEXT = 8
"""Turns at once for each text at once: they mostly wait for an engine, and cost little."""

SHARE = 8
"""An agent that has this part of them under way is left out, and no claim takes more.

So one whose engine hangs has at most a quarter, and the others' users do not wait for it."""


class Turns:
    def __init__(self, rt: Runtime, *, concurrency: int) -> None:
        self.rt = rt
        most = concurrency * PER_TEXT
        self._share = most // SHARE
        self._under_way = Counter[AgentId]()
        self._turns = Loop(
            "turn", self._claim_turns, self._turn, concurrency=most, poll=rt.poll, now=rt.now
        )
        self.loops = (self._turns,)

    def wake(self) -> None:
        self._turns.wake()

    async def _claim_turns(self, limit: int) -> tuple[Sequence[Thinking], datetime | None]:
        now, most = self.rt.now(), min(limit, self._share)
        full = [agent for agent, n in self._under_way.items() if n >= self._share]
        due, upcoming = await turn.claim(
            self.rt.db, margin=self.rt.policy.lease, limit=most, except_agents=full, now=now
        )
        self._under_way.update(thinking.agent_id for thinking in due)
        return due, now if len(due) == most else upcoming  # others may be due as well

    async def _turn(self, thinking: Thinking) -> None:
        try:
            await self._run(thinking)
        finally:
            self._under_way[thinking.agent_id] -= 1

    async def _run(self, thinking: Thinking) -> None:
        rt = self.rt
        fallback: str | None = None
        try:
            # Not to have read the agent's entry is no failure of the agent's.
            engine, fallback = await persist(
                lambda: rt.engines.get(thinking.agent_id, thinking.agent_version)
            )
            if thinking.attempts > turn.MOST_ATTEMPTS:
                answer = TurnFailed(f"{thinking.attempts - 1} workers died over it")
            else:
                async with asyncio.timeout((engine.deadline + ENGINE_GRACE).total_seconds()):
                    answer = rule.usable(await engine.reply(turn.request(thinking)))
        except asyncio.CancelledError:
            # We are being stopped: another worker runs the turn, without waiting for the lease.
            with contextlib.suppress(Exception):
                await turn.give_back(rt.db, thinking, due_at=rt.now())
            raise
        except Exception as error:  # whatever an engine does, the user gets the fallback
            log.exception("turn.engine_failed", turn_id=thinking.id)
            answer = TurnFailed(f"the engine raised {type(error).__name__}")
        outcome = await persist(
            lambda: turn.record(rt.db, thinking, answer, fallback=fallback, now=rt.now())
        )
        metrics.TURNS.labels(outcome or "lost").inc()
        log.info(
            "turn.ended",
            outcome=outcome or "lost",
            turn_id=thinking.id,
            conversation_id=thinking.conversation_id,
            why=answer.reason if isinstance(answer, TurnFailed) else None,
        )
