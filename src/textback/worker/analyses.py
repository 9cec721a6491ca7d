"""Analyses of conversations that are over. Nothing waits for them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from textback import metrics, tracing
from textback.core import analysis as rule
from textback.core.analysis import Analysing
from textback.core.engine import Analysis, TurnFailed
from textback.core.ids import AgentId
from textback.flows import analyse, traces
from textback.runtime import Runtime
from textback.worker.loop import Loop, given_back, persist
from textback.worker.turns import CUT_OFF, ENGINE_GRACE

log = structlog.stdlib.get_logger()

MOST = 4
"""At once, however many turns and texts there are: they take time and money."""

SHARE = 2
"""Of one agent, whose engine may hang."""


SELDOM = 5
"""Times as long between two looks as for others: nobody waits."""


class Analyses:
    def __init__(self, rt: Runtime) -> None:
        self.rt = rt
        self._under_way = Counter[AgentId]()
        self.loops = (
            Loop(
                "analyse",
                self._claim,
                self._analyse,
                concurrency=MOST,
                poll=SELDOM * rt.poll,
                now=rt.now,
            ),
        )

    async def _claim(self, limit: int) -> tuple[Sequence[Analysing], datetime | None]:
        now, most = self.rt.now(), min(limit, SHARE)
        full = [agent for agent, n in self._under_way.items() if n >= SHARE]
        due, upcoming = await analyse.claim(
            self.rt.db, margin=self.rt.policy.lease, limit=most, except_agents=full, now=now
        )
        self._under_way.update(held.request.agent_id for held in due)
        return due, now if len(due) == most else upcoming  # others may be due as well

    async def _analyse(self, held: Analysing) -> None:
        try:
            await self._run(held)
        finally:
            self._under_way[held.request.agent_id] -= 1

    async def _run(self, held: Analysing) -> None:
        conversation_id = held.request.conversation_id
        async with given_back(lambda: self._give_back(held)):
            parent = await traces.of_conversation(self.rt.db, conversation_id)
        with tracing.span("analysis", parent=parent, conversation_id=conversation_id):
            await self._analysed(held)

    async def _analysed(self, held: Analysing) -> None:
        rt, asked = self.rt, held.request
        try:
            async with given_back(lambda: self._give_back(held)):
                answer = await self._ask(held)
        except Exception as error:  # whatever an engine does
            log.exception("analysis.engine_failed", conversation_id=asked.conversation_id)
            answer = TurnFailed(f"the engine raised {type(error).__name__}")
        outcome = await persist(lambda: analyse.record(rt.db, held, answer, now=rt.now()))
        metrics.ANALYSES.labels(outcome or "lost").inc()
        if outcome is not None:
            metrics.TOKENS.labels("input").inc(answer.usage.input_tokens)
            metrics.TOKENS.labels("output").inc(answer.usage.output_tokens)
        log.info(
            "analysis.ended",
            outcome=outcome or "lost",
            conversation_id=asked.conversation_id,
            attempts=held.attempts,
            why=answer.reason if isinstance(answer, TurnFailed) else None,
        )

    async def _give_back(self, held: Analysing) -> None:
        await analyse.give_back(self.rt.db, held, now=self.rt.now())

    async def _ask(self, held: Analysing) -> Analysis | TurnFailed:
        asked = held.request
        if held.attempts > analyse.MOST_ATTEMPTS:
            return TurnFailed(f"{held.attempts - 1} workers died over it")
        # Not to have read the agent's entry is no failure of the agent's.
        engine, _fallback = await persist(
            lambda: self.rt.engines.get(asked.agent_id, held.agent_version)
        )
        asked = replace(asked, traceparent=tracing.current())
        task = asyncio.ensure_future(engine.analyse(asked))
        try:
            limit = engine.deadline + ENGINE_GRACE
            await asyncio.wait([task], timeout=limit.total_seconds())
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=CUT_OFF)  # some will not be cancelled
        if not task.done() or task.cancelled():
            return TurnFailed("the engine was cut off")
        from textback.llm.schema import misfit  # noqa: PLC0415 - not every worker ever needs it

        return rule.usable(task.result(), asked.wanted, misfit)
