"""States to begin a test with: complete, plain, and each field can be given."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from textback.core.conversation import (
    Closed,
    Engaged,
    HandedOff,
    Live,
    Opened,
    Paused,
    Warned,
)
from textback.core.ids import (
    AccountId,
    AgentId,
    CarrierId,
    ConnectorId,
    ConversationId,
    MessageId,
    ProjectId,
)
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
from textback.core.phone import Phone
from textback.core.ports import Receipt, ReceiptStatus, SendError

_State = TypeVar("_State")

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

AGENT = Phone("+14155550100")
USER = Phone("+14155550123")

SHARED: dict[str, Any] = {
    "id": MessageId("msg_01madeupmadeupmadeupmadeup"),
    "conversation_id": ConversationId("conv_01madeupmadeupmadeupmadeup"),
    "carrier_id": CarrierId("acme-twilio"),
    "agent_number": AGENT,
    "user_number": USER,
    "kind": "opener",
    "text": "Is 3pm tomorrow still good for you?",
    "created_at": NOW,
    "expires_at": NOW + timedelta(hours=4),
    "attempts": 0,
}
"""What a text has in every state."""

TALK: dict[str, Any] = {
    "id": ConversationId("conv_01madeupmadeupmadeupmadeup"),
    "account_id": AccountId("acme"),
    "project_id": ProjectId("reminders"),
    "connector_id": ConnectorId("conn-live"),
    "agent_id": AgentId("bookings"),
    "agent_version": 1,
    "agent_number": AGENT,
    "user_number": USER,
    "opened_at": NOW,
    "active_at": NOW,
}
"""What a conversation has in every state."""


def queued(**given: Any) -> Queued:
    return _make(Queued, SHARED, given, due_at=NOW)


def sending(**given: Any) -> Sending:
    return _make(Sending, SHARED, given, claimed_at=NOW, lease_until=NOW + timedelta(seconds=30))


def uncertain(**given: Any) -> Uncertain:
    return _make(
        Uncertain,
        SHARED,
        given,
        claimed_at=NOW,
        uncertain_at=NOW,
        look_up_at=NOW + timedelta(seconds=10),
        look_ups=0,
    )


def sent(**given: Any) -> Sent:
    return _make(Sent, SHARED, given, carrier_message_id="SM1", sent_at=NOW)


def delivered(**given: Any) -> Delivered:
    return _make(Delivered, SHARED, given, carrier_message_id="SM1", sent_at=NOW, delivered_at=NOW)


def failed(**given: Any) -> Failed:
    return _make(
        Failed,
        SHARED,
        given,
        carrier_message_id="SM1",
        sent_at=NOW,
        failed_at=NOW,
        error_code="30003",
        error=None,
    )


def suppressed(**given: Any) -> Suppressed:
    return _make(Suppressed, SHARED, given, dropped_at=NOW, reason="opted_out")


def messages() -> list[Message]:
    """One text in each state."""
    return [queued(), sending(), uncertain(), sent(), delivered(), failed(), suppressed()]


def receipt(
    status: ReceiptStatus = "delivered", carrier_message_id: str = "SM1", **given: Any
) -> Receipt:
    heard = Receipt(carrier_message_id=carrier_message_id, message_id=None, status=status)
    return replace(heard, **given)


def refusal(**given: Any) -> SendError:
    error = SendError(code="21211", reason="The 'To' number is not valid.", retry="never")
    return replace(error, **given)


def opened(**given: Any) -> Opened:
    return _make(Opened, TALK, given)


def engaged(**given: Any) -> Engaged:
    return _make(Engaged, TALK, given)


def warned(**given: Any) -> Warned:
    return _make(Warned, TALK, given, warned_at=NOW)


def paused(**given: Any) -> Paused:
    return _make(Paused, TALK, given, paused_until=NOW + timedelta(hours=1))


def handed_off(**given: Any) -> HandedOff:
    return _make(HandedOff, TALK, given, handed_off_at=NOW, why="the user asked for a person")


def closed(**given: Any) -> Closed:
    return _make(Closed, TALK, given, closed_at=NOW, reason="idle")


def lives() -> list[Live]:
    """One conversation in each state that is not the end."""
    return [opened(), engaged(), warned(), paused(), handed_off()]


def _make(state: type[_State], base: dict[str, Any], given: dict[str, Any], **own: Any) -> _State:
    return state(**base | own | given)
