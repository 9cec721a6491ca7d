"""A user said no: nothing more goes out to them from this number."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core import optout
from textback.core.conversation import Live
from textback.core.events import Event
from textback.core.ids import ConversationId
from textback.core.optout import Word
from textback.core.phone import Phone
from textback.core.policy import ProjectPolicy
from textback.core.turn import OPTED_OUT
from textback.db import conversations, events, inbound, messages, opt_outs, tenants, turns
from textback.db.opt_outs import Source

DOUBT: Final = timedelta(minutes=1)
"""The carrier's clock is not ours: a STOP that was said this little before a START counts."""


def word(text: str, policy: ProjectPolicy, *, opted_out: bool) -> Word | None:
    return optout.word(
        text,
        opted_out=opted_out,
        stop_words=policy.stop_words,
        start_words=policy.start_words,
        help_words=policy.help_words,
    )


async def is_outdated(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    said: Word,
    *,
    policy: ProjectPolicy,
    at: datetime,
) -> bool:
    """Of two opposite keywords the one said last counts, even if it was found first."""
    if said == "help":
        return False
    if said == "start":
        return await opt_outs.decided_since(c, agent, user, since=at, opted_in=False)
    since = at + DOUBT
    if await opt_outs.decided_since(c, agent, user, since=since, opted_in=True):
        return True
    # Who had not opted out, as far as we knew then, was not noted as opting in.
    later = await inbound.keywords(c, agent, user, since=since)
    return any(word(text, policy, opted_out=True) == "start" for text in later)


async def record(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    conversation_id: ConversationId,
    source: Source,
    words: str | None,
    carrier_message_id: str | None,
    at: datetime | None = None,
    now: datetime,
) -> bool:
    """Record the opt-out, drop what waits and close the live conversation.

    `at`: when the user said it, if not now. False, and nothing is done, when the user had opted out
    already: all that may wait then is the confirmation. Call with the pair locked.
    """
    if not await opt_outs.opted_out(
        c,
        agent,
        user,
        source=source,
        words=words,
        carrier_message_id=carrier_message_id,
        now=at or now,
    ):
        return False
    await stop(c, agent, user, now=now)
    event = Event(kind="user.opted_out", conversation_id=conversation_id, data={"source": source})
    await events.append(c, [event], now=now)
    return True


async def stop(c: AsyncConnection, agent: Phone, user: Phone, *, now: datetime) -> Live | None:
    """Drop what waits for the pair and close its live conversation; gives that as it was.

    Call with the pair locked, and the opt-out recorded.
    """
    # First the conversation: whoever holds it may be adding to what has to be dropped.
    live = await conversations.lock_live(c, agent, user)
    await messages.drop_queued(c, agent, user, reason="opted_out", now=now)
    if live is not None:
        policy = (await tenants.get_project(c, live.project_id)).policy
        closed = talk.close(live, "opted_out", now=now)
        await conversations.save(c, live, closed, policy=policy.idle, now=now)
        await turns.drop_waiting(c, live.id, why=OPTED_OUT, now=now)
    return live
