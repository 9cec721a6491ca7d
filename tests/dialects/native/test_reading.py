"""Our own shapes: what is read, and the one sentence for what cannot be."""

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from textback.core.errors import BadRequest, Refusal, UnknownConversation
from textback.core.ids import ConversationId
from textback.dialects.native import reading, wire

JSON = "application/json"
ID = ConversationId("conv_" + "0" * 26)


def asked(model: type[BaseModel], body: object) -> BaseModel:
    parsed = reading.parse(JSON, json.dumps(body).encode())
    return reading.read(model, parsed)


@pytest.mark.parametrize("model", [wire.HandOff, wire.Resume, wire.End])
def test_what_has_only_choices_may_be_asked_without_a_body(model: type[BaseModel]) -> None:
    assert reading.read(model, reading.parse(None, b"")) == model()


@pytest.mark.parametrize(
    "model", [wire.HandOff, wire.Message, wire.Resume, wire.End], ids=lambda m: m.__name__
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
        (wire.Message, {"text": "a\0"}, "The body holds a character that no text can hold (NUL)."),
        (wire.Resume, {"reply": "yes"}, "reply must be true or false."),
        (wire.HandOff, {"metadata": []}, "metadata must be an object."),
        (
            wire.HandOff,
            {"metadata": {"a": [{"b\0": 1}]}},
            "The body holds a character that no text can hold (NUL).",
        ),
        (
            wire.End,
            {"reason": "x" * 501},
            "reason is too long; it may have 500 characters at most.",
        ),
        (wire.End, [], "The body must be a JSON object."),
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
        reading.parse(content_type, body)


def test_a_body_that_was_too_large_to_read_has_a_status_of_its_own() -> None:
    with pytest.raises(wire.TooLarge, match="64 KB at most") as refused:
        reading.parse(JSON, None)
    assert wire.problem(refused.value).status == 413


models = st.sampled_from([wire.HandOff, wire.Message, wire.Resume, wire.End])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
names = st.sampled_from(["text", "sender", "reason", "metadata", "message", "reply", "node", "x"])


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
        assert isinstance(reading.parse(JSON, body), dict)


@pytest.mark.parametrize(
    "raw", ["", "conv_", "conv_none", f"{ID}x", f"{ID}\n", f"x{ID}", "\0", "é"]
)
def test_what_no_conversation_is_called_is_unknown_without_asking(raw: str) -> None:
    with pytest.raises(UnknownConversation):
        reading.conversation_id(raw)


def test_a_conversations_id_is_taken_as_it_is() -> None:
    assert reading.conversation_id(ID) == ID


# --- Idempotency --------------------------------------------------------------------------------


def test_the_same_json_for_the_same_conversation_is_the_same_request() -> None:
    first = reading.idempotency("k", ID, {"text": "Hi", "sender": "agent"})
    assert first == reading.idempotency("k", ID, {"sender": "agent", "text": "Hi"})


def test_a_key_belongs_to_one_conversation_and_one_text() -> None:
    first = reading.idempotency("k", ID, {"text": "Hi"})
    other = reading.idempotency("k", ConversationId("conv_" + "1" * 26), {"text": "Hi"})
    changed = reading.idempotency("k", ID, {"text": "Ho"})
    assert first is not None
    assert other is not None
    assert changed is not None
    assert first.route != other.route
    assert first.fingerprint != changed.fingerprint


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\0"])
def test_a_key_that_cannot_be_kept_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key must have 1 to 255 characters"):
        reading.idempotency(key, ID, {})


def test_without_a_key_nothing_is_remembered() -> None:
    assert reading.idempotency(None, ID, {}) is None


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
