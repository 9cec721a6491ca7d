"""Replies whose webhook never reached us -> found in the carrier's own list, and taken in."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics
from textback.core import phone
from textback.core.errors import Unavailable
from textback.core.frozen import frozen
from textback.core.ids import CarrierId
from textback.core.ports import Inbound, NoAnswer, TooMany
from textback.db import inbound as texts
from textback.db import numbers
from textback.db.numbers import Sweeping
from textback.db.session import transaction
from textback.flows import inbound
from textback.flows.send import Carriers

log = structlog.stdlib.get_logger()

GRACE: Final = timedelta(seconds=30)
"""Younger texts are left to their webhook, which Twilio may repeat for 15 seconds."""

LEAST_SPAN: Final = timedelta(seconds=10)
"""Where even this much time holds too many texts, the list cannot be read."""

GIVE_UP: Final = timedelta(days=1)
"""So long after it was said, a text that cannot be taken in is tried no more."""


@frozen(kw_only=False)
class Swept:
    """The list was read."""

    recovered: int
    """Texts that no webhook had brought: 0, unless something is or was broken."""
    failed: int = 0
    """Texts that could not be taken in; each next sweep tries them again."""


async def claim(
    db: AsyncEngine,
    *,
    lease: timedelta,
    except_carriers: Collection[CarrierId] = (),
    limit: int,
    now: datetime,
) -> tuple[list[Sweeping], datetime | None]:
    async with transaction(db) as c:
        due = await numbers.claim_sweeps(
            c, now=now, until=now + lease, except_carriers=except_carriers, limit=limit
        )
        upcoming = None if due else await numbers.next_sweep(c, after=now)
    return due, upcoming


async def sweep(
    db: AsyncEngine, held: Sweeping, carriers: Carriers, *, clock: Callable[[], datetime]
) -> Swept | NoAnswer:
    """Take in what is missing, oldest first, and note up to when nothing is missing.

    A text that cannot be taken in holds back no other: the next sweeps begin at it, and try it
    again, until it is a day old. Raises Unavailable, and what `carriers` raises: what was noted
    until then stays noted, and the rest is found by the next sweep.
    """
    carrier, _ = await carriers.get(held.carrier_id)
    end = clock() - GRACE
    # Of a number that is new here this is still to come: then all is read, and nothing noted.
    at, span = held.swept_until, max(end - held.swept_until, LEAST_SPAN)
    stuck: datetime | None = None
    recovered = failed = 0
    while True:
        until = min(at + span, end)
        try:
            listed = await carrier.received(
                held.number, since=at - numbers.LOOK_BACK, until=None if until == end else until
            )
        except Exception as error:  # no carrier should raise; the loop must not stop over it
            log.exception("sweep.raised", carrier_id=held.carrier_id)
            return NoAnswer(f"the carrier raised {type(error).__name__}")
        match listed:
            case NoAnswer():
                return listed
            case TooMany():
                if span <= LEAST_SPAN:
                    return NoAnswer("the carrier's list is too long to read")
                span = max(span / 2, LEAST_SPAN)
                continue
            case _:
                taken = await _take_in(db, held, listed, until=until, clock=clock)
        recovered += taken.recovered
        failed += taken.failed
        stuck = stuck or taken.stuck
        at = until
        async with transaction(db) as c:
            await numbers.swept(c, held, until=min(at, stuck or at))
        if at == end:
            return Swept(recovered, failed)


async def done(db: AsyncEngine, held: Sweeping, *, again_at: datetime) -> None:
    async with transaction(db) as c:
        await numbers.sweep_again(c, held, at=again_at)


@frozen(kw_only=False)
class _Taken:
    recovered: int
    failed: int
    stuck: datetime | None
    """When the oldest text was said that has to be tried again."""


async def _take_in(
    db: AsyncEngine,
    held: Sweeping,
    listed: Sequence[Inbound],
    *,
    until: datetime,
    clock: Callable[[], datetime],
) -> _Taken:
    recovered = failed = 0
    stuck: datetime | None = None
    for said in await _missing(db, held.carrier_id, listed):
        now = clock()
        said_at = said.said_at or held.swept_until
        if said_at > until:
            continue
        age = now - said_at
        try:
            heard = await inbound.hear(db, held.carrier_id, said, now=now)
        except Unavailable:
            raise
        except Exception:  # whatever is wrong with one text, the others must come in
            failed += 1
            is_over = age >= GIVE_UP
            stuck = stuck or (None if is_over else said_at)
            log.exception(
                "inbound.given_up" if is_over else "inbound.not_taken_in",
                carrier_id=held.carrier_id,
                carrier_message_id=said.carrier_message_id,
            )
            continue
        if heard.message_id is None:  # its webhook was faster, or nobody could answer it
            continue
        recovered += 1
        metrics.RECOVERED.inc()
        log.error(
            "inbound.recovered",
            user_number=phone.masked(said.user_number),
            agent_number=phone.masked(held.number),
            message_id=heard.message_id,
            conversation_id=heard.conversation_id,
            turn_id=heard.turn_id,
            outcome=heard.outcome,
            age_seconds=round(age.total_seconds()),
            why="its webhook never reached us; a healthy sweep finds none",
        )
    return _Taken(recovered, failed, stuck)


async def _missing(
    db: AsyncEngine, carrier_id: CarrierId, listed: Sequence[Inbound]
) -> Sequence[Inbound]:
    if not listed:
        return ()
    async with transaction(db) as c:
        known = await texts.known(c, carrier_id, {said.carrier_message_id for said in listed})
    return [said for said in listed if said.carrier_message_id not in known]
