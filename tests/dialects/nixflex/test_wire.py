"""Nixflex' words against the published examples, and against anything at all. No database."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core import errors
from textback.core.commands import Accepted
from textback.core.errors import Refusal
from textback.core.ids import ConversationId, new_message_id
from textback.core.phone import Phone
from textback.core.told import Told, ToldConversation, ToldMessage
from textback.db.plans import BatchRecord, PlannedSend, Progress
from textback.dialects.nixflex import agents, campaigns, kept, numbers, reading, texts, wire
from textback.dialects.nixflex.accounts import NewKey
from textback.dialects.nixflex.events import NixflexFormat
from textback.dialects.nixflex.reading import Body
from textback.dialects.nixflex.wire import Refused

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MODELS: list[type[Body]] = [
    texts.SendSms,
    campaigns.NewCampaign,
    agents.AgentFields,
    numbers.ImportNumber,
    numbers.PatchNumber,
    NewKey,
]


def cases(name: str) -> list[Any]:
    found = json.loads((GOLDEN / name).read_text())
    return [pytest.param(case, id=case["case"]) for case in found]


@pytest.mark.parametrize("case", cases("sends.json"))
def test_a_request_means_what_its_generation_documents(case: dict[str, Any]) -> None:
    sms = reading.read(texts.SendSms, case["body"])
    command = texts.to_command(sms, Phone("+447446466847"), notify=None, idempotency=None)
    assert {
        "user_number": command.user_number,
        "text": command.text,
        "agent": command.agent.agent_id,
        "objective": command.objective,
        "metadata": command.metadata,
    } == case["command"]
    assert (command.thread, command.refuses_opted_out, command.dialect) == (
        "resume",
        True,
        "nixflex",
    )


def test_the_answer_of_the_seed_comes_first_and_byte_for_byte() -> None:
    sms = reading.read(texts.SendSms, json.loads((GOLDEN / "sends.json").read_text())[0]["body"])
    accepted = Accepted(
        conversation_id=ConversationId("conv_" + "0" * 26),
        message_id=new_message_id(NOW),
        agent_number=Phone("+447446466847"),
    )
    written = json.dumps(texts.sent(sms, accepted), separators=(",", ":"))
    seed = '{"status":"sent","to":"+447386172392","from":"+447446466847"}'
    assert written.startswith(seed.removesuffix("}") + ',"message_id":"msg_')
    assert written.endswith('"created_at":"2026-03-02T09:00:00Z"}')


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_the_example_of_each_request_can_be_read(model: type[Body]) -> None:
    example = model.model_json_schema()["example"]
    assert reading.read(model, example).model_dump(exclude_unset=True) == example


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.sampled_from(MODELS), st.data())
def test_whatever_is_asked_is_read_or_refused_with_a_documented_code(
    model: type[Body], data: st.DataObject
) -> None:
    names = st.sampled_from([*model.model_fields, *model.ALIASES, "x"])
    body = data.draw(st.dictionaries(names, values))
    refusal = refused(model, body)
    if refusal is not None:
        status, envelope = wire.envelope(refusal)
        assert status == 400
        assert refusal.code in wire.CODES
        assert len(envelope["error"]["message"].splitlines()) == 1


def refused(model: type[Body], body: dict[str, Any]) -> Refused | None:
    try:
        reading.read(model, body)
    except Refused as refusal:
        return refusal
    return None


def every(parent: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in parent.__subclasses__():
        yield child
        yield from every(child)


def an_example(of: type[Refusal]) -> Refusal:
    if of is errors.RateLimited:
        return errors.RateLimited("Wait.", retry_after=11.2)
    if of is errors.CarrierRefused:
        return errors.CarrierRefused("No.", code="unreachable")
    return of("No.")


def test_every_refusal_is_told_in_the_one_shape_with_the_status_of_its_type() -> None:
    assert set(wire.CODES.values()) == set(wire.TYPES)
    for refusal, status in wire.STATUS.items():
        if refusal is Refused:
            continue
        made = an_example(refusal)
        told, body = wire.envelope(made)
        error = body["error"]
        assert (told, error["type"]) == (status, wire.TYPES[status])
        assert error["doc_url"] == wire.DOCS + error["code"]
    assert wire.envelope(errors.RateLimited("Wait.", retry_after=11.2))[1]["error"]["details"] == {
        "retry_after": 12
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("credentials", "twilio_invalid_credentials"),
        ("access", "twilio_auth_failed"),
        ("number", "number_not_in_twilio"),
        ("taken", "twilio_account_taken"),
        ("unreachable", "twilio_unreachable"),
        ("anything", "twilio_unreachable"),
    ],
)
def test_what_twilio_says_no_to_has_the_documented_code(code: str, expected: str) -> None:
    assert wire.code_of(errors.CarrierRefused("No.", code=code)) == expected


@pytest.mark.parametrize("status", [400, 404, 405, 418, 500, 503])
def test_what_no_route_answers_has_the_shape_too(status: int) -> None:
    error = wire.fault(status, "No.")["error"]
    assert list(error) == ["type", "code", "message", "doc_url", "details"]


# --- Campaigns ----------------------------------------------------------------------------------

BATCH = BatchRecord(
    id="batch_" + "0" * 26,
    account_id="a",
    project_id="p",
    connector_id=None,
    environment="live",
    name="March",
    state="running",
    total=10,
    created_at=NOW,
    send_at=None,
    ended_at=None,
    dialect="nixflex",
    agent_number="+447446466847",
    agent_id="agent_1",
    text="Hi",
    extra={},
)


@pytest.mark.parametrize(
    ("state", "send_in", "progress", "status"),
    [
        ("draft", None, Progress(planned=10), "draft"),
        ("running", 60, Progress(planned=10), "scheduled"),
        ("running", 0, Progress(planned=10), "running"),
        ("running", 60, Progress(planned=9, accepted=1, queued=1), "running"),
        ("paused", None, Progress(planned=10), "running"),
        ("done", None, Progress(accepted=10, delivered=9, failed=1), "done"),
        ("done", None, Progress(accepted=10, failed=9, suppressed=1), "failed"),
        ("done", None, Progress(refused=10), "failed"),
    ],
)
def test_a_batch_is_told_in_the_words_of_campaigns(
    state: str, send_in: int | None, progress: Progress, status: str
) -> None:
    send_at = None if send_in is None else NOW + timedelta(seconds=send_in)
    batch = replace(BATCH, state=state, send_at=send_at)
    assert campaigns.shown(batch, progress, now=NOW)["status"] == status


def test_counts_add_up_and_what_is_sent_and_not_confirmed_is_failed_as_documented() -> None:
    progress = Progress(
        planned=1, refused=1, cancelled=1, accepted=7, queued=1, sent=1, delivered=3, failed=1,
        suppressed=1,
    )  # fmt: skip
    assert campaigns.counts(BATCH, progress) == {
        "total_count": 10,
        "delivered_count": 3,
        "failed_count": 5,
        "pending_count": 2,
    }


ROW = PlannedSend(
    id="msg_1",
    conversation_id="conv_1",
    account_id="a",
    project_id="p",
    connector_id=None,
    environment="live",
    batch_id=BATCH.id,
    row=1,
    user_number="+447111000001",
    agent_number=None,
    text="Hi Sarah",
    variables={},
    metadata={},
    send_at=None,
    ignores_quiet_hours=False,
    dialect="nixflex",
    extra={},
    state="accepted",
    planned_for=None,
    why="batch",
    created_at=NOW,
    ended_at=NOW,
    problem=None,
    error=None,
)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"state": "planned"}, "pending"),
        ({"message_state": "queued"}, "pending"),
        ({"message_state": "sending"}, "queued"),
        ({"message_state": "uncertain"}, "queued"),
        ({"message_state": "sent"}, "sent"),
        ({"message_state": "delivered"}, "delivered"),
        ({"message_state": "failed", "carrier_message_id": "SM1"}, "undelivered"),
        ({"message_state": "failed"}, "failed"),
        ({"message_state": "suppressed"}, "failed"),
        ({"state": "refused", "error": "No."}, "failed"),
        ({"state": "cancelled"}, "failed"),
    ],
)
def test_each_recipient_has_a_documented_status(changes: dict[str, Any], status: str) -> None:
    assert campaigns.recipient(replace(ROW, **changes))["status"] == status


def test_a_campaigns_id_is_its_batchs_in_other_letters() -> None:
    raw = campaigns.campaign_id(BATCH.id)
    assert (raw, campaigns.batch_id(raw)) == ("smsc_" + "0" * 26, BATCH.id)
    for wrong in ("smsc_", "batch_" + "0" * 26, raw + "0", raw.upper(), raw + "\n"):
        with pytest.raises(Refused):
            campaigns.batch_id(wrong)


# --- What conversations are told, and what is told of them --------------------------------------


def test_a_numbers_prompts_become_what_its_conversations_are_for() -> None:
    assert kept.objective({}) is None
    assert kept.objective({"sms_prompt": "Be brief.", "custom_prompt": None}) == "Be brief."
    both = kept.objective({"sms_prompt": "Be brief.", "custom_prompt": "Open 9-5."})
    assert both == f"Be brief.\n\n{kept.PROFILE}Open 9-5."
    config = {"defaults": {"objective": both}}
    assert kept.with_context(config, None) is None
    assert kept.with_context(config, "About Tuesday.") == f"{both}\n\nAbout Tuesday."
    assert kept.with_context({}, "About Tuesday.") == "About Tuesday."


TALK = ToldConversation(
    id="conv_1",
    project_id="p",
    connector_id=None,
    agent_id="agent_1",
    agent_version=1,
    agent_extra={},
    agent_number="+447446466847",
    user_number="+447386172392",
    state="opened",
    reason=None,
    why_handed_off=None,
    opened_at=NOW,
    active_at=NOW,
    closed_at=None,
    objective=None,
    metadata={"order": "7 €"},
    variables={},
    start_node=None,
    engine_state={},
    is_analysed=False,
    analysis=None,
    dialect="nixflex",
    extra={},
    message_count=1,
)
TEXT = ToldMessage(
    id="msg_1",
    direction="outbound",
    kind="opener",
    text="Hi",
    media=(),
    state="delivered",
    segments=1,
    error_code=None,
    error=None,
    reason=None,
    carrier_message_id="SM1",
    created_at=NOW,
    sent_at=NOW,
    delivered_at=NOW,
    failed_at=None,
)
TOLD = Told(
    event_id=1,
    kind="message.delivered",
    at=NOW,
    account_id="a",
    project_id="p",
    data={},
    conversation=TALK,
    message=TEXT,
)


def test_a_delivery_is_told_with_the_callers_metadata() -> None:
    told = NixflexFormat().render(TOLD)
    assert told is not None
    assert json.loads(told) == {
        "event": "sms.delivered",
        "message_id": "msg_1",
        "twilio_sid": "SM1",
        "agent_id": "agent_1",
        "from_number": "+447446466847",
        "to_number": "+447386172392",
        "status": "delivered",
        "error_code": None,
        "error_message": None,
        "sent_at": "2026-03-02T09:00:00Z",
        "delivered_at": "2026-03-02T09:00:00Z",
        "metadata": {"order": "7 €"},
    }
    failed = replace(TEXT, state="failed", error_code="30003", error="Unreachable handset")
    told = NixflexFormat().render(replace(TOLD, kind="message.failed", message=failed))
    assert told is not None
    assert (json.loads(told)["status"], json.loads(told)["error_code"]) == ("failed", "30003")


@pytest.mark.parametrize(
    "told",
    [
        replace(TOLD, kind="message.sent"),
        replace(TOLD, message=None),
        replace(TOLD, conversation=None),
    ],
)
def test_of_anything_else_nothing_is_told(told: Told) -> None:
    assert NixflexFormat().render(told) is None


def test_without_a_secret_nothing_is_signed() -> None:
    headers = NixflexFormat().headers([], webhook_id="d", timestamp=1, body=b"{}")
    assert "X-Nixflex-Signature" not in headers
