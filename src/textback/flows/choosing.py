"""Who texts, and as whom: what can be known of a command before its time has come."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import phone
from textback.core.commands import Caller, SendText
from textback.core.errors import (
    NoNumber,
    NothingToSay,
    NumberNotProvisioned,
    OptedOut,
    UnknownAgent,
)
from textback.core.frozen import frozen
from textback.core.numbers import pick
from textback.core.phone import Phone
from textback.db import agents, conversations, locks, opt_outs, tenants
from textback.db.agents import AgentVersion
from textback.db.book import Look, Within
from textback.db.tenants import NumberRow, ProjectRow
from textback.flows import beginning
from textback.flows.admit import numbers_of


@frozen
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
    look = Within(c)
    project = await _project(look, caller)
    number, opted_out = await _choose_number(c, caller, command)
    agent = await _choose_agent(look, caller, command, project, number)
    if not opted_out:
        opted_out = await opt_outs.stands(c, number.number, command.user_number)
    check_consent(command, number, opted_out=opted_out)
    return Choice(project=project, number=number, agent=agent, opted_out=opted_out)


async def usable(look: Look, caller: Caller, command: SendText) -> NumberRow | Sequence[NumberRow]:
    """The number to send from; or those to pick one from.

    Raises NoNumber, NumberNotProvisioned, Unavailable.
    """
    return _the_number(command, await numbers_of(look, caller.project_id), caller)


async def with_number(look: Look, caller: Caller, command: SendText, number: NumberRow) -> Choice:
    """As `choose`, of what was provisioned alone: who has opted out is not asked.

    Raises UnknownAgent, NothingToSay, Unavailable.
    """
    project = await _project(look, caller)
    agent = await _choose_agent(look, caller, command, project, number)
    return Choice(project=project, number=number, agent=agent, opted_out=False)


async def named(look: Look, caller: Caller, command: SendText) -> Choice | None:
    """`usable` and `with_number` in one look, for who names the number and leaves the agent to it.

    None: the command does not. Raises as they do.
    """
    wanted = command.agent
    if (
        command.agent_number is None
        or wanted.agent_id is not None
        or wanted.version is not None
        or wanted.start_node is not None
    ):
        return None

    async def load(c: AsyncConnection) -> Choice:
        within = Within(c)
        number = _the_number(command, await numbers_of(within, caller.project_id), caller)
        assert isinstance(number, NumberRow)  # noqa: S101 - it is named
        return await with_number(within, caller, command, number)

    travels_on = phone.channel(command.user_number)
    chosen = (caller.project_id, caller.environment, command.agent_number, travels_on)
    found = await look.get(("choice", *chosen), load)
    check_words(command, found.agent)
    return found


def check_words(command: SendText, agent: AgentVersion) -> None:
    """Raises NothingToSay."""
    says_nothing = command.text is None and command.template is None
    if says_nothing and agent.greeting is None and not agent.can_open:
        msg = "Give a message: this connector's agent has no greeting to open with."
        raise NothingToSay(msg)


def check_consent(command: SendText, number: NumberRow, *, opted_out: bool) -> None:
    """Raises OptedOut, if the caller wants to be told."""
    if opted_out and command.refuses_opted_out:
        raise OptedOut(f"{command.user_number} has opted out of texts from {number.number}.")


async def _project(look: Look, caller: Caller) -> ProjectRow:
    project_id = caller.project_id
    return await look.get(("project", project_id), lambda c: tenants.get_project(c, project_id))


async def _choose_agent(
    look: Look,
    caller: Caller,
    command: SendText,
    project: ProjectRow,
    number: NumberRow,
) -> AgentVersion:
    wanted, label = command.agent, project.label(caller.environment)
    agent_id = wanted.agent_id or number.agent_id or project.agent_id
    if wanted.agent_id is None and wanted.version is None:
        found = await look.get(
            ("agent", number.number, project.id, label),
            lambda c: beginning.agent_of(c, number, project, label),
        )
    else:
        version = label if wanted.version is None else wanted.version
        chosen = await look.get(
            ("version", caller.account_id, agent_id, version),
            lambda c: agents.choose(c, caller.account_id, agent_id, version),
        )
        if chosen is None:
            msg = f'This account has no agent "{agent_id}" with a version {version}.'
            raise UnknownAgent(msg)
        found = chosen
    if wanted.start_node is not None:
        check_node(wanted.start_node, found)
    check_words(command, found)
    return found


def check_node(node: str, of: AgentVersion) -> None:
    if node not in of.nodes:
        raise UnknownAgent(f'Agent "{of.agent_id}" has no node "{node}" to start from.')


def _the_number(
    command: SendText, all_of_it: Sequence[NumberRow], caller: Caller
) -> NumberRow | list[NumberRow]:
    """The number of the project to send from; or those to pick one from."""
    travels_on = phone.channel(command.user_number)
    ours = [n for n in all_of_it if phone.channel(n.number) == travels_on]
    if command.agent_number is not None:
        for each in ours:
            if each.number == command.agent_number:
                return each
        if travels_on == "rcs":
            msg = "messaging_service_sid is not provisioned for this project."
            raise NumberNotProvisioned(msg)
        if not ours:
            msg = "No number is provisioned for this connector's project."
            raise NoNumber(msg)
        msg = "agent_number is not provisioned for this project."
        raise NumberNotProvisioned(msg)
    usable = [n for n in ours if n.environment == caller.environment]
    if not usable:
        msg = f"No number is provisioned for this connector's environment ({caller.environment})."
        raise NoNumber(msg)
    # With one alone there is nothing to pick, and no other number to have opted out of.
    return usable[0] if len(ours) == 1 else usable


async def _choose_number(
    c: AsyncConnection, caller: Caller, command: SendText
) -> tuple[NumberRow, bool]:
    """The number to send from, and whether the user is known to have opted out."""
    usable = _the_number(command, await tenants.numbers_of(c, caller.project_id), caller)
    if isinstance(usable, NumberRow):
        return usable, False
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
