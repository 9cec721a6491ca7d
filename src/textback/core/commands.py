"""What a caller may ask of us, in our own words, whatever dialect it came in."""

from dataclasses import dataclass

from textback.core.gcra import Rate
from textback.core.ids import AccountId, ConnectorId, ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import Environment


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
class SendText:
    """Open a conversation with a user."""

    user_number: Phone
    text: str | None
    """None: the agent opens."""
    agent_number: Phone | None
    """None: picked from the numbers of the caller's environment."""
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    conversation_id: ConversationId
    message_id: MessageId
    """When the agent is to write the opener: the id its first text will have."""
    replayed: bool = False
