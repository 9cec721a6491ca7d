"""A conversation is handed to a person, and back to its agent; or it is ended by hand."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core.commands import Idempotency, Notify
from textback.core.conversation import Closed, Conversation, Engaged, HandedOff, Live, Paused
from textback.core.errors import BadRequest, UnknownAgent, WrongState
from textback.core.frozen import frozen
from textback.core.ids import ConversationId, MessageId, new_message_id
from textback.core.policy import ProjectPolicy
from textback.core.turn import HANDED_OFF
from textback.db import agents, briefs, conversations, hand_off, idempotency, inbound, turns
from textback.db.session import transaction
from textback.flows import reply_budget
from textback.flows.say import Who, add, check_text, conversation_of, named, policy_of, storable
from textback.flows.silence import fall_silent

MAX_REASON = 500
RESUMED = "the conversation was resumed"


@frozen
class Done:
    """What became of the conversation. `changed`: it was not so before."""

    before: Conversation
    after: Conversation
    message_id: MessageId | None = None
    answers: int = 0
    """How many of the user's texts the agent answers now."""
    replayed: bool = False
    """It was asked for before, under the same key."""

    @property
    def changed(self) -> bool:
        return type(self.before) is not type(self.after)


async def off(
    db: AsyncEngine,
    conversation_id: ConversationId,
    why: str,
    *,
    who: Who,
    metadata: Mapping[str, object] | None = None,
    actor: str | None = None,
    notify: Notify | None = None,
    now: datetime,
) -> Done:
    """Hand it to a person. The agent falls silent, and no time runs, until it is resumed.

    `actor`: who asks for it, as the caller names them, for the event. `notify`: its events go there
    from now on. One that a person has already stays as it is. Raises BadRequest,
    UnknownConversation, WrongState (it is over), Unavailable.
    """
    _check_reason(why)
    async with transaction(db) as c:
        before = await conversation_of(c, conversation_id, who)
        if isinstance(before, HandedOff):
            return Done(before=before, after=before)
        if isinstance(before, Closed):
            raise WrongState(f"{before.id} is {named(before)}: there is nothing to hand over.")
        after = talk.handed_off(before, why, now=now)
        more: dict[str, object] = {"metadata": dict(metadata)} if metadata else {}
        more |= _by(actor)
        if notify is not None:
            await briefs.notify(c, before, notify, now=now)
        idle = (await policy_of(c, before)).idle
        await conversations.save(c, before, after, policy=idle, now=now, by=who.by, more=more)
        await fall_silent(c, conversation_id, why=HANDED_OFF, now=now)
    return Done(before=before, after=after)


async def resume(
    db: AsyncEngine,
    conversation_id: ConversationId,
    *,
    who: Who,
    message: str | None = None,
    reply: bool = False,
    node: str | None = None,
    actor: str | None = None,
    if_held: bool = False,
    key: Idempotency | None = None,
    now: datetime,
) -> Done:
    """The agent has it again, from a person or after a pause, and owes no answer to older texts.

    With `message` it says that. With `reply` it answers what the user said since the last text of
    ours, or goes on by itself if that is nothing. Else it waits for the user; but what a pause
    kept is answered. A flow goes on at `node`. `if_held`: one that is live, and neither paused nor
    a person's, stays as it is, if nothing else is asked.

    Raises BadRequest, UnknownConversation, WrongState, UnknownAgent (no such node), KeyReused,
    Unavailable.
    """
    if message is not None:
        check_text(message)
        if reply:
            raise BadRequest("Give the agent a message, or let it reply, but not both.")
    asked = _Resume(who=who, message=message, reply=reply, node=node, actor=actor, if_held=if_held)
    async with transaction(db) as c:
        if key is None or who.account_id is None:
            return await _resume(c, conversation_id, asked, now=now)
        first = await idempotency.claim(c, who.account_id, key, {}, now=now)
        if first is not None:
            return _resumed_before(await conversation_of(c, conversation_id, who), first)
        done = await _resume(c, conversation_id, asked, now=now)
        # The conversation leads to the key, when its user is erased.
        answer = {
            "conversation_id": conversation_id,
            "message_id": done.message_id,
            "answers": done.answers,
        }
        await idempotency.settle(c, who.account_id, key, answer)
    return done


