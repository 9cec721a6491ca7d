"""Whether the agent may say more to somebody, and from when on."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import loops
from textback.core.frozen import frozen
from textback.core.gcra import Rate
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db import conversations, inbound


@frozen(kw_only=False)
class Left:
    pause_until: datetime | None
    """None: there is budget left."""
    not_before: datetime
    """When the next reply may be made."""


async def left(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    conversation_id: ConversationId,
    budget: Rate,
    now: datetime,
) -> Left:
    """Counts over all conversations of the pair. Who was resumed has a whole budget again."""
    since, at_most = counted(budget, now=now)
    replies = await inbound.replies(c, agent, user, since=since, at_most=at_most)
    return await left_of(c, replies, conversation_id=conversation_id, budget=budget, now=now)


def counted(budget: Rate, *, now: datetime) -> tuple[datetime, int]:
    """Since when replies count, and how many of the latest."""
    since = now - max(timedelta(seconds=budget.seconds), loops.LOOK_BACK)
    return since, int(max(budget.amount, loops.IN_A_ROW))


async def left_of(
    c: AsyncConnection,
    replies: Sequence[datetime],
    *,
    conversation_id: ConversationId,
    budget: Rate,
    cut_at: datetime | None = None,
    now: datetime,
) -> Left:
    """`replies`: when those that are `counted` were written, oldest first.

    `cut_at`: so much was said since that nobody looked at what was before. No person says that.
    """
    span = timedelta(seconds=budget.seconds)
    if cut_at is not None and cut_at <= now - span:
        cut_at = None
    if cut_at is None and (left := within(replies, budget, now=now)) is not None:
        return left
    since, _ = counted(budget, now=now)
    resumed = await conversations.resumed_since(c, conversation_id, since=since)
    since_then = replies if resumed is None else [at for at in replies if at >= resumed]
    until = loops.over(since_then, budget, now=now)
    if cut_at is not None and (resumed is None or cut_at > resumed):
        until = now + span
    return Left(until, loops.breather(replies, now=now))


def within(replies: Sequence[datetime], budget: Rate, *, now: datetime) -> Left | None:
    """As `left_of`; None: it depends on whether somebody resumed the conversation."""
    if loops.over(replies, budget, now=now) is not None:
        return None
    return Left(None, loops.breather(replies, now=now))
