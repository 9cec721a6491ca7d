"""The carrier said what became of a text -> the text's state."""

from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core import message as rule
from textback.core.ids import CarrierId
from textback.core.ports import Receipt
from textback.db import locks, messages
from textback.db.session import transaction
from textback.flows import opt_out

Outcome = Literal["changed", "unchanged", "unknown"]


async def hear(
    db: AsyncEngine, carrier_id: CarrierId, receipt: Receipt, *, now: datetime
) -> Outcome:
    """Fold a verified receipt in. `unknown`: no text of this carrier account is meant.

    Raises Unavailable.
    """
    async with transaction(db) as c:
        message_id = receipt.message_id or await messages.id_of(
            c, carrier_id, receipt.carrier_message_id
        )
        seen = await messages.find(c, message_id) if message_id else None
        if message_id is None or seen is None or seen.carrier_id != carrier_id:
            return "unknown"
        if (
            rule.hear(seen, receipt, now=now) == seen
        ):  # also an opt-out, which START has since ended
            return "unchanged"
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
        if after == before:
            return "unchanged"
        await messages.save(c, before, after, now=now)
    return "changed"
