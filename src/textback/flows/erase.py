"""A conversation, or single texts of it -> gone for good, with all that was told of them.

Opt-outs stay: they are the user's. Of what the user wrote it stays known that it was here, and
nothing of what it said, so that the carrier's list does not bring it back as new.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core.conversation import Closed, Conversation
from textback.core.errors import Conflict, UnknownConversation, UnknownResource
from textback.core.ids import ConversationId
from textback.db import conversations, erasing, locks
from textback.db.session import transaction
from textback.flows.say import Who, conversation_of, policy_of
from textback.flows.silence import fall_silent


async def erase_conversation(
    db: AsyncEngine, conversation_id: ConversationId, *, who: Who, now: datetime
) -> None:
    """One that lives is closed first; what is queued in it is never sent.

    Raises UnknownConversation, Conflict (a text of it may be on its way out), Unavailable.
    """
    async with transaction(db) as c:
        await _lock_pair(c, conversation_id)
        before = await conversation_of(c, conversation_id, who)
        await _close(c, before, who=who, now=now)
        _settled_enough(erasing.under_way(await erasing.lock_texts(c, conversation_id)))
        await erasing.whole(c, conversation_id, now=now)


async def hush(
    db: AsyncEngine, conversation_id: ConversationId, *, who: Who, now: datetime
) -> None:
    """It is closed, and what is queued in it is dropped, whether or not it can be erased now.

    Raises UnknownConversation, Unavailable; and Conflict, when that is done, as
    `erase_conversation` would.
    """
    async with transaction(db) as c:
        await _lock_pair(c, conversation_id)
        await _close(c, await conversation_of(c, conversation_id, who), who=who, now=now)
        found = await erasing.lock_texts(c, conversation_id)
        await erasing.drop_queued(c, conversation_id, now=now)
    _settled_enough(erasing.under_way(found))


async def erase_messages(
    db: AsyncEngine,
    conversation_id: ConversationId,
    ids: Collection[str],
    *,
    who: Who,
    now: datetime,
) -> None:
    """All of `ids`, or none. The conversation stays, whatever its state.

    Raises UnknownConversation, UnknownResource (one is not of it), Conflict (one is not settled, or
    the agent is about to answer), Unavailable.
    """
    async with transaction(db) as c:
        await _lock_pair(c, conversation_id)
        await conversation_of(c, conversation_id, who)
        found = await erasing.lock_texts(c, conversation_id, ids)
        missing = sorted(set(ids) - set(found))
        if missing:
            raise UnknownResource(f"There is no message {missing[0]} in {conversation_id}.")
        if await erasing.has_turn(c, conversation_id):
            raise Conflict(f"The agent is about to answer in {conversation_id}; try again then.")
        _settled_enough(erasing.unsettled(found))
        await erasing.texts(c, conversation_id, list(found), now=now)


async def _close(c: AsyncConnection, before: Conversation, *, who: Who, now: datetime) -> None:
    """Whoever works on it finds it closed, and lets it be."""
    if not isinstance(before, Closed):
        closed = talk.close(before, "operator", now=now)
        idle = (await policy_of(c, before)).idle
        await conversations.save(c, before, closed, policy=idle, now=now, by=who.by)
    await fall_silent(c, before.id, why="the conversation was erased", now=now)


async def _lock_pair(c: AsyncConnection, conversation_id: ConversationId) -> None:
    """Nobody opens another one, hears or opts out meanwhile."""
    pair = await erasing.pair_of(c, conversation_id)
    if pair is None:
        raise UnknownConversation(f"There is no conversation {conversation_id}.")
    await locks.pair(c, *pair)


def _settled_enough(in_the_way: list[str]) -> None:
    if in_the_way:
        msg = (
            f"{in_the_way[0]} may be on its way to the user; try again when it is known what "
            "became of it."
        )
        raise Conflict(msg)
