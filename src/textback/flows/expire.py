"""A deadline was reached -> warn, or close."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core.conversation import Close, Live, Resume, Wait, Warn
from textback.core.ids import new_message_id
from textback.core.message import Kind, write
from textback.core.policy import ProjectPolicy
from textback.db import conversations, deadlines, locks, messages, tenants, turns
from textback.db.deadlines import Hold
from textback.db.session import transaction


async def expire_due(
    db: AsyncEngine, *, limit: int, now: datetime, hold: Hold | None = None
) -> tuple[int, datetime | None]:
    """Do what is due, once, whoever else is at it; gives how many, or else the next deadline.

    A conversation whose pair somebody has locked is left for the next time: a text of the user's
    that is being taken in was there first.
    """
    done = 0
    async with transaction(db) as c:
        due = await deadlines.claim_due(c, now=now, limit=limit, hold=hold)
        policies = await tenants.policies(c, list({project_id for _, project_id in due}))
        for conversation, project_id in due:
            if await locks.try_pair(c, conversation.agent_number, conversation.user_number):
                await _expire(c, conversation, policies[project_id], now=now)
                done += 1
        upcoming = None if done else await deadlines.next_deadline(c, after=now)
    return done, upcoming


async def _expire(
    c: AsyncConnection, before: Live, policy: ProjectPolicy, *, now: datetime
) -> None:
    due = talk.tick(before, now=now, policy=policy.idle)
    if isinstance(due, Warn | Close) and await turns.is_pending(c, before.id):
        # It is the agent who is silent, not the user: the clock starts anew.
        await conversations.save(
            c, before, talk.agent_texted(before, now=now), policy=policy.idle, now=now
        )
        return
    match due:
        case Wait():  # the project's lengths were changed: only the stored deadline is out of date
            await conversations.save(c, before, before, policy=policy.idle, now=now)
        case Resume(after=after):
            await conversations.save(c, before, after, policy=policy.idle, now=now)
        case Warn(after=after, text=text):
            await conversations.save(c, before, after, policy=policy.idle, now=now)
            if text is not None:
                await _say(c, before, "warning", text, policy, now=now)
        case Close(after=after, text=text):
            await conversations.save(c, before, after, policy=policy.idle, now=now)
            if text is not None:
                await _say(c, before, "closing", text, policy, now=now)


async def _say(
    c: AsyncConnection,
    conversation: Live,
    kind: Kind,
    text: str,
    policy: ProjectPolicy,
    *,
    now: datetime,
) -> None:
    queued = write(
        conversation,
        kind,
        text,
        id=new_message_id(now),
        carrier_id=await tenants.carrier_of(c, conversation.agent_number),
        validity=policy.validity,
        now=now,
    )
    await messages.add(c, queued, project_id=conversation.project_id, now=now)
