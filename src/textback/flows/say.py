"""A person writes to the user, or a caller as the agent, in the thread there is."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core.commands import Accepted, Idempotency
from textback.core.conversation import NAMES, Closed, Conversation, Live
from textback.core.errors import BadRequest, Unavailable, UnknownConversation, WrongState
from textback.core.events import By
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ConversationId, MessageId, new_message_id
from textback.core.message import Kind, write
from textback.core.policy import MAX_TEXT, ProjectPolicy
from textback.db import conversations, idempotency, messages, opt_outs, tenants
from textback.db.session import transaction
from textback.flows import doubt

Sender = Literal["person", "agent"]


@frozen(kw_only=False)
class Who:
    """Who asks for it. An operator (`account_id` None) may touch every account's."""

    by: By
    account_id: AccountId | None = None


OPERATOR = Who("operator")

_KINDS: Mapping[Sender, Kind] = {"person": "person", "agent": "reply"}


@frozen
class Said:
    message_id: MessageId
    conversation: Conversation
    replayed: bool = False


async def say(
    db: AsyncEngine,
    conversation_id: ConversationId,
    text: str,
    *,
    sender: Sender,
    who: Who,
    key: Idempotency | None = None,
    now: datetime,
) -> Said:
    """Write to the user in the same thread, as a person or as the agent, whatever state it is in.

    When this returns, the text is durable. Raises BadRequest (no text that can be sent),
    UnknownConversation, WrongState (it is over, or the user has opted out), KeyReused, and
    Unavailable; then nothing is stored, unless that is `in_doubt`.
    """
    check_text(text)
    message_id = new_message_id(now)
    ids, after = Accepted(conversation_id=conversation_id, message_id=message_id), None
    try:
        async with transaction(db) as c:
            if key and who.account_id is not None:
                first = await idempotency.claim(c, who.account_id, key, ids, now=now)
                if first is not None:
                    return await _said_before(c, who, idempotency.replayed(first))
            before = await conversation_of(c, conversation_id, who)
            if isinstance(before, Closed):
                raise WrongState(f"{before.id} is {named(before)}: nothing more is said in it.")
            after = await add(c, before, text, _KINDS[sender], message_id, now=now)
    except Unavailable as error:

        async def is_stored(c: AsyncConnection) -> bool:
            await conversations.lock(c, conversation_id)
            return await messages.find(c, message_id) is not None

        # Told 503, somebody without an idempotency key would say again what may be stored.
        if not error.in_doubt or after is None or not await doubt.took_hold(db, is_stored):
            raise
    return Said(message_id=message_id, conversation=after)


async def conversation_of(
    c: AsyncConnection, conversation_id: ConversationId, who: Who
) -> Conversation:
    """Locked. Raises UnknownConversation, also for another account's."""
    found = await conversations.lock(c, conversation_id)
    if found is None or who.account_id not in {None, found.account_id}:
        msg = f"There is no conversation {conversation_id}."
        raise UnknownConversation(msg)
    return found


def named(c: Conversation) -> str:
    name = NAMES[type(c)].replace("_", " ")
    return f"{name} ({c.reason})" if isinstance(c, Closed) else name


async def policy_of(c: AsyncConnection, of: Conversation) -> ProjectPolicy:
    return (await tenants.get_project(c, of.project_id)).policy


async def add(
    c: AsyncConnection,
    before: Live,
    text: str,
    kind: Kind,
    message_id: MessageId,
    *,
    now: datetime,
) -> Live:
    """One text of ours in a conversation that the caller has locked."""
    if await opt_outs.stands(c, before.agent_number, before.user_number):
        msg = f"The user of {before.id} has opted out, and must not be texted."
        raise WrongState(msg)
    policy = await policy_of(c, before)
    after = talk.agent_texted(before, now=now)
    await conversations.save(c, before, after, policy=policy.idle, now=now)
    queued = write(
        after,
        kind,
        text,
        id=message_id,
        carrier_id=await tenants.carrier_of(c, before.agent_number),
        validity=policy.validity,
        now=now,
    )
    await messages.add(c, queued, project_id=before.project_id, now=now)
    return after


async def _said_before(c: AsyncConnection, who: Who, first: Accepted) -> Said:
    conversation = await conversation_of(c, first.conversation_id, who)
    message_id = first.message_id or MessageId("")  # what is said has always one
    return Said(message_id=message_id, conversation=conversation, replayed=True)


def check_text(text: str) -> None:
    if not text.strip() or len(text) > MAX_TEXT or not storable(text):
        msg = f"A text has 1 to {MAX_TEXT} characters, not all blank, and no NUL."
        raise BadRequest(msg)


def storable(value: str) -> bool:
    """Postgres' text holds neither a NUL nor half of a pair of surrogates."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
