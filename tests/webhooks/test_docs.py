"""What docs/webhooks.md says to those who receive is so."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from standardwebhooks import WebhookVerificationError

from textback.core.events import Kind
from textback.core.signing import headers
from textback.core.told import Told, ToldConversation, ToldMessage
from textback.dialects.native import events
from textback.dialects.native.events import NAMES, PUBLIC, NativeFormat
from textback.flows.webhooks import new_secret

TEXT = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()
ROW = re.compile(r"^\| `([a-z_.]+)` \| [^|]+ \| `(\{.*\})` \|$", re.MULTILINE)
AT = datetime(2027, 1, 31, 12, tzinfo=UTC)


def told(kind: str, data: dict[str, Any] | None = None) -> Told:
    conversation = ToldConversation(
        id="conv_01kk2v5m7xq1t8c9d0e2f3g4h5",
        project_id="reminders",
        connector_id="conn-live",
        agent_id="bookings",
        agent_version=3,
        agent_extra={},
        agent_number="+14155550100",
        user_number="+14155550123",
        state="closed",
        reason="idle",
        why_handed_off=None,
        opened_at=AT,
        active_at=AT,
        closed_at=AT,
        objective=None,
        metadata={},
        variables={},
        start_node=None,
        engine_state={},
        analysis={"summary": "They agreed.", "values": None, "outcome": "booked", "at": ""},
        is_analysed=True,
        dialect="native",
        extra={},
        message_count=1,
    )
    message = ToldMessage(
        id="msg_01kk2v5m7yq1t8c9d0e2f3g4h5",
        direction="outbound",
        kind="opener",
        text="Hello",
        media=[],
        state="queued",
        segments=1,
        error_code=None,
        error=None,
        reason=None,
        carrier_message_id=None,
        created_at=AT,
        sent_at=None,
        delivered_at=None,
        failed_at=None,
    )
    return Told(
        event_id=7,
        kind=kind,
        at=AT,
        account_id="acme",
        project_id="reminders",
        data=data or {},
        conversation=conversation,
        message=message,
    )


def test_every_event_has_a_row_with_an_example() -> None:
    rows = {name: json.loads(example) for name, example in ROW.findall(TEXT)}
    assert tuple(rows) == PUBLIC
    assert set(NAMES) <= set(get_args(Kind))
    for kind in ("message.failed", "conversation.analysed"):
        given = {"error_code": "30003"} if kind == "message.failed" else {"outcome": "booked"}
        found = events.event(told(kind, given))
        assert found is not None
        own = {n: v for n, v in found["data"].items() if n in rows[kind]}
        assert set(own) == set(rows[kind])
        if kind == "message.failed":  # reported: there are no words of the carrier's
            assert own == rows[kind]


def test_the_example_has_the_fields_that_are_posted() -> None:
    example = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[0])
    posted = json.loads(NativeFormat().render(told("message.delivered")) or b"")
    assert shape(posted) == shape(example)


def shape(value: object) -> object:
    """Its keys, but for those of the caller's own metadata."""
    if not isinstance(value, dict):
        return None
    found = cast("dict[str, object]", value)
    return {name: None if name == "metadata" else shape(each) for name, each in found.items()}


def test_the_snippet_takes_what_we_sign_and_nothing_else() -> None:
    snippet = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    given: dict[str, Any] = {}
    exec(snippet, given)  # noqa: S102 - ours
    receive = given["receive"]
    secret, other = new_secret(), new_secret()
    body = NativeFormat().render(told("message.sent")) or b""
    now = int(datetime.now(UTC).timestamp())  # noqa: TID251 - the package reads the clock
    signed = NativeFormat().headers([other, secret], webhook_id="evt_7", timestamp=now, body=body)
    assert receive(secret, body, dict(signed))["type"] == "message.sent"
    assert len(signed["webhook-signature"].split()) == 2
    old = headers(secret, webhook_id="evt_7", timestamp=now - 400, body=body)
    for wrong_body, wrong in ((body + b" ", dict(signed)), (body, old)):
        with pytest.raises(WebhookVerificationError):
            receive(secret, wrong_body, wrong)


def test_who_has_no_secret_of_our_form_is_not_signed_for() -> None:
    unsigned = NativeFormat().headers(["plain"], webhook_id="evt_7", timestamp=1, body=b"{}")
    assert "webhook-signature" not in unsigned
