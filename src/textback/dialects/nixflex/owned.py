"""Whose an agent is, and what a number may send: asked before anything is done with them."""

import re
from typing import Final

from textback.core import phone
from textback.core.commands import Notify
from textback.core.errors import NotRegistered, NumberNotProvisioned
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.db import holdings
from textback.db.holdings import HeldAgent, HeldNumber
from textback.dialects.nixflex import kept
from textback.dialects.nixflex.serving import Asked
from textback.dialects.nixflex.texts import DIALECT
from textback.dialects.nixflex.wire import Refused

_MADE_HERE: Final = re.compile(r"agent_[0-9a-f]{16}")

_UNREGISTERED: Final = frozenset({"pending", "unregistered"})


async def agent(asked: Asked, agent_id: str) -> HeldAgent:
    """Raises Refused.

    An id of Nixflex' form is random: who knows one of another account's learns nothing from being
    told that it is not theirs, as documented. Names that operators chose do not exist elsewhere.
    """
    found = await holdings.agent(asked.rt.db, agent_id)
    if found is not None and found.account_id == asked.account_id:
        return found
    if found is not None and _MADE_HERE.fullmatch(agent_id):
        raise Refused(
            "agent_not_owned", "This agent belongs to another account.", agent_id=agent_id
        )
    raise unknown_agent(agent_id)


async def own_agent(asked: Asked, agent_id: str) -> HeldAgent:
    """Of the agents' own routes, where another account's does not exist. Raises Refused."""
    found = await holdings.agent(asked.rt.db, agent_id)
    if found is None or found.account_id != asked.account_id:
        raise unknown_agent(agent_id)
    return found


def unknown_agent(agent_id: str) -> Refused:
    return Refused("agent_not_found", "There is no agent with this id.", agent_id=agent_id)


async def sender(asked: Asked, from_number: str | None, agent_id: str, user: Phone) -> HeldNumber:
    """The number named, else the agent's own. Raises Refused, NumberNotProvisioned."""
    db, account_id = asked.rt.db, asked.account_id
    if from_number is not None:
        found = await holdings.number(db, account_id, from_number)
        if found is None:
            raise NumberNotProvisioned(f"{from_number} is not one of your numbers.")
        return found
    found = await holdings.number_for(db, account_id, AgentId(agent_id), user)
    if found is None:
        await agent(asked, agent_id)
        raise Refused(
            "missing_field",
            "from_number is missing, and the agent has no number of its own.",
            field="from_number",
        )
    return found


def may_text(number: HeldNumber, user: Phone) -> None:
    """Raises Refused, NotRegistered."""
    if not kept.number(number.config).get("outbound_enabled", True):
        raise Refused(
            "outbound_disabled",
            f"{number.number} does not send: its outbound_enabled is false.",
            phone_number=number.number,
        )
    if (
        number.number.startswith("+1")
        and number.registration in _UNREGISTERED
        and phone.region(user) == "US"
    ):
        raise NotRegistered(
            f"{number.number} may not text the US yet: its A2P 10DLC registration is"
            f" {number.registration}."
        )


def notify(of: HeldAgent, number: HeldNumber) -> Notify | None:
    """Where the agent wants to be told of; None: as the number has it, which is the agent's."""
    url = kept.agent(of.extra).get("webhook_url")
    if of.id == number.agent_id or not isinstance(url, str):
        return None
    return Notify(url=url, format=DIALECT)
