"""Queued text -> carrier -> what came of it.

Three steps: claim (one transaction), hand over (no transaction), record (one transaction).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import message as rule
from textback.core import segments
from textback.core.errors import StaleError
from textback.core.gcra import Denied, Rate
from textback.core.ids import CarrierId
from textback.core.message import Queued, Sending, Suppressed, Uncertain
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import (
    Carrier,
    Limiter,
    NoAnswer,
    Outgoing,
    Receipt,
    SendError,
    Taken,
    Unreachable,
)
from textback.db import locks, messages, tenants
from textback.db.session import transaction
from textback.db.tenants import Sender
from textback.flows import opt_out

log = structlog.stdlib.get_logger()

# As Twilio's slowest; for numbers that are no longer provisioned but still have texts queued.
SLOWEST = Sender(1.0)

PACE_UNREACHABLE_WAIT = timedelta(seconds=1)


class Carriers(Protocol):
    async def get(self, carrier_id: CarrierId) -> "tuple[Carrier, str]":
        """The carrier, and its kind: the name its webhooks come under."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    message: Sending
    sender: Sender
    claimed: float
    """When, in seconds of a clock that nobody sets."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It was not handed over: its number has no token left, or our lease is too short."""

    until: datetime
    pace_unknown: bool = False
    """Redis did not answer, so nobody knows the number's pace."""


Outcome = Taken | SendError | NoAnswer | Wait


async def claim(
    db: AsyncEngine,
    *,
    policy: SendPolicy,
    limit: int,
    except_numbers: Sequence[Phone],
    except_carriers: Sequence[CarrierId] = (),
    room: Mapping[CarrierId, int] | None = None,
    now: datetime,
    steady: float,
) -> tuple[list[Job], datetime | None]:
    """Take due texts; when there are none, also say when to look again, if that is known.

    Of a carrier in `room` no more are taken than that: they would wait out their lease. `steady`
    is `now` on a clock that goes on evenly when somebody sets the other one.
    """
    slow = room or {}
    take = partial(messages.claim_due, now=now, lease=policy.lease, except_numbers=except_numbers)
    async with transaction(db) as c:
        taken: list[Sending] = []
        late: list[Suppressed] = []
        for carrier_id, places in slow.items():
            if (left := min(places, limit - len(taken))) > 0:
                some, gone = await take(c, limit=left, only_carrier=carrier_id)
                taken, late = taken + some, late + gone
        if (left := limit - len(taken)) > 0:
            some, gone = await take(c, limit=left, except_carriers=[*except_carriers, *slow])
            taken, late = taken + some, late + gone
        senders = await tenants.senders(c, {m.agent_number for m in taken}) if taken else {}
        if taken or late:  # behind those that came too late, others may be due
            upcoming = None if taken else now
        else:
            upcoming = await messages.next_due(c, now=now)
    return [Job(m, senders.get(m.agent_number, SLOWEST), steady) for m in taken], upcoming


async def hand_over(
    job: Job,
    carriers: Carriers,
    pace: Limiter,
    *,
    policy: SendPolicy,
    public_url: str,
    clock: Callable[[], datetime],
    steady: Callable[[], float],
) -> Outcome:
    """Give it to the carrier, once, if the number's pace and our lease allow.

    A worker that stalled must not send any more: others think it dead. Both clocks are asked, as
    one may have been set back, and the other may not count a pause of the machine.
    """
    m = job.message
    try:
        token = await pace.take(
            f"pace:{m.agent_number}",
            _bucket(job.sender.segments_per_second),
            segments.of_ours(m.text, m.agent_number, m.template),
        )
    except Unreachable:  # nobody knows the pace: the text waits (ADR 8)
        return Wait(clock() + PACE_UNREACHABLE_WAIT, pace_unknown=True)
    if isinstance(token, Denied):
        return Wait(clock() + timedelta(seconds=token.retry_after))
    carrier, kind = await carriers.get(m.carrier_id)
    now = clock()
    spent = max(now - m.claimed_at, timedelta(seconds=steady() - job.claimed))
    if spent + policy.carrier_timeout >= m.lease_until - m.claimed_at:
        return Wait(now)
    try:
        return await carrier.send(outgoing(m, job.sender, kind, public_url=public_url, now=now))
    except Exception as error:  # no carrier should raise; it may have done so after bytes left
        log.exception("send.raised", message_id=m.id, carrier_id=m.carrier_id)
        return NoAnswer(f"the carrier raised {type(error).__name__}")


