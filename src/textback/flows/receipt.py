"""The carrier said what became of a text -> the text's state."""

from datetime import datetime
from typing import Literal, TypeGuard

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import message as rule
from textback.core.ids import CarrierId, MessageId
from textback.core.message import Delivered, Message, Sent
from textback.core.ports import Receipt
from textback.db import locks, messages, parts
from textback.db.session import transaction
from textback.flows import opt_out

Outcome = Literal["changed", "unchanged", "unknown", "contradiction"]


async def hear(
    db: AsyncEngine, carrier_id: CarrierId, receipt: Receipt, *, now: datetime
) -> Outcome:
    """Fold a verified receipt in. `unknown`: no text of this carrier account is meant.

    `contradiction`: it means one text, and the carrier's id is known as another's, which is final.

    Raises Unavailable.
    """
    async with transaction(db) as c:
        message_id = receipt.message_id or await messages.id_of(
            c, carrier_id, receipt.carrier_message_id
        )
        seen = await messages.find(c, message_id) if message_id else None
        if message_id is None or seen is None or seen.carrier_id != carrier_id:
            return "unknown"
        # Also an opt-out, which START has since ended.
        is_news = receipt.read and _is_of(seen, receipt)
        if not is_news and rule.hear(seen, receipt, now=now) == seen:
            await _let_next_go(c, seen, receipt)
            return "unchanged"
        other = await messages.id_of(c, carrier_id, receipt.carrier_message_id)
        if other not in {None, message_id} and not await _took_by_mistake(c, other, now=now):
            return "contradiction"
        if receipt.opted_out:  # lock order: pair and conversation come before the message
            await locks.pair(c, seen.agent_number, seen.user_number)
            await opt_out.record(
                c,
                seen.agent_number,
                seen.user_number,
                conversation_id=seen.conversation_id,
                source="carrier",
                words=None,
                carrier_message_id=receipt.carrier_message_id,
                now=now,
            )
        before = await messages.lock(c, message_id)
        if before is None:
            return "unknown"
        after = rule.hear(before, receipt, now=now)
        if after != before:
            await messages.save(c, before, after, now=now)
        await _let_next_go(c, after, receipt)
        if receipt.read and _is_of(after, receipt):
            await messages.note_read(c, after, now=now)
    return "unchanged" if after == before else "changed"


def _is_of(m: Message, receipt: Receipt) -> TypeGuard[Delivered]:
    return isinstance(m, Delivered) and m.carrier_message_id == receipt.carrier_message_id


async def _let_next_go(c: AsyncConnection, m: Message, receipt: Receipt) -> None:
    """What follows a text of the same answer waits until the carrier says that this is sent.

    It may say so before its answer to our request, or a text may be known as sent from its answer.
    """
    known = isinstance(m, Sent) and m.carrier_message_id == receipt.carrier_message_id
    if known and receipt.status == "sent":
        await parts.release(c, m.id)


async def _took_by_mistake(c: AsyncConnection, other: MessageId | None, *, now: datetime) -> bool:
    """Take the carrier's id from a text to which only a look-up gave it.

    The receipt's address, which we wrote and the carrier signed, proves whose it is. Of two texts
    with the same words the list could not tell; the other one is in doubt again.
    """
    found = None if other is None else await messages.lock(c, other)
    if not isinstance(found, Sent):
        return False
    await messages.save(c, found, rule.mistaken(found, now=now), now=now)
    return True
