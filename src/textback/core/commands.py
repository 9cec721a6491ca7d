"""What a caller may ask of us, in our own words, whatever dialect it came in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from textback.core.gcra import Rate
from textback.core.ids import AccountId, AgentId, ConnectorId, ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import AgentLabel, Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: a good key, and the connector it may use."""

    account_id: AccountId
    project_id: ProjectId
    connector_id: ConnectorId
    environment: Environment
    rate_limit: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A retried request is the same request: `key` names it, `fingerprint` proves it."""

    route: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentChoice:
    """Who is to carry the conversation on."""

    agent_id: AgentId | None = None
    """None: the project's agent."""
    version: AgentLabel | int | None = None
    """By label or number; None: as the caller's environment has it."""
    start_node: str | None = None
    """Where the agent's flow begins; None: at its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendText:
    """Open a conversation with a user."""

    user_number: Phone
    text: str | None
    """None: the agent opens."""
    agent_number: Phone | None
    """None: picked from the numbers of the caller's environment."""
    agent: AgentChoice = AgentChoice()
    objective: str | None = None
    """What the caller wants of this conversation, for the agent to pursue."""
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    """The caller's data, for the agent: what `{{name}}` in its prompts stands for. JSON."""
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    """The caller's own, echoed wherever the conversation is spoken of. JSON."""
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    conversation_id: ConversationId
    message_id: MessageId
    """When the agent is to write the opener: the id its first text will have."""
    replayed: bool = False
