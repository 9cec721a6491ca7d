"""A database that has forgotten its last moments -> nothing of them is said a second time."""

from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import UnknownConversation, WrongState
from textback.core.frozen import frozen
from textback.core.policy import SendPolicy
from textback.db import interrupted
from textback.db.session import transaction
from textback.flows import hand, operate
from textback.flows.say import OPERATOR

WHY: Final = "restored: what was said in the time that the database lost is not known"

_BATCH: Final = 200


@frozen
class Doubted:
    texts: int
    """Queued ones, of which the carrier will be asked before they are sent."""
    handed_off: int
    """Conversations in which an answer, a warning or a closing was due, and may have been given."""
    plans: int
    """Planned sends that are due, and may have been sent: left as they are."""


async def doubt(
    db: AsyncEngine, *, policy: SendPolicy, hand_off: bool = True, now: datetime
) -> Doubted:
    """Run it before any worker runs. Raises Unavailable; run again, it goes on where it stopped."""
    texts = await operate.doubt_queued(db, policy=policy, now=now)
    handed_off = await _hand_off(db, now=now) if hand_off else 0
    async with transaction(db) as c:
        plans = await interrupted.plans_due(c, now=now)
    return Doubted(texts=texts, handed_off=handed_off, plans=plans)


async def _hand_off(db: AsyncEngine, *, now: datetime) -> int:
    count = 0
    while True:
        async with transaction(db) as c:
            found = await interrupted.conversations_with_work(c, now=now, limit=_BATCH)
        done = 0
        for conversation_id in found:
            try:
                done += (await hand.off(db, conversation_id, WHY, who=OPERATOR, now=now)).changed
            except (WrongState, UnknownConversation):  # it ended meanwhile, by hand
                continue
        count += done
        if not done:  # none left, or only such as ended in this moment
            return count
