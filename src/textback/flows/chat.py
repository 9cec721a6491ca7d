"""A chat: somebody talks to an agent and waits for its answer, without a phone.

A text of theirs is stored and its turn is due at once; a worker thinks, as for any other text, and
what the agent said is read when the turn is over. So nothing is lost when whoever waits is cut off.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core import phone
from textback.core.commands import Caller
from textback.core.conversation import Closed, Conversation, Engaged, Opened
from textback.core.errors import UnknownConversation, WrongState
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, MessageId, new_conversation_id, new_message_id
from textback.core.message import write
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.core.ports import Vault
from textback.db import agents, chats, conversations, inbound, messages, tenants, turns
from textback.db.conversation_rows import Brief
from textback.db.session import transaction

IDLE: Final = IdlePolicy(
    warn_after=None, end_after=timedelta(hours=1), closing=None, also_unanswered=True
)
"""A chat that nobody goes on with ends without a word."""

LOOK_SECONDS: Final = 0.1


class TookTooLong(Exception):  # noqa: N818 - a state of affairs
    """The agent has not answered yet. It still will, and what it says is kept."""


@frozen
class Answer:
    conversation: Conversation
    texts: Sequence[str]


async def open_chat(
    db: AsyncEngine,
    vault: Vault,
    caller: Caller,
    *,
    variables: Mapping[str, object],
    now: datetime,
) -> tuple[ConversationId, int]:
    """Open a chat; gives its id, and the place after which the agent's greeting comes.

    An agent that can neither greet nor open waits to be spoken to. Raises Unavailable.
    """
    conversation_id = new_conversation_id(now)
    async with transaction(db) as c:
        project = await tenants.get_project(c, caller.project_id)
        agent = await agents.current(c, project.agent_id, project.label(caller.environment))
        line = await chats.line(
            c,
            caller.account_id,
            caller.project_id,
            caller.environment,
            sealed=vault.seal(secrets.token_urlsafe(16)),
            now=now,
        )
        opened = Opened(
            id=conversation_id,
            account_id=caller.account_id,
            project_id=caller.project_id,
            connector_id=caller.connector_id,
            agent_id=agent.agent_id,
            agent_version=agent.number,
            agent_number=line.address,
            user_number=Phone(f"chat:{conversation_id}"),
            opened_at=now,
            active_at=now,
            idle=IDLE,
        )
        brief = Brief(variables=variables, dialect="polyai")
        await conversations.add(c, opened, policy=IDLE, now=now, brief=brief)
        if agent.greeting is not None or agent.can_open:
            queued = write(
                opened,
                "opener",
                agent.greeting,
                id=new_message_id(now),
                carrier_id=line.carrier_id,
                validity=project.policy.validity,
                now=now,
            )
            if agent.greeting is None:
                await turns.agent_opens(c, conversation_id, queued.id, now=now)
            await messages.add(c, queued, project_id=caller.project_id, now=now)
    return conversation_id, 0


async def respond(
    db: AsyncEngine,
    caller: Caller,
    conversation_id: ConversationId,
    text: str | None,
    *,
    now: datetime,
) -> int:
    """What the user says; None: the agent goes on by itself. Gives the place it is answered after.

    Raises UnknownConversation, WrongState (it is over), Unavailable.
    """
    async with transaction(db) as c:
        before = await _chat_of(c, caller, conversation_id)
        if isinstance(before, Closed):
            raise WrongState(f"The conversation {conversation_id} has ended.")
        after = talk.user_texted(before, now=now)
        await conversations.save(c, before, after, policy=IDLE, now=now)
        seq = await chats.latest(c, conversation_id)
        is_agents = isinstance(after, Engaged)
        if text is not None:
            seq = await _store(c, after, text, for_agent=is_agents, now=now)
        if is_agents:
            await turns.text_came(
                c, conversation_id, while_thinking="queue", now=now, delay=timedelta(0)
            )
    return seq


async def answer(
    db: AsyncEngine,
    caller: Caller,
    conversation_id: ConversationId,
    after: int,
    *,
    seconds: float,
    stop: asyncio.Event,
) -> Answer:
    """Wait until the agent has said what it had to, or `stop` is set.

    Raises TookTooLong, Unavailable.
    """
    try:
        async with asyncio.timeout(seconds):
            while True:
                async with transaction(db) as c:
                    if not await turns.is_pending(c, conversation_id):
                        return Answer(
                            conversation=await _chat_of(c, caller, conversation_id),
                            texts=await chats.said_since(c, conversation_id, after),
                        )
                if stop.is_set():
                    raise TookTooLong
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TookTooLong from None


async def end(
    db: AsyncEngine, caller: Caller, conversation_id: ConversationId, *, now: datetime
) -> None:
    """One that is over stays as it is. Raises UnknownConversation, Unavailable."""
    async with transaction(db) as c:
        before = await _chat_of(c, caller, conversation_id)
        if isinstance(before, Closed):
            return
        closed = talk.close(before, "operator", now=now)
        await conversations.save(c, before, closed, policy=IDLE, now=now, by="caller")
        await turns.drop_waiting(c, conversation_id, why="the conversation was ended", now=now)


async def _chat_of(
    c: AsyncConnection, caller: Caller, conversation_id: ConversationId
) -> Conversation:
    """Locked."""
    found = await conversations.lock(c, conversation_id)
    if (
        found is None
        or found.project_id != caller.project_id
        or phone.channel(found.user_number) != "chat"
    ):
        raise UnknownConversation(f"There is no chat {conversation_id}.")
    return found


async def _store(
    c: AsyncConnection, of: Conversation, text: str, *, for_agent: bool, now: datetime
) -> int:
    message_id: MessageId = new_message_id(now)
    return await inbound.add(
        c,
        message_id=message_id,
        conversation_id=of.id,
        project_id=of.project_id,
        carrier_id=await tenants.carrier_of(c, of.agent_number),
        carrier_message_id=f"chat-{message_id}",
        agent_number=of.agent_number,
        user_number=of.user_number,
        kind="text" if for_agent else "unanswered",
        text=text,
        media=(),
        note=None if for_agent else talk.NAMES[type(of)],
        at=now,
        now=now,
    )
