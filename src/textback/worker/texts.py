"""Texts on their way out: handed to the carrier, and looked up there when no answer came."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog

from textback import metrics, tracing
from textback.core.errors import Unavailable
from textback.core.gcra import Denied, Granted, Rate
from textback.core.message import Message, Sending, Uncertain
from textback.core.ports import NoAnswer, NotFound, SendError, Taken
from textback.flows import send, settle, traces
from textback.flows.recording import Outcome, Recording, Wait
from textback.flows.send import Job, Round
from textback.runtime import Runtime, Unprovisioned
from textback.worker.accounts import Accounts
from textback.worker.loop import GATHER, Loop, persist
from textback.worker.paces import Paces

log = structlog.stdlib.get_logger()

LOOK_UPS = 8
"""At once, in one worker."""

UNREADABLE_WAIT = timedelta(seconds=1)
UNUSABLE = "the carrier's entry cannot be used"

_Held: TypeAlias = tuple[Job, int]
"""A claimed text, and its ticket at the carrier's account."""


class Texts:
    def __init__(self, rt: Runtime, *, concurrency: int) -> None:
        self.rt = rt
        self._paces = Paces()
        self._accounts = Accounts(concurrency)
        self._round = Round()
        self._recording = Recording(rt.db, rt.policy)
        self._redis_lost = False
        self._sends = Loop(
            "send",
            self._claim_texts,
            self._send,
            concurrency=concurrency,
            poll=rt.poll,
            now=rt.now,
            gather=GATHER,
        )
        self._settle = Loop(
            "settle",
            self._claim_look_ups,
            self._look_up,
            concurrency=LOOK_UPS,
            poll=rt.poll,
            now=rt.now,
        )
        self.loops = (self._sends, self._settle)

    def wake(self) -> None:
        self._sends.wake()

    async def _claim_texts(self, limit: int) -> tuple[Sequence["_Held"], datetime | None]:
        now, steady = self.rt.now(), self.rt.steady()
        alone, room = self._accounts.room(now)
        jobs, upcoming = await send.claim(
            self.rt.db,
            policy=self.rt.policy,
            limit=limit,
            except_numbers=self._paces.closed(now),
            except_carriers=alone,
            room=room,
            held=self._accounts.held(),
            units=self._paces.units(now),
            round_=self._round,
            now=now,
            steady=steady,
        )
        for job in jobs:
            self._paces.claimed(job.message.agent_number, job.message.id)
        held = [(j, self._accounts.take(j.message.carrier_id, now=now)) for j in jobs]
        ends = [upcoming, self._paces.next_end(), self._accounts.next_end()]
        return held, min((end for end in ends if end is not None), default=None)

    async def _send(self, held: "_Held") -> None:
        job, _ = held
        with tracing.span(
            "send",
            kind="consumer",
            parent=job.traceparent,
            message_id=job.message.id,
            conversation_id=job.message.conversation_id,
        ) as span:
            outcome = await self._send_once(held)
            code = outcome.code if isinstance(outcome, SendError) else None
            span.set(outcome=send.word(outcome), error_code=code)

    async def _send_once(self, held: "_Held") -> Outcome:
        job, ticket = held
        accounts, carrier_id = self._accounts, job.message.carrier_id
        try:
            outcome = await self._hand_over(job)
            if isinstance(outcome, Wait):
                self._paces.until(job.message.agent_number, outcome.until)
        except BaseException:  # cut off
            accounts.end(carrier_id, ticket, None, self.rt.now())
            raise
        finally:
            self._paces.asked(job.message.agent_number, job.message.id)
        # Before it is saved: that may take as long as the database is away.
        accounts.end(carrier_id, ticket, outcome, self.rt.now())
        await self._record(job.message, outcome)
        return outcome

    async def _hand_over(self, job: Job) -> Outcome:
        rt, m = self.rt, job.message

        def heard(answer: Granted | Denied, rate: Rate, units: int) -> None:
            self._paces.heard(m.agent_number, answer, rate, units, now=rt.now())
            self._paces.asked(m.agent_number, m.id)

        try:
            return await send.hand_over(
                job,
                rt.carriers,
                rt.pace,
                policy=rt.policy,
                public_url=rt.public_url,
                clock=rt.now,
                steady=rt.steady,
                heard=heard,
            )
        except Unavailable:  # nothing left us: the carrier's entry could not be read
            return Wait(rt.now() + UNREADABLE_WAIT)
        except (Unprovisioned, ValueError):
            # Nothing left us. An operator has to repair the carrier's entry; the text waits.
            log.exception("send.no_carrier", **_ids(m), carrier_id=m.carrier_id)
            return SendError("no_carrier", UNUSABLE, "slow_down", timedelta(seconds=30))

    async def _record(self, m: Sending, outcome: Outcome) -> None:
        rt = self.rt
        after = await persist(lambda: self._recording.record(m, outcome, now=rt.now()))
        metrics.SENDS.labels(send.word(outcome)).inc()
        self._tell_of_redis(lost=isinstance(outcome, Wait) and outcome.pace_unknown)
        if not isinstance(outcome, Wait):
            _told("send." + send.word(outcome), after, outcome)

    def _tell_of_redis(self, *, lost: bool) -> None:
        if lost and not self._redis_lost:
            log.error("send.waiting", why="Redis does not answer, so the pace is not known")
        elif self._redis_lost and not lost:
            log.warning("send.going_on", why="Redis answers again")
        self._redis_lost = lost

    async def _claim_look_ups(self, limit: int) -> tuple[Sequence[Uncertain], datetime | None]:
        return await settle.claim(self.rt.db, policy=self.rt.policy, limit=limit, now=self.rt.now())

    async def _look_up(self, m: Uncertain) -> None:
        parent = await traces.of_message(self.rt.db, m.id)
        with tracing.span("look_up", kind="client", parent=parent, **_ids(m)) as span:
            answer = await self._look_up_once(m)
            span.set(outcome=None if answer is None else send.word(answer))
            if isinstance(answer, NoAnswer):
                span.fail(send.word(answer))

    async def _look_up_once(self, m: Uncertain) -> Taken | NotFound | NoAnswer | None:
        rt = self.rt
        try:
            answer = await settle.ask(rt.db, m, rt.carriers, public_url=rt.public_url, now=rt.now())
        except Unavailable:  # nobody was asked; when the claim runs out it is due again
            return None
        except (Unprovisioned, ValueError):
            log.exception("look_up.no_carrier", **_ids(m), carrier_id=m.carrier_id)
            answer = NoAnswer(UNUSABLE)
        self._accounts.looked_up(m.carrier_id, answer, rt.now())
        after = await persist(
            lambda: settle.record(rt.db, m, answer, policy=rt.policy, now=rt.now())
        )
        metrics.SETTLED.labels(send.word(answer)).inc()
        if isinstance(after, Uncertain) and after.look_up_at is None:
            # Its validity is over and the carrier could not be asked: only a receipt can tell now.
            log.error("text.unsettled", **_ids(m))
        _told("look_up." + send.word(answer), after, answer)
        return answer


def _ids(m: Message) -> dict[str, str]:
    return {"message_id": m.id, "conversation_id": m.conversation_id}


def _told(event: str, m: Message, outcome: Taken | SendError | NoAnswer | NotFound) -> None:
    log.info(
        event,
        **_ids(m),
        state=type(m).__name__.lower(),
        carrier_message_id=outcome.carrier_message_id if isinstance(outcome, Taken) else None,
        error_code=outcome.code if isinstance(outcome, SendError) else None,
        why=outcome.reason if isinstance(outcome, SendError | NoAnswer) else None,
    )
