"""Our own shapes: what is read, and the one sentence for what cannot be."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request

from textback.api.body import parse_json
from textback.core.errors import BadRequest, Refusal, TooLarge, UnknownConversation, UnknownResource
from textback.core.ids import ConversationId
from textback.dialects.native import conversation_wire, message_wire, opt_out_wire, reading, wire

JSON = "application/json"
ID = ConversationId("conv_" + "0" * 26)


MOMENT = "must be a time with its zone, such as 2027-01-31T12:00:00Z (+ is %2B in URLs)."
TO = {"to": "+14155550123"}
E164 = "must be a phone number in E.164 format, such as +14155550123."
OURS = (
    "must be one of your numbers in E.164 format, a short code, or the id of a Messaging Service."
)


def parse(content_type: str | None, body: bytes | None) -> dict[str, Any]:
    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    request = Request({"type": "http", "headers": headers})
    return parse_json(request, body, at_most=wire.MAX_BODY, empty={})


def asked(model: type[BaseModel], body: object) -> BaseModel:
    return reading.read(model, parse(JSON, json.dumps(body).encode()))


@pytest.mark.parametrize("model", [wire.HandOff, wire.Resume, wire.End])
def test_what_has_only_choices_may_be_asked_without_a_body(model: type[BaseModel]) -> None:
    assert reading.read(model, parse(None, b"")) == model()


@pytest.mark.parametrize(
    "model",
    [
        *(wire.HandOff, wire.Message, wire.Resume, wire.End),
        *(message_wire.Send, conversation_wire.Change, opt_out_wire.Create, opt_out_wire.End),
    ],
    ids=lambda m: f"{m.__module__.rpartition('.')[2]}.{m.__name__}",
)
def test_the_example_of_each_request_can_be_read(model: type[BaseModel]) -> None:
    given_example = model.model_json_schema()["example"]
    assert asked(model, given_example).model_dump(exclude_unset=True) == given_example


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        (wire.Message, {}, "text is missing."),
        (wire.Message, {"text": 1}, "text must be a string."),
        (wire.Message, {"text": ""}, "text is empty; leave it out, or say something."),
        (
            wire.Message,
            {"text": "x" * 1601},
            "text is too long; it may have 1600 characters at most.",
        ),
        (
            wire.Message,
            {"text": "Hi", "sender": "HUMAN"},
            "sender must be 'person' or 'agent'.",
        ),
        (
            wire.Message,
            {"text": "Hi", "as": 1},
            "There is no such field here; there are text, sender.",
        ),
        (wire.Message, {"text": "a\0"}, "text holds a character that no text can hold (NUL)."),
        (wire.Resume, {"reply": "yes"}, "reply must be true or false."),
        (wire.HandOff, {"metadata": []}, "metadata must be an object."),
        (
            wire.HandOff,
            {"metadata": {"a": [{"b\0": 1}]}},
            "a holds a character that no text can hold (NUL).",
        ),
        (
            wire.End,
            {"reason": "x" * 501},
            "reason is too long; it may have 500 characters at most.",
        ),
        (wire.End, [], "The body must be a JSON object."),
        (message_wire.Send, {"to": "0171"}, f"to {E164}"),
        (message_wire.Send, {"to": "chat:x"}, f"to {E164}"),
        (message_wire.Send, {"to": 1}, "to must be a string."),
        (message_wire.Send, {}, "to is missing."),
        (message_wire.Send, TO | {"text": " "}, "text is blank; leave it out, or say something."),
        (message_wire.Send, TO | {"from": "me"}, f"from {OURS}"),
        (
            message_wire.Send,
            TO | {"template": {"content_sid": "HX1"}},
            "template.content_sid does not have the form it must have: ^HX[0-9a-fA-F]{32}$.",
        ),
        (
            message_wire.Send,
            TO | {"template": {"content": "HX1"}},
            "template.content_sid is missing.",
        ),
        (
            message_wire.Send,
            TO | {"agent": {"version": ["draft"]}},
            'agent.version must be "production", "draft" or the number of a version.',
        ),
        (
            message_wire.Send,
            TO | {"agent": {"version": "best"}},
            'agent.version must be "production", "draft" or the number of a version.',
        ),
        (
            message_wire.Send,
            TO | {"agent": {"name": "x"}},
            "There is no such field as agent.name.",
        ),
        (
            message_wire.Send,
            TO | {"send_at": "tomorrow"},
            f"send_at {MOMENT}",
        ),
        (
            message_wire.Send,
            TO | {"metadata": {"a": "x" * 16400}},
            "metadata is too large; it may have 16 KB as JSON at most.",
        ),
        (
            message_wire.Send,
            TO | {"inactivity": {"warn_after_seconds": 0}},
            "inactivity.warn_after_seconds must be 1 or more.",
        ),
        (
            message_wire.Send,
            TO | {"inactivity": {"warn_after_seconds": 1.5}},
            "inactivity.warn_after_seconds must be a whole number.",
        ),
        (
            message_wire.Send,
            TO | {"project": "a", "connector": "b"},
            "The body may have project or connector, not both.",
        ),
        (opt_out_wire.Create, {"user_number": "+14155550123"}, "reason is missing."),
    ],
)
def test_a_wrong_request_is_told_in_one_sentence_what_to_change(
    model: type[BaseModel], body: object, sentence: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        asked(model, body)
    assert refused.value.sentence == sentence


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, b"{}"),
        ("text/plain", b"{}"),
        ("application/json; charset=latin-1", b"{}"),
        (JSON, b"{"),
        (JSON, b'{"a": NaN}'),
        (JSON, b'{"a": 1e999}'),
        (JSON, b'{"a": ' + b"9" * 5000 + b"}"),
        (JSON, b'{"a": "\\ud800"}'),
        (JSON, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    ],
)
def test_what_is_no_json_that_can_be_kept_is_refused(content_type: str | None, body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(content_type, body)


def test_a_body_that_was_too_large_to_read_has_a_status_of_its_own() -> None:
    with pytest.raises(TooLarge, match="64 KB at most") as refused:
        parse(JSON, None)
    assert wire.problem(refused.value).status == 413


models = st.sampled_from(
    [wire.HandOff, wire.Message, wire.Resume, wire.End, message_wire.Send, opt_out_wire.Create]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *("text", "sender", "reason", "metadata", "message", "reply", "node", "x", "to", "from"),
        *("agent", "template", "inactivity", "send_at", "validity_seconds", "variables", "agent"),
        *("channel", "webhook", "user_number", "project", "connector"),
    ]
)


@given(models, st.dictionaries(names, values))
def test_whatever_is_asked_is_read_or_refused_in_one_sentence(
    model: type[BaseModel], body: dict[str, Any]
) -> None:
    said = "It was read."
    try:
        asked(model, body)
    except BadRequest as refused:
        said = refused.sentence
    assert re.fullmatch(r"[^\n{}]+\.", said)


@given(st.binary(max_size=60))
@example(b"\xff")
def test_whatever_a_body_holds_it_is_an_object_or_refused(body: bytes) -> None:
    with suppress(BadRequest):
        assert isinstance(parse(JSON, body), dict)


@pytest.mark.parametrize(
    "raw", ["", "conv_", "conv_none", f"{ID}x", f"{ID}\n", f"x{ID}", "\0", "é"]
)
def test_what_no_conversation_is_called_is_unknown_without_asking(raw: str) -> None:
    with pytest.raises(UnknownConversation):
        reading.conversation_id(raw)


def test_a_conversations_id_is_taken_as_it_is() -> None:
    assert reading.conversation_id(ID) == ID


@pytest.mark.parametrize("raw", ["", "msg_", "opt_" + "0" * 26, "msg_" + "0" * 27, "msg_\0"])
def test_what_no_message_is_called_is_unknown_without_asking(raw: str) -> None:
    with pytest.raises(UnknownResource, match="There is no message with that id"):
        reading.an_id(raw, "msg", "message")


# --- Queries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([("limit", "0")], "limit must be 1 or more."),
        ([("limit", "201")], "limit must be 200 or less."),
        ([("limit", "9" * 5000)], "limit must be a whole number, and not so large."),
        ([("limit", "ten")], "limit must be a whole number."),
        ([("limit", "1"), ("limit", "2")], "limit is given twice; give it once."),
        ([("q", "a\0")], "q holds a NUL, which nothing can hold."),
        ([("state", "gone")], "state must be "),
        ([("since", "2026-03-02T09:00:00")], "since must be a time with its zone"),
        ([("since", "0001-01-01T00:00:00+23:59")], "since must be a time with its zone"),
        ([("projekt", "a")], "There is no such query parameter here; there are limit, cursor, "),
        ([("user_number", "Ann")], f"user_number {E164}"),
    ],
)
def test_a_wrong_query_is_told_in_one_sentence_what_to_change(
    given: list[tuple[str, str]], sentence: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        reading.query(message_wire.Messages, given)
    assert refused.value.sentence.startswith(sentence)


def test_a_time_may_have_any_zone_and_is_read_as_utc() -> None:
    read = reading.query(message_wire.Messages, [("since", "2026-03-02T09:00:00+02:00")])
    assert read.since == datetime(2026, 3, 2, 7, tzinfo=UTC)


# --- Idempotency --------------------------------------------------------------------------------


def test_the_same_json_for_the_same_conversation_is_the_same_request() -> None:
    first = reading.idempotency("k", "/a", {"text": "Hi", "sender": "agent"})
    assert first == reading.idempotency("k", "/a", {"sender": "agent", "text": "Hi"})


def test_a_key_belongs_to_one_route_and_one_text() -> None:
    first = reading.idempotency("k", "/a", {"text": "Hi"})
    other = reading.idempotency("k", "/b", {"text": "Hi"})
    changed = reading.idempotency("k", "/a", {"text": "Ho"})
    assert first is not None
    assert other is not None
    assert changed is not None
    assert first.route != other.route
    assert first.fingerprint != changed.fingerprint


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\0"])
def test_a_key_that_cannot_be_kept_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key must have 1 to 255 characters"):
        reading.idempotency(key, "/a", {})


def test_without_a_key_nothing_is_remembered() -> None:
    assert reading.idempotency(None, "/a", {}) is None


# --- Problems -----------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", wire.STATUS, ids=lambda refusal: refusal.__name__)
def test_every_problem_has_a_type_a_title_a_status_and_a_sentence(refusal: type[Refusal]) -> None:
    made = refusal.__new__(refusal)
    made.sentence = "Do something else."
    problem = wire.problem(made)
    assert re.fullmatch(r"urn:textback:problem:[a-z]+(-[a-z]+)*", problem.type)
    assert re.fullmatch(r"[A-Z][a-z]+( [a-z]+)*", problem.title)
    assert (problem.status, problem.detail) == (wire.STATUS[refusal], "Do something else.")


def test_no_two_problems_are_of_one_type() -> None:
    types = {wire.problem(_made(refusal)).type for refusal in wire.STATUS}
    assert len(types) == len(wire.STATUS)


def _made(refusal: type[Refusal]) -> Refusal:
    made = refusal.__new__(refusal)
    made.sentence = "."
    return made
