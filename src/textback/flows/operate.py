"""What an operator may do by hand to texts; to conversations: hand.py."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import message as rule
from textback.core.errors import NotUncertain
from textback.core.events import Event
from textback.core.ids import MessageId, by_hand
from textback.core.message import Message, Uncertain
from textback.core.policy import SendPolicy
from textback.db import events, messages
from textback.db.session import transaction

BATCH = 500


async def settle_as_sent(
    db: AsyncEngine, message_id: MessageId, *, carrier_message_id: str | None, now: datetime
) -> Message:
    """The operator knows that the carrier has the text, and maybe under which id.

    Raises NotUncertain, Unavailable.
    """
    async with transaction(db) as c:
        m = await _uncertain(c, message_id)
        sid = carrier_message_id or by_hand(m.id)
        owner = await messages.id_of(c, m.carrier_id, sid)
        if owner is not None:
            msg = f"{sid} is the carrier's id of {owner}; nothing was changed."
            raise NotUncertain(msg)
        after = rule.accepted(m, carrier_message_id=sid, now=now)
        await _save(c, m, after, "sent", now=now)
    return after


async def settle_as_not_sent(db: AsyncEngine, message_id: MessageId, *, now: datetime) -> Message:
    """The operator knows that the carrier never had it: it is sent, if it is still valid.

    Raises NotUncertain, Unavailable.
    """
    async with transaction(db) as c:
        m = await _uncertain(c, message_id)
        after = rule.settled_not_sent(m, now=now)
        await _save(c, m, after, "not_sent", now=now)
    return after


async def doubt_queued(db: AsyncEngine, *, policy: SendPolicy, now: datetime) -> int:
    """Let the carrier's list be asked for everything queued before any of it is sent.

    For a database that was restored, or a replica that lagged when it took over: run it before the
    workers. Gives how many texts. Raises Unavailable; run again, it goes on where it stopped.
    """
    doubted = 0
    while True:
        async with transaction(db) as c:
            some = await messages.lock_queued(c, accepted_before=now, limit=BATCH)
            for m in some:
                await messages.save(c, m, rule.doubted(m, now=now, policy=policy), now=now)
        doubted += len(some)
        if len(some) < BATCH:
            return doubted


async def _uncertain(c: AsyncConnection, message_id: MessageId) -> Uncertain:
    found = await messages.lock(c, message_id)
    if isinstance(found, Uncertain):
        return found
    what = "is not one of our texts" if found is None else f"is {type(found).__name__.lower()}"
    msg = f"{message_id} {what}: there is nothing to settle."
    raise NotUncertain(msg)


async def _save(
    c: AsyncConnection, m: Uncertain, after: Message, verdict: str, *, now: datetime
) -> None:
    await messages.save(c, m, after, now=now)
    by_operator = Event(
        kind="message.settled",
        conversation_id=m.conversation_id,
        message_id=m.id,
        data={"by": "operator", "as": verdict},
    )
    await events.append(c, [by_operator], now=now)