@frozen
class _Resume:
    who: Who
    message: str | None
    reply: bool
    node: str | None
    actor: str | None
    if_held: bool


async def _resume(
    c: AsyncConnection, conversation_id: ConversationId, asked: _Resume, *, now: datetime
) -> Done:
    message, reply, node = asked.message, asked.reply, asked.node
    message_id = None if message is None else new_message_id(now)
    before = await conversation_of(c, conversation_id, asked.who)
    nothing_else = message is None and node is None and not reply
    if not isinstance(before, Paused | HandedOff):
        return _not_held(before, stays=asked.if_held and nothing_else)
    if node is not None:
        await _check_node(c, before, node)
    after = talk.resumed(before, now=now)
    policy = await policy_of(c, before)
    by, more = asked.who.by, _by(asked.actor)
    await conversations.save(c, before, after, policy=policy.idle, now=now, by=by, more=more)
    if message is not None or node is not None:  # what it thinks of now is out of date
        await fall_silent(c, conversation_id, why=RESUMED, now=now)
    if message is not None and message_id is not None:
        await add(c, after, message, "reply", message_id, now=now)
    upto: int | None = None
    answers = 0
    if isinstance(before, Paused) and message is None:
        answers = await inbound.hear_kept(c, conversation_id)
    elif reply:
        upto = await hand_off.latest_of_ours(c, conversation_id)
        answers = await hand_off.take_up(c, conversation_id, after=upto)
    else:
        upto = await hand_off.latest(c, conversation_id)
    await hand_off.begin_anew(c, conversation_id, heard_seq=upto, node=node)
    if reply or answers:
        await _answer(c, after, policy, now=now)
    return Done(before=before, after=after, message_id=message_id, answers=answers)


def _resumed_before(now_is: Conversation, first: Mapping[str, Any]) -> Done:
    return Done(
        before=now_is,
        after=now_is,
        message_id=first["message_id"],
        answers=first["answers"],
        replayed=True,
    )


def _not_held(before: Conversation, *, stays: bool) -> Done:
    """Raises WrongState."""
    if stays and not isinstance(before, Closed):
        return Done(before=before, after=before)
    msg = (
        f"{before.id} is not paused or handed off, it is {named(before)}: "
        "there is nothing to resume."
    )
    raise WrongState(msg)


async def end(
    db: AsyncEngine,
    conversation_id: ConversationId,
    why: str | None,
    *,
    who: Who,
    actor: str | None = None,
    now: datetime,
) -> Done:
    """Close it, without a word to the user. One that is over stays as it is.

    Raises BadRequest, UnknownConversation, Unavailable.
    """
    if why is not None:
        _check_reason(why)
    async with transaction(db) as c:
        before = await conversation_of(c, conversation_id, who)
        if isinstance(before, Closed):
            return Done(before=before, after=before)
        after = talk.close(before, "operator", now=now)
        more = _by(actor) | ({} if why is None else {"why": why})
        idle = (await policy_of(c, before)).idle
        await conversations.save(c, before, after, policy=idle, now=now, by=who.by, more=more)
        await fall_silent(c, conversation_id, why="the conversation was ended", now=now)
    return Done(before=before, after=after)


async def _answer(
    c: AsyncConnection, after: Engaged, policy: ProjectPolicy, *, now: datetime
) -> None:
    left = await reply_budget.left(
        c,
        after.agent_number,
        after.user_number,
        conversation_id=after.id,
        budget=policy.reply_budget,
        now=now,
    )
    await turns.text_came(
        c,
        after.id,
        while_thinking="queue",  # what is thought of now was begun before
        now=now,
        delay=timedelta(0),
        not_before=left.not_before,
    )


async def _check_node(c: AsyncConnection, before: Live, node: str) -> None:
    agent = await agents.find(c, before.agent_id, before.agent_version)
    if agent is None or node not in agent.nodes:
        msg = f'Agent "{before.agent_id}" has no node "{node}" to go on from.'
        raise UnknownAgent(msg)


def _by(actor: str | None) -> dict[str, object]:
    return {} if actor is None else {"actor": actor}


def _check_reason(why: str) -> None:
    if not why.strip() or len(why) > MAX_REASON or not storable(why):
        msg = f"A reason has 1 to {MAX_REASON} characters, not all blank, and no NUL."
        raise BadRequest(msg)
