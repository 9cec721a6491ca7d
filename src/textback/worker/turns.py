"""Turns: what users said goes to the agent's engine, and its answer into the queue."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from textback import metrics, tracing
from textback.core import turn as rule
from textback.core.engine import Engine, Later, TurnFailed, TurnLost, TurnReply
from textback.core.frozen import frozen
from textback.core.ids import AgentId, TurnId
from textback.db.thinking import Thinking
from textback.flows import traces, turn
from textback.flows.answers import Answers
from textback.flows.journal import TurnJournal
from textback.runtime import Runtime
from textback.worker.loop import GATHER, Loop, given_back, persist

log = structlog.stdlib.get_logger()

ENGINE_GRACE = timedelta(seconds=1)
"""An engine keeps its own deadline; this long after it, it is cut off."""

CUT_OFF = 0.5
"""Seconds for an engine that was cut off to tidy up; whatever it does after that is not waited
for."""

RENEWALS = 4
"""In the time of one lease."""

PER_TEXT = 8
"""Turns at once for each text at once: they mostly wait for an engine, and cost little."""

SHARE = 8
"""An agent that has this part of them under way is left out, and no claim takes more.

So one whose engine hangs has at most a quarter, and the others' users do not wait for it."""


@frozen(kw_only=False)
class _Asked:
    """An engine that thinks."""

    run: int
    task: asyncio.Task[TurnReply | Later | TurnFailed]
    journal: TurnJournal


