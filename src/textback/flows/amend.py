"""A caller changes what it said of a conversation."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.conversation import Closed
from textback.core.errors import WrongState
from textback.core.ids import ConversationId
from textback.db import briefs
from textback.db.session import transaction
from textback.flows.say import Who, conversation_of, named


async def amend(
    db: AsyncEngine,
    conversation_id: ConversationId,
    changes: Mapping[str, object],
    *,
    who: Who,
) -> None:
    """`changes`: of `metadata`, `variables`, `objective`, each instead of what there was.

    The agent reads them from its next turn on; once the conversation is over only the metadata
    may change. Raises UnknownConversation, WrongState, Unavailable.
    """
    async with transaction(db) as c:
        before = await conversation_of(c, conversation_id, who)
        if isinstance(before, Closed) and set(changes) - {"metadata"}:
            raise WrongState(f"{before.id} is {named(before)}: only its metadata may change.")
        await briefs.change(c, conversation_id, changes)
