"""What Bland's webhooks say, and how they are signed."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest

from tests.support.provision import NOW
from textback.core.ids import to_uuid
from textback.core.told import Told, ToldConversation, ToldMessage
from textback.core.webhook import MOST_BODY
from textback.dialects.bland.events import BlandFormat

ID = "conv_01kk2v5m7xq1t8c9d0e2f3g4h5"


def conversation(**changed: Any) -> ToldConversation:
    given: dict[str, Any] = {
        "id": ID,
        "project_id": "reminders",
        "connector_id": None,
        "agent_id": "bookings",
        "agent_version": 2,
        "agent_extra": {},
        "agent_number": "+14155550100",
        "user_number": "+14155550123",
        "state": "engaged",
        "reason": None,
        "why_handed_off": None,
        "opened_at": NOW,
        "active_at": NOW,
        "closed_at": None,
        "objective": None,
        "metadata": {"order": 7},
        "variables": {"name": "Jane"},
        "start_node": None,
        "engine_state": {},
        "analysis": None,
        "is_analysed": False,
        "dialect": "bland",
        "extra": {},
        "message_count": 2,
    }
    return ToldConversation(**given | changed)


def message(text: str = "4pm?", **changed: Any) -> ToldMessage:
    given: dict[str, Any] = {
        "id": "msg_1",
        "direction": "inbound",
        "kind": "text",
        "text": text,
        "media": (),
        "state": "received",
        "segments": 1,
        "error_code": None,
        "error": None,
        "reason": None,
        "carrier_message_id": "SM1",
        "created_at": NOW,
        "sent_at": None,
        "delivered_at": None,
        "failed_at": None,
    }
    return ToldMessage(**given | changed)


OPENER = message("Is 3pm good?", direction="outbound", kind="opener")


def told(kind: str, m: ToldMessage | None = None, **changed: Any) -> Told:
    given: dict[str, Any] = {
        "event_id": 7,
        "kind": kind,
        "at": NOW + timedelta(seconds=3),
        "account_id": "acme",
        "project_id": "reminders",
        "data": {},
        "conversation": conversation(),
        "message": m,
        "history": [OPENER, message()],
    }
    return Told(**given | changed)


def rendered(of: Told) -> dict[str, Any] | None:
    body = BlandFormat().render(of)
    return None if body is None else json.loads(body)


def status_of(kind: str, **changed: Any) -> str | None:
    found = rendered(told(kind, conversation=conversation(**changed)))
    return None if found is None else found["status"]


def test_a_users_text_is_told_with_all_that_was_said() -> None:
    assert rendered(told("message.received", message())) == {
        "type": "message",
        "conversation_id": to_uuid(ID),
        "phone_number": "+14155550123",
        "agent_number": "+14155550100",
        "channel": "sms",
        "pathway_id": "bookings",
        "pathway_version": 2,
        "chat_history": [
            {
                "sender": "AGENT",
                "message": "Is 3pm good?",
                "created_at": "2026-03-02T09:00:00.000Z",
            },
            {"sender": "USER", "message": "4pm?", "created_at": "2026-03-02T09:00:00.000Z"},
        ],
        "variables": {"name": "Jane"},
        "metadata": {"order": 7},
        "pathway_tags": [],
        "message": "4pm?",
        "message_id": "msg_1",
        "sender": "USER",
        "created_at": "2026-03-02T09:00:00.000Z",
    }


def test_a_text_of_ours_is_told_once_its_fate_is_known() -> None:
    assert rendered(told("message.queued", OPENER)) is None
    assert rendered(told("message.sent", OPENER)) is None
    found = rendered(told("message.delivered", OPENER))
    assert found is not None
    assert (found["sender"], found["status"], found["error_code"]) == ("AGENT", "delivered", None)
    failed = message("Hi", direction="outbound", kind="person", error_code="30003")
    found = rendered(told("message.failed", failed))
    assert found is not None
    assert (found["sender"], found["status"], found["error_code"]) == ("HUMAN", "failed", "30003")
    dropped = message("Hi", direction="outbound", kind="opener", reason="opted_out")
    found = rendered(told("message.suppressed", dropped))
    assert found is not None
    assert (found["status"], found["error_code"]) == ("failed", "opted_out")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("idle", "timeout"),
        ("opted_out", "blacklisted"),
        ("superseded", "inactive"),
        ("unanswered", "inactive"),
        ("agent_ended", "ended"),
        ("operator", "ended"),
        ("budget", "ended"),
        ("ignored", None),
    ],
)
def test_the_end_of_a_conversation_has_a_status(reason: str, status: str | None) -> None:
    assert status_of("conversation.closed", state="closed", reason=reason) == status


def test_where_an_analysis_is_made_the_end_is_told_once_with_what_it_found() -> None:
    over: dict[str, Any] = {"state": "closed", "reason": "agent_ended", "is_analysed": True}
    assert status_of("conversation.closed", **over) is None
    analysis = {"summary": "Moved.", "values": {"slot": "4pm"}, "outcome": "moved"}
    it = conversation(**over, analysis=analysis)
    found = rendered(told("conversation.analysed", conversation=it))
    assert found is not None
    assert (found["type"], found["status"], found["summary"]) == ("status", "ended", "Moved.")
    assert (found["citations"], found["dispositions"]) == ({"slot": "4pm"}, ["moved"])
    assert found["concatenated_transcript"] == "AGENT: Is 3pm good?\nUSER: 4pm?"
    assert status_of("conversation.not_analysed", **over) == "ended"


def test_a_hand_off_and_its_end_are_told_and_a_pause_is_not() -> None:
    # The event's own reason: by the time it is told, the agent may have it again.
    found = rendered(told("conversation.handed_off", data={"reason": "refund"}))
    assert found is not None
    assert (found["status"], found["status_reason"]) == ("human_handoff", "refund")
    back = rendered(told("conversation.resumed", data={"by": "caller"}))
    assert back is not None
    assert back["status"] == "human_handoff_ended"
    assert rendered(told("conversation.resumed")) is None


def test_what_is_about_no_conversation_is_not_told() -> None:
    assert rendered(told("limit.reached", conversation=None)) is None


def test_every_kind_it_claims_to_tell_of_has_a_body() -> None:
    for kind in BlandFormat.kinds:
        it = conversation(state="closed", reason="operator")
        of = told(kind, message(), conversation=it, data={"by": "caller"})
        assert rendered(of) is not None, kind


@pytest.mark.parametrize("kind", ["message.received", "conversation.closed"])
@pytest.mark.parametrize("letter", ["x", "語", "😀"])  # of 1, 6 and 12 bytes
def test_a_body_that_would_be_too_large_keeps_the_end_of_its_history(
    kind: str, letter: str
) -> None:
    long = [message(f"{n:03}" + letter * 1587) for n in range(200)]
    over = conversation(state="closed", reason="idle")
    body = BlandFormat().render(told(kind, long[-1], conversation=over, history=long))
    assert body is not None
    found = json.loads(body)
    kept = [each["message"] for each in found["chat_history"]]
    each = len(json.dumps(letter)[1:-1]) * 1590 * (2 if kind == "conversation.closed" else 1)
    assert MOST_BODY - 2 * each < len(body) <= MOST_BODY  # no more is left out than has to be
    assert kept == [m.text for m in long[-len(kept) :]]
    assert len(kept) >= 3
    if kind == "conversation.closed":
        assert found["concatenated_transcript"].split("\n") == [f"USER: {text}" for text in kept]


def test_the_signature_is_the_hex_hmac_of_the_raw_body_by_the_newest_secret() -> None:
    body = b'{"type":"message"}'
    signed = BlandFormat().headers(["new", "old"], webhook_id="evt_7", timestamp=1, body=body)
    expected = hmac.new(b"new", body, hashlib.sha256).hexdigest()
    assert signed["x-webhook-signature"] == expected
    unsigned = BlandFormat().headers([], webhook_id="evt_7", timestamp=1, body=body)
    assert "x-webhook-signature" not in unsigned
