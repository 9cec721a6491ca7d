"""Queued text -> carrier -> what came of it.

Three steps: claim (one transaction), hand over (no transaction), record (one transaction, in
`recording.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics, tracing
from textback.core import message as rule
from textback.core import segments
from textback.core.frozen import frozen
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ids import CarrierId
from textback.core.message import Sending, Uncertain
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import (
    Carrier,
    Limiter,
    NoAnswer,
    NotFound,
    Outgoing,
    SendError,
    Taken,
    Unreachable,
)
from textback.db import claims, messages, traces
from textback.db.claims import Round, Scope
from textback.db.session import transaction
from textback.db.tenants import Sender
from textback.flows.recording import Outcome, Wait

log = structlog.stdlib.get_logger()

# As Twilio's slowest; for numbers that are no longer provisioned but still have texts queued.
SLOWEST = Sender(1.0)

PACE_UNREACHABLE_WAIT = timedelta(seconds=1)


class Carriers(Protocol):
    async def get(self, carrier_id: CarrierId) -> "tuple[Carrier, str]":
        """The carrier, and its kind: the name its webhooks come under."""
        ...


@frozen(kw_only=False)
class Job:
    message: Sending
    sender: Sender
    claimed: float
    """When, in seconds of a clock that nobody sets."""
    traceparent: str | None = None
    """Of what it came from, while somebody traces."""


async def claim(
    db: AsyncEngine,
    *,
    policy: SendPolicy,
    limit: int,
    except_numbers: Sequence[Phone],
    except_carriers: Sequence[CarrierId] = (),
    room: Mapping[CarrierId, int] | None = None,
    held: Mapping[CarrierId, int] | None = None,
    units: Mapping[Phone, int] | None = None,
    round_: Round | None = None,
    now: datetime,
    steady: float,
) -> tuple[list[Job], datetime | None]:
    """Take due texts; when it is known when to look again, also say that.

    Of a carrier in `room` no more are taken than that: they would wait out their lease. `held` is
    what the worker has under way of each, `units` how many segments are to be had of numbers of
    which that is known, and `round_` where its claims go on. `steady` is `now` on a clock that goes
    on evenly when somebody sets the other one.
    """
    scope = Scope(
        limit=limit,
        except_numbers=except_numbers,
        except_carriers=except_carriers,
        room=room or {},
        held=held or {},
        units=units or {},
    )
    async with transaction(db) as c:
        found = await claims.claim_due(c, scope, round_ or Round(), now=now, lease=policy.lease)
        upcoming: datetime | None = None
        if found.more or (found.late and not found.sending):
            upcoming = now  # behind those that were looked at, others may be due
        elif not found.sending:
            upcoming = found.next_due
        ids = [m.id for m, _ in found.sending] if tracing.is_on() else []
        come_from = await traces.of_messages(c, ids) if ids else {}
    jobs = [Job(m, sender or SLOWEST, steady, come_from.get(m.id)) for m, sender in found.sending]
    return jobs, upcoming


async def hand_over(
    job: Job,
    carriers: Carriers,
    pace: Limiter,
    *,
    policy: SendPolicy,
    public_url: str,
    clock: Callable[[], datetime],
    steady: Callable[[], float],
    heard: Callable[[Granted | Denied, Rate, int], None] | None = None,
) -> Outcome:
    """Give it to the carrier, once, if the number's pace and our lease allow.

    `heard`: told what the pace said to how many units, before the carrier is asked.

    A worker that stalled must not send any more: others think it dead. Both clocks are asked, as
    one may have been set back, and the other may not count a pause of the machine.
    """
    m, bucket = job.message, _bucket(job.sender.segments_per_second)
    units = segments.of_ours(m.text, m.agent_number, m.template)
    try:
        token = await pace.take(f"pace:{m.agent_number}", bucket, units)
    except Unreachable:  # nobody knows the pace: the text waits (ADR 8)
        return Wait(clock() + PACE_UNREACHABLE_WAIT, pace_unknown=True)
    if heard is not None:
        heard(token, bucket, units)
    if isinstance(token, Denied):
        return Wait(clock() + timedelta(seconds=token.retry_after))
    carrier, kind = await carriers.get(m.carrier_id)
    now = clock()
    spent = max(now - m.claimed_at, timedelta(seconds=steady() - job.claimed))
    if spent + policy.carrier_timeout >= m.lease_until - m.claimed_at:
        return Wait(now)
    if m.attempts == 0:
        metrics.SEND_WAIT.observe(max(0.0, (now - m.created_at).total_seconds()))
    began = steady()
    with tracing.span("carrier.send", kind="client", carrier=kind) as span:
        try:
            told = outgoing(m, job.sender, kind, public_url=public_url, now=now)
            answer = await carrier.send(told)
        except Exception as error:  # no carrier should raise; it may have done so after bytes left
            log.exception(
                "send.raised",
                message_id=m.id,
                conversation_id=m.conversation_id,
                carrier_id=m.carrier_id,
            )
            answer = NoAnswer(f"the carrier raised {type(error).__name__}")
        if not isinstance(answer, Taken):
            span.fail(word(answer))
    metrics.CARRIER.labels(kind, word(answer)).observe(steady() - began)
    return answer


def word(outcome: Outcome | NotFound) -> str:
    """In logs and metrics."""
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


async def rescue(db: AsyncEngine, *, policy: SendPolicy, limit: int, now: datetime) -> int:
    """Texts whose worker is gone may or may not be out: they become uncertain. Gives how many."""
    async with transaction(db) as c:
        stranded = await messages.leases_run_out(c, now=now, limit=limit)
        for m in stranded:
            await messages.save(c, m, rule.lost(m, now=now, policy=policy), now=now)
    return len(stranded)
