"""PolyAI's words against the published examples, and against anything at all."""

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textback.api.body import parse
from textback.core.commands import Idempotency, SendText
from textback.core.errors import BadRequest, Refusal
from textback.core.policy import MAX_TEXT
from textback.dialects.polyai import chat, wire

GOLDEN = Path(__file__).parent / "golden"
JSON = "application/json"
USER = "+14155551234"


def cases(name: str) -> list[Any]:
    found = json.loads((GOLDEN / name).read_text())
    return [pytest.param(case, id=case["case"]) for case in found]


def command(content_type: str | None, body: bytes, *, key: str | None = None) -> SendText:
    """What a request means, from its bytes. Raises BadRequest."""
    parsed = parse(content_type, body, at_most=wire.MAX_BODY, storable=False)
    return wire.to_command(parsed, wire.idempotency(key, "conn-live", parsed))


def of(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("case", cases("accepted.json"))
def test_a_request_means_what_polyai_documents(case: dict[str, Any]) -> None:
    found = command(case["content_type"], case["body"].encode())
    meant = {
        "user_number": found.user_number,
        "text": found.text,
        "agent_number": found.agent_number,
    }
    assert meant == case["command"]


@pytest.mark.parametrize("case", cases("refused.json"))
def test_a_wrong_request_is_told_in_one_sentence_what_to_change(case: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        command(case["content_type"], case["body"].encode())
    assert refused.value.sentence == case["detail"]
    assert wire.STATUS[type(refused.value)] == 400


def test_a_body_that_was_too_large_to_read_is_refused_before_its_type_is_looked_at() -> None:
    with pytest.raises(BadRequest, match="64 KB at most"):
        parse(None, None, at_most=wire.MAX_BODY, storable=False)


def test_the_length_of_a_text_is_counted_in_code_points() -> None:
    longest = "👍" * MAX_TEXT
    assert command(JSON, of({"user_number": USER, "message": longest})).text == longest
    with pytest.raises(BadRequest, match="1600 characters at most"):
        command(JSON, of({"user_number": USER, "message": longest + "."}))


@pytest.mark.parametrize("name", ["user_number", "agent_number", "message"])
def test_a_surrogate_that_got_past_the_parser_is_refused_too(name: str) -> None:
    with pytest.raises(BadRequest):
        wire.to_command({"user_number": USER, "message": "Hi"} | {name: "+1415\udfff"}, None)


def test_every_refusal_has_a_status_polyai_documents_or_the_issue_adds() -> None:
    assert set(wire.STATUS.values()) == {400, 401, 403, 404, 409, 429, 503}


# --- Idempotency -------------------------------------------------------------------------------


def fingerprint(body: bytes, connector_id: str = "conn-live", key: str = "k") -> bytes:
    found = wire.idempotency(
        key, connector_id, parse(JSON, body, at_most=wire.MAX_BODY, storable=False)
    )
    assert isinstance(found, Idempotency)
    return found.fingerprint


def test_null_stands_for_left_out_in_a_chat_too() -> None:
    nothing = dict.fromkeys(chat.Create.model_fields)
    assert chat.create(nothing) == chat.create({})
    given = {"conversation_id": "conv_01kk2v5m7xq1t8c9d0e2f3g4h5"}
    assert chat.respond({**given, "message": None}) == chat.respond(given)


def test_the_same_json_written_differently_is_the_same_request() -> None:
    spaced = b'{ "message":"\\u0048i",\n"user_number" : "+14155551234" }'
    assert fingerprint(spaced) == fingerprint(b'{"user_number":"+14155551234","message":"Hi"}')


@pytest.mark.parametrize(
    "other",
    [
        {"user_number": USER, "message": "Hi "},
        {"user_number": USER, "message": "Hi", "agent_number": None},
        {"user_number": USER, "message": "Hi", "unknown": 1},
        {"user_number": USER},
    ],
)
def test_other_json_is_another_request(other: dict[str, object]) -> None:
    assert fingerprint(of(other)) != fingerprint(of({"user_number": USER, "message": "Hi"}))


def test_true_and_one_are_not_the_same_json() -> None:
    prints = {fingerprint(of({"user_number": USER, "x": x})) for x in (1, True, 1.0, "1")}
    assert len(prints) == 4


def test_another_connector_makes_another_request() -> None:
    body = of({"user_number": USER})
    assert fingerprint(body) != fingerprint(body, "conn-dev")
    assert fingerprint(body) == fingerprint(body, key="another key")


@pytest.mark.parametrize("key", ["", "  ", "k" * 256, "a\0b"])
def test_a_key_has_1_to_255_characters(key: str) -> None:
    with pytest.raises(BadRequest, match="1 to 255"):
        wire.idempotency(key, "conn-live", {})


def test_the_longest_key_is_kept_whole_and_no_key_means_no_protection() -> None:
    found = wire.idempotency("é" * 255, "conn-live", {})
    assert found is not None
    assert (found.key, found.route) == ("é" * 255, "/v1/outbound-sms")
    assert wire.idempotency(None, "conn-live", {}) is None


# --- Anything at all ---------------------------------------------------------------------------

anything = st.text(st.characters(exclude_categories=()), max_size=30)
"""Also NUL, lone surrogates and unassigned characters."""
numbers = st.from_regex(r"\A\+[0-9]{0,17}\Z") | st.just(USER) | anything
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=8,
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "user_number": numbers | values,
        "message": anything | values,
        "agent_number": numbers | values,
        "other": values,
    },
)
content_types = st.none() | st.sampled_from([JSON, f"{JSON};charset=utf-8"]) | anything


