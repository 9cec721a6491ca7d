"""A command that is due -> a conversation, opened or gone on with, and its text, queued."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core.commands import Accepted, Caller, SendText
from textback.core.conversation import Closed, HandedOff, Live, Opened, Paused
from textback.core.errors import (
    WrongState,
)
from textback.core.message import Queued, Suppressed, dropped, write
from textback.db import agents, briefs, conversations, locks, messages, opt_outs, turns
from textback.db.agents import AgentVersion
from textback.flows import beginning, choosing
from textback.flows.choosing import Choice

AnyLive = TypeVar("AnyLive", bound=Live)


async def text_user(
    c: AsyncConnection,
    caller: Caller,
    command: SendText,
    ids: Accepted,
    *,
    found: Choice | None = None,
    now: datetime,
) -> Accepted:
    """Text the user now. `ids` are used for what is new. Call within a transaction.

    `found`: what `choosing.choose` has just found. Raises as that does, and WrongState when the
    agent is
    to go on with a conversation in which it may not speak; then nothing is stored, once the
    transaction is rolled back.
    """
    found = found or await choosing.choose(c, caller, command)
    number, user = found.number, command.user_number
    await locks.pair(c, number.number, user)
    # Asked again now that nobody else can opt this user in or out.
    opted_out = found.opted_out or await opt_outs.stands(c, number.number, user)
    choosing.check_consent(command, number, opted_out=opted_out)
    older = await conversations.lock_live(c, number.number, user)
    if older is not None and not opted_out:
        if command.thread == "resume":
            return await _go_on(c, older, command, found, ids, now=now)
        closed = talk.close(older, "superseded", now=now)
        await conversations.save(c, older, closed, policy=found.project.policy.idle, now=now)
    return await _open(c, caller, command, found, ids, opted_out=opted_out, now=now)


async def _open(
    c: AsyncConnection,
    caller: Caller,
    command: SendText,
    found: Choice,
    ids: Accepted,
    *,
    opted_out: bool,
    now: datetime,
) -> Accepted:
    opened = await open_anew(c, caller, command, found, ids, opted_out=opted_out, now=now)
    text = words(command, found.agent)
    queued = written(opened, text, command, found, ids, now=now)
    message: Queued | Suppressed = queued
    if opted_out:
        message = dropped(queued, reason="opted_out", now=now)
    elif text is None:
        await turns.agent_opens(c, opened.id, queued.id, now=now)
    await messages.add(c, message, project_id=caller.project_id, now=now)
    return replace(ids, agent_number=opened.agent_number, suppressed=opted_out)


async def _go_on(
    c: AsyncConnection,
    older: Live,
    command: SendText,
    found: Choice,
    ids: Accepted,
    *,
    now: datetime,
) -> Accepted:
    """The conversation stays; what the caller says of it now replaces what it said before."""
    says_nothing = command.text is None and command.template is None
    if says_nothing and isinstance(older, HandedOff | Paused):
        who = "a person has it" if isinstance(older, HandedOff) else "it is paused"
        raise WrongState(f"The agent may not speak in {older.id}: {who}. Give a message.")
    after = await carry_on(c, older, talk.agent_texted(older, now=now), command, found, now=now)
    done = replace(ids, conversation_id=older.id, agent_number=older.agent_number, resumed=True)
    if says_nothing:
        await turns.text_came(
            c, older.id, while_thinking="queue", now=now, delay=timedelta(0), not_before=None
        )
        return replace(done, message_id=None)
    queued = written(after, words(command, found.agent), command, found, ids, now=now)
    await messages.add(c, queued, project_id=older.project_id, now=now)
    return done


async def open_anew(
    c: AsyncConnection,
    caller: Caller,
    command: SendText,
    found: Choice,
    ids: Accepted,
    *,
    opted_out: bool,
    now: datetime,
) -> Opened:
    """Open a conversation. When the user has opted out, it is stored as over; what is given is not.

    Call with the pair locked, and without a live conversation.
    """
    opened = begun_anew(caller, command, found, ids, now=now)
    begun: Opened | Closed = talk.close(opened, "opted_out", now=now) if opted_out else opened
    brief = beginning.brief(found.number, found.agent, command)
    await conversations.add(c, begun, policy=found.project.policy.idle, now=now, brief=brief)
    return opened


def begun_anew(
    caller: Caller, command: SendText, found: Choice, ids: Accepted, *, now: datetime
) -> Opened:
    return Opened(
        id=ids.conversation_id,
        account_id=caller.account_id,
        project_id=caller.project_id,
        connector_id=caller.connector_id,
        agent_id=found.agent.agent_id,
        agent_version=found.agent.number,
        agent_number=found.number.number,
        user_number=command.user_number,
        opened_at=now,
        active_at=now,
        idle=beginning.idle(found.number, command),
    )


async def carry_on(
    c: AsyncConnection,
    older: Live,
    after: AnyLive,
    command: SendText,
    found: Choice,
    *,
    now: datetime,
) -> AnyLive:
    """`older` goes on as `after`; what the command says of it replaces what was said before.

    Raises UnknownAgent.
    """
    if command.idle is not None:
        after = replace(after, idle=command.idle)
    wanted = command.agent
    if wanted.agent_id is not None or wanted.version is not None:
        after = replace(after, agent_id=found.agent.agent_id, agent_version=found.agent.number)
    elif wanted.start_node is not None:  # of the agent that has it, which may be another by now
        has_it = await agents.find(c, after.agent_id, after.agent_version)
        choosing.check_node(wanted.start_node, found.agent if has_it is None else has_it)
    policy = found.project.policy
    await conversations.save(c, older, after, policy=policy.idle, now=now)
    await briefs.renew(
        c,
        after,
        replace(command, reopens=command.reopens and found.number.defaults.reopens),
        anew=after.agent_id != older.agent_id or command.agent.start_node is not None,
        now=now,
    )
    return after


def words(command: SendText, agent: AgentVersion) -> str | None:
    """None: the agent is to write."""
    if command.text is None and command.template is not None:
        return f"[{command.template.content_sid}]"
    return command.text if command.text is not None else agent.greeting


def written(
    c: Live, text: str | None, command: SendText, found: Choice, ids: Accepted, *, now: datetime
) -> Queued:
    if ids.message_id is None:
        msg = "a send is given an id for its text"
        raise ValueError(msg)
    return write(
        c,
        "opener",
        text,
        id=ids.message_id,
        carrier_id=found.number.carrier_id,
        validity=command.validity or found.project.policy.validity,
        template=command.template,
        now=now,
    )
