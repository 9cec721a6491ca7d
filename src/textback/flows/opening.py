"""A command that is due -> a conversation, opened or gone on with, and its text, queued."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import conversation as talk
from textback.core import phone
from textback.core.commands import Accepted, Caller, SendText
from textback.core.conversation import Closed, HandedOff, Live, Opened, Paused
from textback.core.errors import (
    NoNumber,
    NothingToSay,
    NumberNotProvisioned,
    OptedOut,
    UnknownAgent,
    WrongState,
)
from textback.core.message import Queued, Suppressed, dropped, write
from textback.core.numbers import pick
from textback.core.phone import Phone
from textback.db import agents, briefs, conversations, locks, messages, opt_outs, tenants, turns
from textback.db.agents import AgentVersion
from textback.db.tenants import NumberRow, ProjectRow
from textback.flows import beginning

AnyLive = TypeVar("AnyLive", bound=Live)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who texts, and as whom."""

    project: ProjectRow
    number: NumberRow
    agent: AgentVersion
    opted_out: bool
    """As far as is known without the pair's lock."""


async def choose(c: AsyncConnection, caller: Caller, command: SendText) -> Choice:
    """What can be checked of a command before its time has come.

    Raises NoNumber, NumberNotProvisioned, UnknownAgent, NothingToSay, OptedOut.
    """
    project = await tenants.get_project(c, caller.project_id)
    number, opted_out = await _choose_number(c, caller, command)
    agent = await _choose_agent(c, caller, command, project, number)
    says_nothing = command.text is None and command.template is None
    if says_nothing and agent.greeting is None and not agent.can_open:
        msg = "Give a message: this connector's agent has no greeting to open with."
        raise NothingToSay(msg)
    if not opted_out:
        opted_out = await opt_outs.stands(c, number.number, command.user_number)
    _check_consent(command, number, opted_out=opted_out)
    return Choice(project=project, number=number, agent=agent, opted_out=opted_out)


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

    `found`: what `choose` has just found. Raises as `choose` does, and WrongState when the agent is
    to go on with a conversation in which it may not speak; then nothing is stored, once the
    transaction is rolled back.
    """
    found = found or await choose(c, caller, command)
    number, user = found.number, command.user_number
    await locks.pair(c, number.number, user)
    # Asked again now that nobody else can opt this user in or out.
    opted_out = found.opted_out or await opt_outs.stands(c, number.number, user)
    _check_consent(command, number, opted_out=opted_out)
    older = await conversations.lock_live(c, number.number, user)
    if older is not None and not opted_out:
        if command.thread == "resume":
            return await _go_on(c, older, command, found, ids, now=now)
        closed = talk.close(older, "superseded", now=now)
        await conversations.save(c, older, closed, policy=found.project.policy.idle, now=now)
    return await _open(c, caller, command, found, ids, opted_out=opted_out, now=now)


def _check_consent(command: SendText, number: NumberRow, *, opted_out: bool) -> None:
    """Raises OptedOut, if the caller wants to be told."""
    if opted_out and command.refuses_opted_out:
        raise OptedOut(f"{command.user_number} has opted out of texts from {number.number}.")


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
    text = _words(command, found.agent)
    queued = _written(opened, text, command, found, ids, now=now)
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
    queued = _written(after, _words(command, found.agent), command, found, ids, now=now)
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
    opened = Opened(
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
    begun: Opened | Closed = talk.close(opened, "opted_out", now=now) if opted_out else opened
    brief = beginning.brief(found.number, found.agent, command)
    await conversations.add(c, begun, policy=found.project.policy.idle, now=now, brief=brief)
    return opened


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
        _check_node(wanted.start_node, found.agent if has_it is None else has_it)
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


def _words(command: SendText, agent: AgentVersion) -> str | None:
    """None: the agent is to write."""
    if command.text is None and command.template is not None:
        return f"[{command.template.content_sid}]"
    return command.text if command.text is not None else agent.greeting


def _written(
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


async def _choose_agent(
    c: AsyncConnection,
    caller: Caller,
    command: SendText,
    project: ProjectRow,
    number: NumberRow,
) -> AgentVersion:
    wanted, label = command.agent, project.label(caller.environment)
    agent_id = wanted.agent_id or number.agent_id or project.agent_id
    if wanted.agent_id is None and wanted.version is None:
        found = await beginning.agent_of(c, number, project, label)
    else:
        version = label if wanted.version is None else wanted.version
        chosen = await agents.choose(c, caller.account_id, agent_id, version)
        if chosen is None:
            msg = f'This account has no agent "{agent_id}" with a version {version}.'
            raise UnknownAgent(msg)
        found = chosen
    if wanted.start_node is not None:
        _check_node(wanted.start_node, found)
    return found


def _check_node(node: str, of: AgentVersion) -> None:
    if node not in of.nodes:
        raise UnknownAgent(f'Agent "{of.agent_id}" has no node "{node}" to start from.')


async def _choose_number(
    c: AsyncConnection, caller: Caller, command: SendText
) -> tuple[NumberRow, bool]:
    """The number to send from, and whether the user is known to have opted out."""
    travels_on = phone.channel(command.user_number)
    all_of_it = await tenants.numbers_of(c, caller.project_id)
    ours = [n for n in all_of_it if phone.channel(n.number) == travels_on]
    usable = [n for n in ours if n.environment == caller.environment]
    if command.agent_number is not None:
        if travels_on == "rcs" and command.agent_number not in (n.number for n in ours):
            msg = "messaging_service_sid is not provisioned for this project."
            raise NumberNotProvisioned(msg)
        if not ours:
            msg = "No number is provisioned for this connector's project."
            raise NoNumber(msg)
        named = next((n for n in ours if n.number == command.agent_number), None)
        if named is None:
            msg = "agent_number is not provisioned for this project."
            raise NumberNotProvisioned(msg)
        return named, False
    if not usable:
        msg = f"No number is provisioned for this connector's environment ({caller.environment})."
        raise NoNumber(msg)
    if len(ours) == 1:  # nothing to pick, and no other number to have opted out of
        return ours[0], False
    await locks.user(c, caller.project_id, command.user_number)
    # With no number named, an opt-out from any number of the project counts.
    out_of = await opt_outs.of_project(c, caller.project_id, command.user_number)
    names = [n.number for n in usable]
    last = next((n for n in out_of if n in names), None) or await conversations.last_number_used(
        c, caller.project_id, command.user_number, names
    )
    candidates = await tenants.candidates(c, usable)  # few, and each at a bounded cost
    picked: Phone | None = pick(candidates, user=command.user_number, last=last)
    return next(n for n in usable if n.number == picked), bool(out_of)