class Turns:
    def __init__(self, rt: Runtime, *, concurrency: int) -> None:
        self.rt = rt
        most = concurrency * PER_TEXT
        self._share = most // SHARE
        self._under_way = Counter[AgentId]()
        self._held: dict[TurnId, int] = {}
        """Turns claimed and not yet recorded, each with its run."""
        self._asked: dict[TurnId, _Asked] = {}
        self._kept = rt.steady()
        self._answers = Answers(rt.db)
        self._turns = Loop(
            "turn",
            self._claim_turns,
            self._turn,
            concurrency=most,
            poll=rt.poll,
            now=rt.now,
            gather=GATHER,
        )
        # Apart from the claims, which stop while all room is taken.
        often = min(rt.poll, rt.policy.lease / RENEWALS)
        self._under_way_loop = Loop(
            "under way", self._look_after, _nothing, concurrency=1, poll=often, now=rt.now
        )
        self.loops = (self._turns, self._under_way_loop)

    def wake(self) -> None:
        self._turns.wake()
        self._under_way_loop.wake()

    async def _claim_turns(self, limit: int) -> tuple[Sequence[Thinking], datetime | None]:
        now, most = self.rt.now(), min(limit, self._share)
        full = [agent for agent, n in self._under_way.items() if n >= self._share]
        due, upcoming = await turn.claim(
            self.rt.db, lease=self.rt.policy.lease, limit=most, except_agents=full, now=now
        )
        self._under_way.update(thinking.agent_id for thinking in due)
        self._held.update((thinking.id, thinking.run) for thinking in due)
        return due, now if len(due) == most else upcoming  # others may be due as well

    async def _look_after(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        await self._keep()
        await self._end_moot()
        return (), None

    async def _keep(self) -> None:
        """Renew leases. They are short, so that a turn does not wait long when its worker dies."""
        rt, steady = self.rt, self.rt.steady()
        if self._held and steady - self._kept >= rt.policy.lease.total_seconds() / RENEWALS:
            await turn.keep(rt.db, dict(self._held), until=rt.now() + rt.policy.lease)
            self._kept = steady

    async def _end_moot(self) -> None:
        """Cut off what is thought in vain: the user said more, or there is nobody to tell."""
        runs = {turn_id: asked.run for turn_id, asked in self._asked.items()}
        for turn_id in await turn.moot(self.rt.db, runs) if runs else ():
            asked = self._asked.get(turn_id)
            if asked is not None and asked.run == runs[turn_id] and not asked.journal.lose():
                asked.task.cancel()

    async def _turn(self, thinking: Thinking) -> None:
        try:
            async with given_back(lambda: self._give_back(thinking)):
                parent = await traces.of_conversation(self.rt.db, thinking.conversation_id)
            with tracing.span(
                "turn",
                kind="consumer",
                parent=parent,
                turn_id=thinking.id,
                run=thinking.run,
                conversation_id=thinking.conversation_id,
                project_id=thinking.project_id,
            ) as span:
                outcome = await self._run(thinking)
                span.set(outcome=outcome)
                if outcome == "failed":
                    span.fail(outcome)
        finally:
            self._under_way[thinking.agent_id] -= 1
            if self._held.get(thinking.id) == thinking.run:
                del self._held[thinking.id]

    async def _run(self, thinking: Thinking) -> str:
        """What came of it."""
        rt = self.rt
        fallback: str | None = None
        try:
            # Not to have read the agent's entry is no failure of the agent's.
            async with given_back(lambda: self._give_back(thinking)):
                engine, fallback = await persist(
                    lambda: rt.engines.get(thinking.agent_id, thinking.agent_version)
                )
                answer = turn.without_asking(thinking) or await self._ask(engine, thinking)
        except Exception as error:  # whatever an engine does, the user gets the fallback
            log.exception(
                "turn.engine_failed",
                turn_id=thinking.id,
                agent_id=thinking.agent_id,
                conversation_id=thinking.conversation_id,
            )
            answer = TurnFailed(f"the engine raised {type(error).__name__}")
        done = await persist(
            lambda: turn.record(
                rt.db,
                thinking,
                answer,
                fallback=fallback,
                together=self._answers,
                now=rt.now(),
            )
        )
        outcome = "lost" if done is None else done.came
        metrics.TURNS.labels(outcome).inc()
        log.info(
            "turn.ended",
            outcome=outcome,
            turn_id=thinking.id,
            run=thinking.run,
            agent_id=thinking.agent_id,
            conversation_id=thinking.conversation_id,
            message_id=thinking.opener_id,
            message_ids=() if done is None else done.texts,
            why=answer.reason if isinstance(answer, TurnFailed) else None,
        )
        return outcome

    async def _give_back(self, thinking: Thinking) -> None:
        await turn.give_back(self.rt.db, thinking, due_at=self.rt.now())

    async def _ask(self, engine: Engine, thinking: Thinking) -> TurnReply | Later | TurnFailed:
        with tracing.span("engine.reply", kind="client", engine=_name(engine)) as span:
            answer = await self._answer_of(engine, thinking)
            if isinstance(answer, TurnFailed):
                span.fail("failed")
            return answer

    async def _answer_of(
        self, engine: Engine, thinking: Thinking
    ) -> TurnReply | Later | TurnFailed:
        """Raises what the engine does, but for its end when it was cut off."""
        rt = self.rt
        journal = TurnJournal(rt.db, thinking, now=rt.now)
        url = f"{rt.public_url}/v1/turns/{thinking.id}/{thinking.run}/reply"
        request = turn.request(thinking, journal=journal, reply_url=url)
        task = asyncio.ensure_future(engine.reply(request))
        self._asked[thinking.id] = _Asked(thinking.run, task, journal)
        began, late = rt.steady(), False
        try:
            limit = engine.deadline + ENGINE_GRACE
            await asyncio.wait([task], timeout=limit.total_seconds())
        finally:
            del self._asked[thinking.id]
            metrics.ENGINE.labels(_name(engine)).observe(rt.steady() - began)
            if late := not task.done():
                await _cut_off(task)
        if (trouble := "cut_off" if late else _trouble(task)) is not None:
            metrics.ENGINE_ERRORS.labels(_name(engine), trouble).inc()
        # Of a turn that goes on without this run, recording finds that out, whatever is answered.
        if not task.done() or task.cancelled():
            return TurnFailed("the engine was cut off")
        error = task.exception()
        if isinstance(error, TurnLost):
            return TurnFailed("the engine let go of the turn")
        return rule.usable(task.result())


def _trouble(task: asyncio.Task[TurnReply | Later | TurnFailed]) -> str | None:
    """Why the engine has no usable answer. To be told that nobody wants one is no trouble."""
    if task.cancelled() or isinstance(error := task.exception(), TurnLost):
        return None
    if error is not None:
        return "raised"
    if isinstance(task.result(), TurnFailed):
        return "failed"
    return "unusable" if isinstance(rule.usable(task.result()), TurnFailed) else None


def _name(engine: Engine) -> str:
    """LlmEngine -> llm."""
    return type(engine).__name__.removesuffix("Engine").strip("_").lower()


async def _cut_off(task: asyncio.Task[TurnReply | Later | TurnFailed]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=CUT_OFF)


async def _nothing(_item: None) -> None:
    """The claim did it all."""