def _bucket(pace: float) -> Rate:
    """A second's worth. It lends: a long text goes when it is its turn, and those after it wait."""
    return Rate(max(pace, 1.0), max(1.0, 1.0 / pace), lends=True)


def outgoing(
    m: Sending | Uncertain, sender: Sender, kind: str, *, public_url: str, now: datetime
) -> Outgoing:
    return Outgoing(
        message_id=m.id,
        agent_number=m.agent_number,
        user_number=m.user_number,
        text=m.text,
        template=m.template,
        messaging_service_sid=sender.messaging_service_sid,
        claimed_at=m.claimed_at,
        valid_for=max(m.expires_at - now, timedelta(0)),
        status_url=f"{public_url}/hooks/{kind}/status?message_id={m.id}",
    )


async def record(
    db: AsyncEngine, m: Sending, outcome: Outcome, *, policy: SendPolicy, now: datetime
) -> rule.Message:
    """Save what came of it; if the text has moved meanwhile, fold in what we learned.

    Raises Unavailable: then the caller still knows the outcome and must try again.
    """
    async with transaction(db) as c:
        if isinstance(outcome, SendError) and outcome.opted_out:
            await locks.pair(c, m.agent_number, m.user_number)
            await opt_out.record(
                c,
                m.agent_number,
                m.user_number,
                conversation_id=m.conversation_id,
                source="carrier",
                words=None,
                carrier_message_id=None,
                now=now,
            )
        after = _after(m, outcome, policy=policy, now=now)
        try:
            await messages.save(c, m, after, now=now)
        except StaleError:
            return await _fold_in(c, m, outcome, policy=policy, now=now)
    return after


async def rescue(db: AsyncEngine, *, policy: SendPolicy, limit: int, now: datetime) -> int:
    """Texts whose worker is gone may or may not be out: they become uncertain. Gives how many."""
    async with transaction(db) as c:
        stranded = await messages.leases_run_out(c, now=now, limit=limit)
        for m in stranded:
            await messages.save(c, m, rule.lost(m, now=now, policy=policy), now=now)
    return len(stranded)


def _after(
    m: Sending | Uncertain, outcome: Outcome, *, policy: SendPolicy, now: datetime
) -> rule.Message:
    match outcome:
        case Taken():
            return rule.accepted(m, carrier_message_id=outcome.carrier_message_id, now=now)
        case SendError():
            return rule.rejected(m, outcome, now=now, policy=policy)
        case NoAnswer():
            return rule.lost(m, now=now, policy=policy) if isinstance(m, Sending) else m
        case Wait():
            return rule.snoozed(m, until=outcome.until)


async def _fold_in(
    c: AsyncConnection, m: Sending, outcome: Outcome, *, policy: SendPolicy, now: datetime
) -> rule.Message:
    """A receipt or a rescuer was faster. What the carrier said is news all the same."""
    current = await messages.lock(c, m.id)
    if current is None:
        raise StaleError(m.id)
    after: rule.Message = current
    if isinstance(outcome, Taken):
        news = Receipt(
            carrier_message_id=outcome.carrier_message_id, message_id=m.id, status="accepted"
        )
        after = rule.hear(current, news, now=now)
    elif isinstance(current, Uncertain) and current.claimed_at == m.claimed_at:
        # In doubt over this very claim, and its worker was alive after all: nothing went out.
        after = _after(current, outcome, policy=policy, now=now)
    if after != current:
        await messages.save(c, current, after, now=now)
    return after


def paused(m: Sending, after: rule.Message, now: datetime) -> float:
    """Seconds for which claiming more of this number's texts would be in vain."""
    if isinstance(after, Queued) and after.attempts == m.attempts:
        return max(0.0, math.ceil((after.due_at - now).total_seconds() * 1000) / 1000)
    return 0.0
