"""A caller's command -> a conversation and its queued opener, durably, or a refusal."""

import asyncio
from contextlib import suppress
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core.commands import Accepted, Caller, Idempotency, SendText
from textback.core.conversation import Closed, Opened
from textback.core.errors import (
    NoNumber,
    NothingToSay,
    NumberNotProvisioned,
    Unavailable,
    UnknownAgent,
)
from textback.core.ids import new_conversation_id, new_message_id
from textback.core.message import Queued, Suppressed, dropped, write
from textback.core.numbers import pick
from textback.core.phone import Phone
from textback.db import (
    agents,
    conversations,
    idempotency,
    locks,
    messages,
    opt_outs,
    tenants,
    turns,
)
from textback.db.agents import AgentVersion
from textback.db.conversations import Brief
from textback.db.session import transaction
from textback.db.tenants import NumberRow, ProjectRow

IN_DOUBT_SECONDS = 2.0
"""For how long a commit that nobody confirmed is looked for. The caller waits."""


async def replay(
    db: AsyncEngine, caller: Caller, key: Idempotency, *, now: datetime
) -> Accepted | None:
    """The answer this request got before, if it came before. Raises KeyReused, Unavailable."""
    async with transaction(db) as c:
        return await idempotency.find(c, caller.account_id, key, now=now)


async def send_text(
    db: AsyncEngine, caller: Caller, command: SendText, *, now: datetime
) -> Accepted:
    """Accept one text, with its new conversation, in one transaction.

    Raises NoNumber, NumberNotProvisioned, NothingToSay, KeyReused, Unavailable; then nothing is
    stored, unless Unavailable is `in_doubt`.
    """
    accepted = Accepted(conversation_id=new_conversation_id(now), message_id=new_message_id(now))
    number: Phone | None = None
    try:
        async with transaction(db) as c:
            key = command.idempotency
            if key and not await idempotency.claim(c, caller.account_id, key, accepted, now=now):
                return await _first_answer(c, caller, key, now=now)
            number = await _open(c, caller, command, accepted, now=now)
    except Unavailable as error:
        # Told 503, a caller without an idempotency key would send again what may be stored.
        if (
            not error.in_doubt
            or number is None
            or not await _is_stored(db, number, command.user_number, accepted)
        ):
            raise
    return accepted


async def _first_answer(
    c: AsyncConnection, caller: Caller, key: Idempotency, *, now: datetime
) -> Accepted:
    first = await idempotency.find(c, caller.account_id, key, now=now)
    if first is None:  # it ran out between the two statements
        raise Unavailable
    return first


async def _is_stored(db: AsyncEngine, number: Phone, user: Phone, ids: Accepted) -> bool:
    """Whether a commit that nobody confirmed took hold; False also when that cannot be found."""
    with suppress(TimeoutError):
        async with asyncio.timeout(IN_DOUBT_SECONDS):
            while True:
                try:
                    async with transaction(db) as c:
                        # It is the commit's until that ends: then there is no doubt any more.
                        await locks.pair(c, number, user)
                        return await conversations.is_there(c, ids.conversation_id)
                except Unavailable:
                    await asyncio.sleep(IN_DOUBT_SECONDS / 20)
    return False


async def _open(
    c: AsyncConnection, caller: Caller, command: SendText, ids: Accepted, *, now: datetime
) -> Phone:
    """Gives the number it will be sent from."""
    project = await tenants.get_project(c, caller.project_id)
    agent = await _choose_agent(c, caller, command, project)
    number, opted_out = await _choose_number(c, caller, command)
    text = command.text if command.text is not None else agent.greeting
    if text is None and not agent.can_open:
        msg = "Give a message: this connector's agent has no greeting to open with."
        raise NothingToSay(msg)
    await locks.pair(c, number.number, command.user_number)
    # Asked again, or first, now that nobody else can opt this user in or out.
    opted_out = opted_out or await opt_outs.stands(c, number.number, command.user_number)
    policy = project.policy
    older = await conversations.lock_live(c, number.number, command.user_number)
    if older is not None and not opted_out:
        closed = talk.close(older, "superseded", now=now)
        await conversations.save(c, older, closed, policy=policy.idle, now=now)
    opened = _opened(caller, agent, number, command.user_number, ids, now=now)
    begun: Opened | Closed = talk.close(opened, "opted_out", now=now) if opted_out else opened
    brief = Brief(
        objective=command.objective,
        variables=command.variables,
        start_node=command.agent.start_node,
        metadata=command.metadata,
    )
    await conversations.add(c, begun, policy=policy.idle, now=now, brief=brief)
    queued = write(
        opened,
        "opener",
        text,
        id=ids.message_id,
        carrier_id=number.carrier_id,
        validity=policy.validity,
        now=now,
    )
    message: Queued | Suppressed = queued
    if opted_out:
        message = dropped(queued, reason="opted_out", now=now)
    elif text is None:
        await turns.agent_opens(c, opened.id, ids.message_id, now=now)
    await messages.add(c, message, project_id=project.id, now=now)
    return number.number


async def _choose_agent(
    c: AsyncConnection, caller: Caller, command: SendText, project: ProjectRow
) -> AgentVersion:
    wanted, label = command.agent, project.label(caller.environment)
    agent_id = wanted.agent_id or project.agent_id
    if wanted.agent_id is None and wanted.version is None:
        found = await agents.current(c, agent_id, label)
    else:
        version = label if wanted.version is None else wanted.version
        chosen = await agents.choose(c, caller.account_id, agent_id, version)
        if chosen is None:
            msg = f'This account has no agent "{agent_id}" with a version {version}.'
            raise UnknownAgent(msg)
        found = chosen
    if wanted.start_node is not None and wanted.start_node not in found.nodes:
        msg = f'Agent "{agent_id}" has no node "{wanted.start_node}" to start from.'
        raise UnknownAgent(msg)
    return found


async def _choose_number(
    c: AsyncConnection, caller: Caller, command: SendText
) -> tuple[NumberRow, bool]:
    """The number to send from, and whether the user is known to have opted out."""
    ours = await tenants.numbers_of(c, caller.project_id)
    usable = [n for n in ours if n.environment == caller.environment]
    if command.agent_number is not None:
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
    picked = pick(candidates, user=command.user_number, last=last)
    return next(n for n in usable if n.number == picked), bool(out_of)


def _opened(
    caller: Caller,
    agent: AgentVersion,
    number: NumberRow,
    user: Phone,
    ids: Accepted,
    *,
    now: datetime,
) -> Opened:
    return Opened(
        id=ids.conversation_id,
        account_id=caller.account_id,
        project_id=caller.project_id,
        connector_id=caller.connector_id,
        agent_id=agent.agent_id,
        agent_version=agent.number,
        agent_number=number.number,
        user_number=user,
        opened_at=now,
        active_at=now,
    )
