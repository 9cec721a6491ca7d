"""Uncertain text -> the carrier's own list -> certainty, or another look later."""

from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import message as rule
from textback.core.errors import StaleError
from textback.core.message import Uncertain
from textback.core.phone import is_messaging_service
from textback.core.policy import SendPolicy
from textback.core.ports import NoAnswer, NotFound, Taken
from textback.db import look_ups, messages, tenants
from textback.db.session import transaction
from textback.flows.send import SLOWEST, Carriers, outgoing

log = structlog.stdlib.get_logger()


async def claim(
    db: AsyncEngine, *, policy: SendPolicy, limit: int, now: datetime
) -> tuple[list[Uncertain], datetime | None]:
    async with transaction(db) as c:
        due = await messages.claim_look_ups(
            c, now=now, lease=policy.carrier_timeout * 2, limit=limit
        )
        upcoming = None if due else await messages.next_look_up(c)
    return due, upcoming


async def ask(
    db: AsyncEngine, m: Uncertain, carriers: Carriers, *, public_url: str, now: datetime
) -> Taken | NotFound | NoAnswer:
    """Ask the carrier, leaving out what belongs to other texts to the same person."""
    async with transaction(db) as c:
        senders = await tenants.senders(c, {m.agent_number})
        sender = senders.get(m.agent_number, SLOWEST)
        of_service = is_messaging_service(sender.messaging_service_sid or m.agent_number)
        known = await look_ups.known_ids(c, m, of_service=of_service)
    carrier, kind = await carriers.get(m.carrier_id)
    asked = outgoing(m, sender, kind, public_url=public_url, now=now)
    try:
        return await carrier.look_up(asked, known=known)
    except Exception as error:  # no carrier should raise; the text must not wait for ever
        log.exception(
            "look_up.raised",
            message_id=m.id,
            conversation_id=m.conversation_id,
            carrier_id=m.carrier_id,
        )
        return NoAnswer(f"the carrier raised {type(error).__name__}")


async def record(
    db: AsyncEngine,
    m: Uncertain,
    answer: Taken | NotFound | NoAnswer,
    *,
    policy: SendPolicy,
    now: datetime,
) -> rule.Message:
    """Save what was learned; a receipt that came meanwhile knows better. Raises Unavailable."""
    match answer:
        case Taken():
            after: rule.Message = rule.accepted(
                m, carrier_message_id=answer.carrier_message_id, now=now
            )
        case NotFound():
            after = rule.not_listed(m, now=now, policy=policy)
        case NoAnswer():
            after = rule.not_asked(m, now=now, policy=policy)
    try:
        async with transaction(db) as c:
            await messages.save(c, m, after, now=now)
    except StaleError:
        return m
    return after