def understood(content_type: str | None, body: bytes, key: str | None) -> SendText | Refusal:
    """Nothing but a Refusal may be raised; what is understood can be stored and sent."""
    try:
        found = command(content_type, body, key=key)
    except Refusal as refusal:
        refusal.sentence.encode()  # it can be written down itself
        return refusal
    for number in (found.user_number, found.agent_number):
        assert number is None or re.fullmatch(r"\+[1-9][0-9]{1,14}", number)
    if found.text is not None:
        found.text.encode()
        assert "\0" not in found.text
        assert found.text.strip()
        assert len(found.text) <= MAX_TEXT
    return found


@given(content_types, st.binary(max_size=200), st.none() | anything)
@example(JSON, b"", None)
@example(JSON, b"\xff\xfe{\x00}\x00", None)
@example(JSON, "{}".encode("utf-16"), None)
@example(JSON, b'{"user_number":"\xed\xa0\x80"}', None)
@example(JSON, b"[" * 100_000, None)
@example(JSON, b'{"a":' * 100_000, None)
@example(JSON, b'{"user_number":' + b"9" * 60_000 + b"}", "k")
@example(JSON, b'{"user_number":"+14155551234","x":' + b"9" * 60_000 + b"}", "k")
@example(JSON, b'{"user_number":"+14155551234","x":-' + b"9" * 60_000 + b".0e99999}", "k")
@example(JSON, b'{"user_number":"+14155551234","x":' + b"[" * 190 + b"]" * 190 + b"}", "k")
def test_whatever_bytes_come_are_understood_or_refused(
    content_type: str | None, body: bytes, key: str | None
) -> None:
    understood(content_type, body, key)


@given(bodies, st.none() | anything)
def test_whatever_json_comes_is_understood_or_refused(
    body: dict[str, object], key: str | None
) -> None:
    understood(JSON, of(body), key)


@given(bodies)
def test_whatever_is_parsed_is_understood_or_refused(body: dict[str, object]) -> None:
    """Without the parser before it, which refuses part of what could come."""
    try:
        wire.to_command(cast("dict[str, Any]", body), None)
    except BadRequest as refusal:
        refusal.sentence.encode()


@given(numbers, st.none() | anything)
def test_a_possible_number_and_a_storable_text_are_always_taken(
    number: str, text: str | None
) -> None:
    found = understood(JSON, of({"user_number": number, "message": text}), None)
    good_text = text is None or (
        bool(text.strip()) and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
    )
    if isinstance(found, Refusal) and number == USER:
        assert not good_text
