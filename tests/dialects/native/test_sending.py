"""A send in our own words -> the command, field by field."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from textback.core.commands import Accepted, AgentChoice, Idempotency, Notify, SendText
from textback.core.errors import BadRequest
from textback.core.ids import AgentId, ConversationId, MessageId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.core.template import Template
from textback.dialects.native import reading, sending
from textback.dialects.native.message_wire import Send

USER = "+14155550123"
AGENT = "+14155550100"
SERVICE = "MG" + "0" * 32
SID = "HX" + "0" * 32


def command(**body: object) -> SendText:
    asked = reading.read(Send, {"to": USER, **body})
    return sending.command(asked, idle=None, notify=None, key=None)


PLAIN = SendText(user_number=Phone(USER), text=None, agent_number=None)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        ({}, {}),
        ({"text": "Hi"}, {"text": "Hi"}),
        ({"from": AGENT}, {"agent_number": AGENT}),
        ({"from": "24242"}, {"agent_number": "24242"}),
        ({"conversation": "resume"}, {"thread": "resume"}),
        (
            {"agent": {"id": "a", "version": 3, "start_node": "n"}},
            {"agent": AgentChoice(agent_id=AgentId("a"), version=3, start_node="n")},
        ),
        ({"agent": {"version": "draft"}}, {"agent": AgentChoice(version="draft")}),
        ({"objective": "o"}, {"objective": "o"}),
        ({"variables": {"a": [1]}}, {"variables": {"a": [1]}}),
        ({"metadata": {"a": None}}, {"metadata": {"a": None}}),
        ({"channel": "sms"}, {}),
        ({"channel": "whatsapp"}, {"user_number": f"whatsapp:{USER}"}),
        (
            {"channel": "whatsapp", "from": AGENT},
            {"user_number": f"whatsapp:{USER}", "agent_number": f"whatsapp:{AGENT}"},
        ),
        (
            {"to": f"whatsapp:{USER}", "from": f"whatsapp:{AGENT}"},
            {"user_number": f"whatsapp:{USER}", "agent_number": f"whatsapp:{AGENT}"},
        ),
        (
            {"channel": "rcs", "messaging_service_sid": SERVICE},
            {"user_number": f"rcs:{USER}", "agent_number": SERVICE},
        ),
        (
            {"template": {"content_sid": SID, "variables": {"1": "x"}}},
            {"template": Template(content_sid=SID, variables={"1": "x"})},
        ),
        (
            {"send_at": "2027-01-31T12:00:00+02:00"},
            {"send_at": datetime(2027, 1, 31, 10, tzinfo=UTC)},
        ),
        ({"quiet_hours": "ignore"}, {"ignores_quiet_hours": True}),
        ({"validity_seconds": 60}, {"validity": timedelta(minutes=1)}),
        ({"if_opted_out": "refuse"}, {"refuses_opted_out": True}),
    ],
)
def test_each_field_means_one_thing(body: dict[str, object], changed: dict[str, object]) -> None:
    assert command(**body) == replace(PLAIN, **changed)


def test_of_inactivity_what_is_left_out_is_as_the_project_has_it() -> None:
    project = IdlePolicy(warn_after=timedelta(hours=1), warning="Still there?")
    body = {"to": USER, "inactivity": {"close_after_seconds": 5, "closing": None}}
    asked = reading.read(Send, body)
    made = sending.command(asked, idle=project, notify=None, key=None)
    assert made.idle == replace(project, close_after=timedelta(seconds=5), closing=None)
    asked = reading.read(Send, {"to": USER, "inactivity": {"warn_after_seconds": None}})
    made = sending.command(asked, idle=project, notify=None, key=None)
    assert made.idle == replace(project, warn_after=None)


def test_what_is_not_of_the_body_is_handed_through() -> None:
    asked = reading.read(Send, {"to": USER})
    key = Idempotency(route="/v1/messages", key="k", fingerprint=b"f")
    notify = Notify(url="https://example.com", format="native")
    made = sending.command(asked, idle=None, notify=notify, key=key)
    assert (made.notify, made.idempotency, made.idle) == (notify, key, None)


@pytest.mark.parametrize(
    "body",
    [
        {"to": f"rcs:{USER}", "channel": "sms"},
        {"to": f"rcs:{USER}", "channel": "whatsapp"},
        {"messaging_service_sid": SERVICE},
        {"channel": "whatsapp", "messaging_service_sid": SERVICE},
    ],
)
def test_a_channel_that_does_not_fit_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        command(**body)


DONE = Accepted(conversation_id=ConversationId("conv_1"), message_id=MessageId("msg_1"))


@pytest.mark.parametrize(
    ("done", "promised", "state"),
    [
        (DONE, False, "queued"),
        (DONE, True, "promised"),
        (replace(DONE, message_id=None, resumed=True), False, "promised"),
        (replace(DONE, suppressed=True), True, "suppressed"),
        (replace(DONE, planned_for=datetime(2027, 1, 1, tzinfo=UTC)), False, "planned"),
    ],
)
def test_the_answer_says_where_the_text_stands(
    done: Accepted,
    *,
    promised: bool,
    state: str,
) -> None:
    shown = sending.accepted(done, Phone(USER), promised=promised)
    assert (shown.state, shown.message_id, shown.to) == (state, done.message_id, USER)
    assert shown.resumed == done.resumed
