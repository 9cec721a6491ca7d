"""Somebody asks for the analysis of a conversation now -> it is due, and waited for."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.conversation import Closed
from textback.core.errors import UnknownResource, WrongState
from textback.core.frozen import frozen
from textback.core.ids import ConversationId
from textback.db import agents, analyses
from textback.db.session import transaction
from textback.flows.say import Who, conversation_of, named

LOOK_SECONDS = 0.1


@frozen
class Found:
    """`error` when there is none."""

    analysis: Mapping[str, Any]
    texts: int


async def ask(
    db: AsyncEngine, conversation_id: ConversationId, schema: str, *, who: Who, now: datetime
) -> None:
    """Have a worker make it, unless there is one that came to something.

    `schema`: the agent, whose settings say what is wanted. Raises UnknownConversation, WrongState
    (it is not over), UnknownResource (the agent wants no analysis, or another one has it).
    """
    async with transaction(db) as c:
        found = await conversation_of(c, conversation_id, who)
        if not isinstance(found, Closed):
            raise WrongState(f"{found.id} is {named(found)}: it is analysed when it is over.")
        version = await agents.find(c, found.agent_id, found.agent_version)
        if schema != found.agent_id or version is None or version.analysis is None:
            msg = f'There is no schema "{schema}" for this conversation: name its agent, if that '
            raise UnknownResource(msg + "has an analysis.")
        await analyses.ask(c, conversation_id, now=now)


async def result(
    db: AsyncEngine, conversation_id: ConversationId, *, seconds: float, stop: asyncio.Event
) -> Found:
    """Wait for it, until `stop` is set. Raises TimeoutError: it will still be made; Unavailable."""
    async with asyncio.timeout(seconds):
        while True:
            async with transaction(db) as c:
                made = await analyses.made(c, conversation_id)
            if made is not None:
                return Found(analysis=made[0], texts=made[1])
            if stop.is_set():
                raise TimeoutError
            await asyncio.sleep(LOOK_SECONDS)
