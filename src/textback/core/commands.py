"""What a caller may ask of us, in our own words, whatever dialect it came in."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal

from textback.core.frozen import frozen
from textback.core.gcra import Rate
from textback.core.ids import AccountId, AgentId, ConnectorId, ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import AgentLabel, Environment, IdlePolicy
from textback.core.template import Template


def nothing() -> Mapping[str, object]:
    """An object without a member. Half a command's cost would be to make them by `dict[...]`."""
    return {}


Scope = Literal["send", "read", "converse", "opt_outs", "webhooks", "manage"]
"""What an API key may do: send and plan texts; read; hand off, resume, end and delete
conversations; change opt-outs; manage webhooks; manage all else (agents, numbers, keys, ...)."""


@frozen
class Caller:
    """Who asks: a good key, and the project it sends for."""

    account_id: AccountId
    project_id: ProjectId
    connector_id: ConnectorId | None
    """None: the dialect knows no connectors."""
    environment: Environment
    rate_limit: Rate


@frozen
class Idempotency:
    """A retried request is the same request: `key` names it, `fingerprint` proves it."""

    route: str
    key: str
    fingerprint: bytes


@frozen
class AgentChoice:
    """Who is to carry the conversation on."""

    agent_id: AgentId | None = None
    """None: the project's agent."""
    version: AgentLabel | int | None = None
    """By label or number; None: as the caller's environment has it."""
    start_node: str | None = None
    """Where the agent's flow begins; None: at its start."""


@frozen
class Notify:
    """Where the events of one conversation go, beside the account's and the project's endpoints."""

    url: str
    """Checked: https, or http where that is allowed (`flows/webhooks.py`)."""
    format: str
    """The dialect in whose shape."""


Planned = Literal["scheduled", "quiet_hours", "batch"]


@frozen
class SendText:
    """Text a user, in a new conversation or in the one there is."""

    user_number: Phone
    text: str | None
    """None: the agent writes it, unless there is a template."""
    agent_number: Phone | None
    """None: picked from the numbers of the caller's environment."""
    thread: Literal["new", "resume"] = "new"
    """`new` closes what the two numbers had. `resume` goes on with it, if it lives, and keeps its
    agent unless one is named; `objective` and what else is given replaces what it had."""
    agent: AgentChoice = AgentChoice()
    objective: str | None = None
    """What the caller wants of this conversation, for the agent to pursue."""
    variables: Mapping[str, object] = field(default_factory=nothing)
    """The caller's data, for the agent: what `{{name}}` in its prompts stands for. JSON."""
    metadata: Mapping[str, object] = field(default_factory=nothing)
    """The caller's own, echoed wherever the conversation is spoken of. JSON."""
    template: Template | None = None
    idle: IdlePolicy | None = None
    """What silence does in this conversation; None: as it does there, or `idle_if_new`."""
    idle_if_new: IdlePolicy | None = None
    """And in a new one, if its number says nothing of it; None: as the project has it."""
    reopens: bool = True
    """Once silence has closed it, the user's next text opens another; else it is only kept."""
    notify: Notify | None = None
    send_at: datetime | None = None
    """Not before; until then there is no conversation, only a plan with its ids."""
    ignores_quiet_hours: bool = False
    validity: timedelta | None = None
    """A text not sent by then, from when it is due, is dropped; None: as the project has it."""
    refuses_opted_out: bool = False
    """Say no instead of accepting what will be suppressed (Nixflex, D5)."""
    dialect: str = "native"
    extra: Mapping[str, object] = field(default_factory=nothing)
    """What only the dialect reads again. JSON."""
    idempotency: Idempotency | None = None


@frozen
class Accepted:
    conversation_id: ConversationId
    message_id: MessageId | None
    """When the agent is to write the opener: the id its first text will have. None: the agent
    goes on with a conversation, in as many texts as it likes."""
    agent_number: Phone | None = None
    """The one it is sent from, once that is chosen."""
    replayed: bool = False
    suppressed: bool = False
    """The user has opted out: it is on record, and not sent."""
    resumed: bool = False
    """The conversation was there before."""
    planned_for: datetime | None = None
    """Held until then: scheduled, or for quiet hours. Neither id names anything but a plan yet."""
