"""What `POST /v1/sms/send` means in our words, and in which words it is refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from textback.core.commands import Accepted, SendText
from textback.core.ids import ConversationId, MessageId
from textback.core.policy import IdlePolicy
from textback.dialects.bland import sending, timeouts, wire
from textback.dialects.bland.wire import Wrong

Found = TypeVar("Found")

GOLDEN: Final = Path(__file__).parent / "golden"
COMMAND: Final = TypeAdapter(SendText)
IDLE: Final = TypeAdapter(IdlePolicy)
NAMES: Final = sorted({*sending.Send.model_fields, "prompt"})


def cases(name: str) -> list[Any]:
    found = json.loads((GOLDEN / name).read_text())
    return [pytest.param(case, id=case["case"]) for case in found]


def command(body: dict[str, Any], number: dict[str, Any] | None = None) -> SendText:
    """Raises Wrong."""
    asked = sending.read(body)
    user = asked.users_address(asked.user_number)
    return sending.to_command(asked, user, body, number or {}, private_urls=False, key=None)


def or_refusal(act: Callable[[], Found]) -> Found | Wrong:
    try:
        return act()
    except Wrong as refused:
        return refused


def in_seconds(idle: dict[str, Any] | None) -> object:
    return None if idle is None else IDLE.dump_python(IDLE.validate_python(idle))


@pytest.mark.parametrize("case", cases("send.json"))
def test_a_request_means_what_bland_documents(case: dict[str, Any]) -> None:
    found = COMMAND.dump_python(command(json.loads(case["body"]), case.get("number")))
    wanted: dict[str, Any] = case["command"]
    meant = {name: found[name] for name in wanted}
    lengths = ("idle", "idle_if_new")
    assert meant == {n: in_seconds(v) if n in lengths else v for n, v in wanted.items()}


@pytest.mark.parametrize("case", cases("send_refused.json"))
def test_a_wrong_request_is_told_a_code_and_what_to_change(case: dict[str, Any]) -> None:
    with pytest.raises(Wrong) as refused:
        command(json.loads(case["body"]), case.get("number"))
    assert (refused.value.code, refused.value.sentence) == (case["code"], case["message"])
    assert wire.STATUS[type(refused.value)] == 400


JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8))
def test_whatever_is_asked_is_a_command_or_one_sentence(body: dict[str, Any]) -> None:
    given_body = {"user_number": "+14155551234", "agent_number": "+14155550100"} | body
    found = or_refusal(lambda: command(given_body))
    if isinstance(found, SendText):
        assert found.user_number == given_body["user_number"]
    else:
        assert found.sentence.endswith(".")


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "time_out": st.none() | st.floats(0, timeouts.LONGEST),
            "warning_time": st.none() | st.integers(0, 1000),
            "timeout_message": st.sampled_from([None, "", "Bye."]),
        },
    ),
    st.fixed_dictionaries({}, optional={"time_out": st.integers(0, 1000)}),
)
def test_no_silence_is_shorter_than_half_a_minute(
    of_the_send: dict[str, Any], of_the_number: dict[str, Any]
) -> None:
    given_four = timeouts.given(of_the_send)
    found = or_refusal(lambda: timeouts.merged(given_four, of_the_number))
    if isinstance(found, Wrong):
        assert found.code == "INVALID_TIMEOUT_CONFIG"
        return
    assert (found is None) == (not of_the_send)
    if found is None:
        return
    spans = [span.total_seconds() for span in (found.warn_after, found.end_after) if span]
    assert all(span >= timeouts.SHORTEST for span in spans)
    assert found.close_after.total_seconds() > 0
    assert found.also_unanswered
    assert found.unanswered_after is None


def test_a_text_that_waits_for_the_morning_is_answered_with_its_hour() -> None:
    accepted = Accepted(
        conversation_id=ConversationId("conv_" + "0" * 25 + "1"),
        message_id=MessageId("msg_1"),
        planned_for=datetime(2026, 3, 3, 8, tzinfo=UTC),
    )
    shown = "00000000-0000-0000-0000-000000000001"
    assert sending.answered(accepted) == {
        "status": "processing",
        "message": "SMS accepted; it is held until 2026-03-03T08:00:00.000Z",
        "conversation_id": shown,
        "workflow_id": shown,
        "message_id": "msg_1",
    }
