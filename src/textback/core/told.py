"""An event with all that a webhook's body may say of it, and the Protocol of those who write it."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Literal, Protocol

from textback.core.frozen import frozen


@frozen
class ToldMessage:
    """One text, as it stands when the body is written: it may have moved on since the event."""

    id: str
    direction: Literal["inbound", "outbound"]
    kind: str
    """`core.message.Kind`; of a user's: text."""
    text: str
    media: Sequence[Mapping[str, str]]
    state: str
    segments: int | None
    error_code: str | None
    """The carrier's."""
    error: str | None
    reason: str | None
    """Why it was suppressed, or is kept without an answer."""
    carrier_message_id: str | None
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None


@frozen
class ToldConversation:
    """As it stands when the body is written."""

    id: str
    project_id: str
    connector_id: str | None
    agent_id: str
    agent_version: int
    agent_extra: Mapping[str, Any]
    """What the dialect that made the agent keeps of it."""
    agent_number: str
    user_number: str
    state: str
    reason: str | None
    """Why it is closed."""
    why_handed_off: str | None
    opened_at: datetime
    active_at: datetime
    closed_at: datetime | None
    objective: str | None
    metadata: Mapping[str, Any]
    variables: Mapping[str, Any]
    start_node: str | None
    engine_state: Mapping[str, Any]
    analysis: Mapping[str, Any] | None
    """`summary`, `values`, `outcome` and `at`; or `error` and `at`. None: there is none (yet)."""
    is_analysed: bool
    """It is over, and an analysis of it was made, or will be: then `conversation.analysed` comes,
    or `conversation.not_analysed`."""
    dialect: str | None
    """The one it was opened through; None: the user opened it."""
    extra: Mapping[str, Any]
    """What only that dialect reads again."""
    message_count: int


@frozen
class Told:
    event_id: int
    kind: str
    """`core.events.Kind`."""
    at: datetime
    account_id: str
    project_id: str | None
    """None: it is about the account as a whole."""
    data: Mapping[str, Any]
    conversation: ToldConversation | None
    message: ToldMessage | None
    """The text that the event is about."""
    history: Sequence[ToldMessage] = field(default_factory=tuple[ToldMessage, ...])
    """All that was said by the event's time, oldest first; empty unless the format wants it."""


class WebhookFormat(Protocol):
    """A dialect's way to tell of events. Pure."""

    @property
    def name(self) -> str:
        """The dialect's."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of event (`core.events.Kind`) that it has a word for."""
        ...

    @property
    def wants_history(self) -> bool:
        """Whether `render` needs `Told.history`."""
        ...

    def render(self, told: Told) -> bytes | None:
        """The body; None: there is nothing to say after all, and nothing is sent.

        Asked once for each delivery: every attempt has the same bytes.
        """
        ...

    def headers(
        self, secrets: Sequence[str], *, webhook_id: str, timestamp: int, body: bytes
    ) -> Mapping[str, str]:
        """What goes with the body, its Content-Type and signature included.

        `secrets`: the newest first, more than one while they are changed; none: not signed.
        `timestamp`: of this attempt, in unix seconds.
        """
        ...
