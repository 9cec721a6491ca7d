"""Facts about a conversation, written in the same transaction as what they announce."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Literal

from textback.core import segments
from textback.core.conversation import (
    Closed,
    Conversation,
    Engaged,
    HandedOff,
    Opened,
    Paused,
    Warned,
)
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ConversationId, MessageId, ProjectId
from textback.core.message import (
    Delivered,
    Failed,
    Message,
    Queued,
    Sending,
    Sent,
    Suppressed,
    Uncertain,
)

Kind = Literal[
    "conversation.opened",
    "conversation.engaged",
    "conversation.warned",
    "conversation.paused",
    "conversation.handed_off",
    "conversation.resumed",
    "conversation.closed",
    "conversation.analysed",
    "conversation.not_analysed",
    "message.promised",
    "message.queued",
    "message.sending",
    "message.uncertain",
    "message.unsettled",
    "message.settled",
    "message.sent",
    "message.delivered",
    "message.read",
    "message.failed",
    "message.suppressed",
    "message.received",
    "turn.failed",
    "turn.dropped",
    "turn.restarted",
    "tool.called",
    "budget.reached",
    "user.opted_out",
    "user.opted_in",
    "send.planned",
    "send.refused",
    "send.cancelled",
    "batch.started",
    "batch.paused",
    "batch.resumed",
    "batch.cancelled",
    "batch.done",
    "limit.reached",
    "webhook.paused",
    "webhook.resumed",
    "webhook.tested",
]


By = Literal["agent", "caller", "operator"]


@frozen
class Event:
    kind: Kind
    conversation_id: ConversationId | None = None
    """None: it is about the account, or one of its projects, as a whole."""
    message_id: MessageId | None = None
    account_id: AccountId | None = None
    """Set when there is no conversation, and only then."""
    project_id: ProjectId | None = None
    data: Mapping[str, object] = field(default_factory=dict[str, object])


def of_conversation(c: Conversation) -> Event:
    match c:
        case Opened():
            return Event(kind="conversation.opened", conversation_id=c.id)
        case Engaged():
            return Event(kind="conversation.engaged", conversation_id=c.id)
        case Warned():
            return Event(kind="conversation.warned", conversation_id=c.id)
        case Paused():
            data = {"reason": "reply_budget", "until": c.paused_until.isoformat()}
            return Event(kind="conversation.paused", conversation_id=c.id, data=data)
        case HandedOff():
            return Event(
                kind="conversation.handed_off", conversation_id=c.id, data={"reason": c.why}
            )
        case Closed():
            return Event(
                kind="conversation.closed", conversation_id=c.id, data={"reason": c.reason}
            )


def _segments(m: Queued) -> int:
    return segments.of_ours(m.text, m.agent_number, m.template)


def resumed(c: Engaged) -> Event:
    return Event(kind="conversation.resumed", conversation_id=c.id)


def caused(event: Event, *, by: By | None, more: Mapping[str, object]) -> Event:
    """With who did it, if it was somebody, and what they said about it."""
    return replace(event, data={**event.data, **({} if by is None else {"by": by}), **more})


def read(m: Delivered) -> Event:
    return Event(kind="message.read", conversation_id=m.conversation_id, message_id=m.id)


def of_message(m: Message) -> Event:
    kind: Kind
    data: dict[str, object] = {}
    match m:
        case Queued():
            kind = "message.promised" if m.is_promise else "message.queued"
            data = {} if m.is_promise else {"segments": _segments(m)}
        case Sending():
            kind = "message.sending"
        case Uncertain():
            # Nobody looks it up any more: only a receipt or an operator can tell.
            kind = "message.uncertain" if m.look_up_at else "message.unsettled"
        case Sent():
            kind = "message.sent"
        case Delivered():
            kind = "message.delivered"
        case Failed():
            kind, data = "message.failed", {"error_code": m.error_code}
        case Suppressed():
            kind, data = "message.suppressed", {"reason": m.reason}
    return Event(kind=kind, conversation_id=m.conversation_id, message_id=m.id, data=data)
