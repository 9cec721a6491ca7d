"""The worker: texts, look-ups, turns, deadlines and housekeeping, each in its own loop."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from textback import metrics
from textback.core.errors import Unavailable
from textback.core.ids import CarrierId
from textback.core.message import Message, Sending, Uncertain
from textback.core.phone import Phone
from textback.core.ports import NoAnswer, NotFound, SendError, Taken, TurnFailed
from textback.db.listen import listen
from textback.db.turns import Thinking
from textback.flows import expire, send, settle, tidy, turn
from textback.flows.send import Job, Outcome, Wait
from textback.runtime import Runtime, Unprovisioned
from textback.worker.loop import Loop, persist
from textback.worker.pauses import Pauses

log = structlog.stdlib.get_logger()

BATCH = 100
UNREADABLE_WAIT = timedelta(seconds=1)
UNUSABLE = "the carrier's entry cannot be used"
LEAST_PAUSE = timedelta(milliseconds=100)
"""A fast number's next token is milliseconds away, and its bucket holds a second's worth.

To claim for each token by itself would cost more than sending."""

ENGINE_GRACE = timedelta(seconds=1)
"""An engine keeps its own deadline; this long after it, it is cut off."""


class Worker:
    def __init__(self, rt: Runtime, *, concurrency: int) -> None:
        self.rt = rt
        self._numbers = Pauses[Phone]()
        self._carriers = Pauses[CarrierId]()
        self._redis_lost = False
        self._sends = self._loop("send", self._claim_texts, self._send, concurrency)
        self._settle = self._loop("settle", self._claim_look_ups, self._look_up, 8)
        self._turns = self._loop("turn", self._claim_turns, self._turn, concurrency)
        self._expire = self._loop("expire", self._expire_due, _nothing, 1)
        self._rescue = self._loop("rescue", self._rescue_due, _nothing, 1)
        self._tidy = self._loop("tidy", self._tidy_up, _nothing, 1, poll=rt.sweep)
        self._loops: Sequence[Loop[Any]] = (
            self._sends,
            self._settle,
            self._turns,
            self._expire,
            self._rescue,
            self._tidy,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then finish what was claimed, within the time to drain."""
        rt = self.rt
        await rt.warm_up()
        async with asyncio.TaskGroup() as group:
            hints = group.create_task(listen(rt.database_url, self._hint))
            loops = [group.create_task(loop.run()) for loop in self._loops]
            log.info("worker.started")
            await stop.wait()
            log.info("worker.stopping", drain_seconds=rt.drain.total_seconds())
            for loop in self._loops:
                loop.stop()
            _done, late = await asyncio.wait(loops, timeout=rt.drain.total_seconds())
            if late:
                log.warning("worker.cut_off", loops=len(late))
                for loop in self._loops:
                    loop.cancel()
            hints.cancel()
        log.info("worker.stopped")

    def _loop(
        self,
        name: str,
        claim: Callable[[int], Awaitable[tuple[Sequence[Any], datetime | None]]],
        handle: Callable[[Any], Awaitable[None]],
        concurrency: int,
        *,
        poll: timedelta | None = None,
    ) -> Loop[Any]:
        return Loop(
            name,
            claim,  # type: ignore[arg-type]
            handle,
            concurrency=concurrency,
            poll=poll or self.rt.poll,
            now=self.rt.now,
        )

    def _hint(self, queue: str) -> None:
        if queue == "messages":
            self._sends.wake()
        else:
            self._turns.wake()

    # --- texts ------------------------------------------------------------------------------------

    async def _claim_texts(self, limit: int) -> tuple[Sequence[Job], datetime | None]:
        now = self.rt.now()
        jobs, upcoming = await send.claim(
            self.rt.db,
            policy=self.rt.policy,
            limit=limit,
            except_numbers=self._numbers.active(now),
            except_carriers=self._carriers.active(now),
            now=now,
        )
        ends = [upcoming, self._numbers.next_end(), self._carriers.next_end()]
        return jobs, min((end for end in ends if end is not None), default=None)

    async def _send(self, job: Job) -> None:
        rt, m = self.rt, job.message
        try:
            outcome = await send.hand_over(
                job,
                rt.carriers,
                rt.pace,
                policy=rt.policy,
                public_url=rt.public_url,
                clock=rt.now,
            )
        except Unavailable:  # nothing left us: the carrier's entry could not be read
            outcome = Wait(rt.now() + UNREADABLE_WAIT)
        except (Unprovisioned, ValueError):
            # Nothing left us. An operator has to repair the carrier's entry; the text waits.
            log.exception("send.no_carrier", message_id=m.id, carrier_id=m.carrier_id)
            outcome = SendError("no_carrier", UNUSABLE, "slow_down", timedelta(seconds=30))
        after = await persist(
            lambda: send.record(rt.db, m, outcome, policy=rt.policy, now=rt.now())
        )
        self._pause(m, after, outcome)
        metrics.SENDS.labels(_word(outcome)).inc()
        self._tell_of_redis(lost=isinstance(outcome, Wait) and outcome.pace_unknown)
        if not isinstance(outcome, Wait):
            _told("send." + _word(outcome), after, outcome)

    def _pause(self, m: Sending, after: Message, outcome: Outcome) -> None:
        now = self.rt.now()
        if (seconds := send.paused(m, after, now)) > 0:
            pause = max(timedelta(seconds=seconds), LEAST_PAUSE)
            self._numbers.until(m.agent_number, now + pause)
        match outcome:
            case SendError(retry="slow_down"):
                self._carriers.back_off(m.carrier_id, now=now, at_least=outcome.retry_after)
            case NoAnswer():  # one text of unknown fate is enough to learn that it does not answer
                self._carriers.back_off(m.carrier_id, now=now, at_least=None)
            case Taken() | SendError():
                self._carriers.well(m.carrier_id)
            case Wait():
                pass

    def _tell_of_redis(self, *, lost: bool) -> None:
        if lost and not self._redis_lost:
            log.error("send.waiting", why="Redis does not answer, so the pace is not known")
        elif self._redis_lost and not lost:
            log.warning("send.going_on", why="Redis answers again")
        self._redis_lost = lost

    async def _claim_look_ups(self, limit: int) -> tuple[Sequence[Uncertain], datetime | None]:
        return await settle.claim(self.rt.db, policy=self.rt.policy, limit=limit, now=self.rt.now())

    async def _look_up(self, m: Uncertain) -> None:
        rt = self.rt
        try:
            answer = await settle.ask(rt.db, m, rt.carriers, public_url=rt.public_url, now=rt.now())
        except (Unprovisioned, ValueError):
            log.exception("look_up.no_carrier", message_id=m.id, carrier_id=m.carrier_id)
            answer = NoAnswer(UNUSABLE)
        after = await persist(
            lambda: settle.record(rt.db, m, answer, policy=rt.policy, now=rt.now())
        )
        metrics.SETTLED.labels(_word(answer)).inc()
        if isinstance(after, Uncertain) and after.look_up_at is None:
            # Its validity is over and the carrier could not be asked: only a receipt can tell now.
            log.error("text.unsettled", message_id=m.id, conversation_id=m.conversation_id)
        _told("look_up." + _word(answer), after, answer)

    # --- turns ------------------------------------------------------------------------------------

    async def _claim_turns(self, limit: int) -> tuple[Sequence[Thinking], datetime | None]:
        return await turn.claim(
            self.rt.db, margin=self.rt.policy.lease, limit=limit, now=self.rt.now()
        )

    async def _turn(self, thinking: Thinking) -> None:
        rt = self.rt
        fallback: str | None = None
        try:
            # Not to have read the agent's entry is no failure of the agent's.
            engine, fallback = await persist(lambda: rt.engines.get(thinking.agent_id))
            if thinking.attempts > turn.MOST_ATTEMPTS:
                answer = TurnFailed(f"{thinking.attempts - 1} workers died over it")
            else:
                async with asyncio.timeout((engine.deadline + ENGINE_GRACE).total_seconds()):
                    answer = await engine.reply(turn.request(thinking))
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

    # --- time and housekeeping --------------------------------------------------------------------

    async def _expire_due(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        done, upcoming = await expire.expire_due(self.rt.db, limit=BATCH, now=self.rt.now())
        metrics.DEADLINES.inc(done)
        if done:
            log.info("deadlines.handled", conversations=done)
            self._expire.wake()
        return (), upcoming

    async def _rescue_due(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        rt, now = self.rt, self.rt.now()
        texts = await send.rescue(rt.db, policy=rt.policy, limit=BATCH, now=now)
        turns = await turn.rescue(rt.db, limit=BATCH, now=now)
        for queue, found in (("messages", texts), ("turns", turns)):
            if found:
                metrics.RESCUED.labels(queue).inc(found)
                log.warning("rescued", queue=queue, rows=found)
        return (), None

    async def _tidy_up(self, _limit: int) -> tuple[Sequence[None], datetime | None]:
        await tidy.tidy(self.rt.db, now=self.rt.now())
        return (), None


async def _nothing(_item: None) -> None:
    """The claim did it all in one transaction."""


def _word(outcome: Taken | SendError | NoAnswer | NotFound | Wait) -> str:
    match outcome:
        case Taken():
            return "taken"
        case SendError(retry="never"):
            return "refused"
        case SendError():
            return "put_off"
        case NoAnswer():
            return "no_answer"
        case NotFound():
            return "not_found"
        case Wait():
            return "pace_unknown" if outcome.pace_unknown else "paced"


def _told(event: str, m: Message, outcome: Taken | SendError | NoAnswer | NotFound) -> None:
    log.info(
        event,
        message_id=m.id,
        conversation_id=m.conversation_id,
        state=type(m).__name__.lower(),
        carrier_message_id=outcome.carrier_message_id if isinstance(outcome, Taken) else None,
        error_code=outcome.code if isinstance(outcome, SendError) else None,
        why=outcome.reason if isinstance(outcome, SendError | NoAnswer) else None,
    )
