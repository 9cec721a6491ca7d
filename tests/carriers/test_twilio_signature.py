"""Which webhooks are Twilio's: the signature, against the documented example and the SDK."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import ImmutableMultiDict

from tests.support.fake_twilio.webhooks import signature_of
from textback.carriers.twilio.hooks import TwilioHooks
from textback.core.ports import HookRequest

HOOKS = TwilioHooks()
TOKEN = "12345"
URL = "https://texts.example.com/hooks/twilio/inbound"

VECTOR_URL = "https://example.com/myapp.php?foo=1&bar=2"
VECTOR = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675310",
    "Digits": "1234",
    "From": "+14158675310",
    "To": "+18005551212",
}
VECTOR_SIGNATURE = "L/OH5YylLD5NRKLltdqwSvS0BnU="

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


def sdk_signature(url: str, fields: Fields, token: str = TOKEN) -> str:
    """What the SDK would expect of these fields; it reads a MultiDict as starlette's forms are."""
    pairs = list(fields.items() if isinstance(fields, Mapping) else fields)
    return signature_of(token, url, ImmutableMultiDict(pairs))


def posted(
    fields: Fields, url: str = URL, *, signature: str | None = None, body: bytes | None = None
) -> HookRequest:
    """A webhook as Twilio posts it; signed by the SDK unless told how."""
    signature = sdk_signature(url, fields) if signature is None else signature
    return HookRequest(
        url=url,
        headers={"x-twilio-signature": signature},
        body=urlencode(fields).encode() if body is None else body,
    )


def test_the_documented_example_verifies() -> None:
    assert HOOKS.verify(posted(VECTOR, VECTOR_URL, signature=VECTOR_SIGNATURE), TOKEN)


@pytest.mark.parametrize("name", [*VECTOR, "Another"])
def test_a_changed_field_does_not_verify(name: str) -> None:
    changed = {**VECTOR, name: "x"}
    assert not HOOKS.verify(posted(changed, VECTOR_URL, signature=VECTOR_SIGNATURE), TOKEN)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/myapp.php?foo=1&bar=3",
        "https://example.com/myapp.php?bar=2&foo=1",
        "https://example.com/myapp.php",
        "http://example.com/myapp.php?foo=1&bar=2",
        "https://evil.example/myapp.php?foo=1&bar=2",
    ],
)
def test_another_address_does_not_verify(url: str) -> None:
    assert not HOOKS.verify(posted(VECTOR, url, signature=VECTOR_SIGNATURE), TOKEN)


@pytest.mark.parametrize("token", ["", "12346", "1234", "ключ"])
def test_another_token_does_not_verify(token: str) -> None:
    assert not HOOKS.verify(posted(VECTOR, VECTOR_URL, signature=VECTOR_SIGNATURE), token)


def test_an_account_without_a_token_verifies_nothing() -> None:
    # An empty key is a valid HMAC key, and everybody knows it.
    request = posted(VECTOR, signature=sdk_signature(URL, VECTOR, token=""))
    assert not HOOKS.verify(request, "")


@pytest.mark.parametrize(
    "signature",
    ["", " ", "=", "L/OH5YylLD5NRKLltdqwSvS0BnU", "é" * 28, "\x00", "\ud800", "x" * 10**5],
)
def test_a_garbage_signature_does_not_verify(signature: str) -> None:
    assert not HOOKS.verify(posted(VECTOR, VECTOR_URL, signature=signature), TOKEN)


def test_a_missing_signature_does_not_verify() -> None:
    assert not HOOKS.verify(HookRequest(url=URL, headers={}, body=b""), TOKEN)


@given(
    fields=st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=12),
    query=st.text("abc&=%2F+", max_size=10),
)
def test_whatever_the_sdk_signs_verifies(fields: list[tuple[str, str]], query: str) -> None:
    assert HOOKS.verify(posted(fields, f"{URL}?a={query}"), TOKEN)


@given(
    fields=st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=5),
    data=st.data(),
)
def test_whatever_is_changed_afterwards_does_not(
    fields: dict[str, str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(st.text().filter(lambda value: value != fields[name]))
    signature = sdk_signature(URL, fields)
    assert not HOOKS.verify(posted({**fields, name: value}, signature=signature), TOKEN)


def test_blank_fields_count() -> None:
    with_blanks = {**VECTOR, "FromCity": "", "ToState": ""}
    assert HOOKS.verify(posted(with_blanks), TOKEN)
    assert not HOOKS.verify(posted(VECTOR, signature=sdk_signature(URL, with_blanks)), TOKEN)


def test_each_value_of_a_repeated_name_counts_once() -> None:
    repeated = [("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("Body", "x")]
    assert HOOKS.verify(posted(repeated), TOKEN)
    once = [("MediaUrl", "a"), ("MediaUrl", "b"), ("Body", "x")]
    assert sdk_signature(URL, repeated) == sdk_signature(URL, once)


@pytest.mark.parametrize(
    ("ours", "signed"),
    [
        ("https://x.example/h?a=1", "https://x.example:443/h?a=1"),
        ("https://x.example:443/h", "https://x.example/h"),
        ("http://x.example/h", "http://x.example:80/h"),
        ("https://x.example:8443/h", "https://x.example/h"),
        ("https://[::1]:8443/h", "https://[::1]/h"),
        ("https://[::1]/h?t=1:2", "https://[::1]:443/h?t=1:2"),
    ],
)
def test_the_port_may_be_there_or_not(ours: str, signed: str) -> None:
    assert HOOKS.verify(posted(VECTOR, ours, signature=sdk_signature(signed, VECTOR)), TOKEN)


def test_the_query_is_signed_as_it_was_written() -> None:
    url = URL + "?message_id=msg_1&x=%7e%2F+y&empty="
    assert HOOKS.verify(posted(VECTOR, url), TOKEN)


def test_a_body_in_broken_utf8_is_read_without_falling() -> None:
    request = posted({}, signature="x", body=b"Body=%ff%fe\xff&AccountSid=AC1&=&&x")
    assert not HOOKS.verify(request, TOKEN)
    assert HOOKS.account_sid(request) == "AC1"


def test_a_body_of_too_many_fields_is_not_read() -> None:
    fields = [(f"f{n}", "") for n in range(501)] + [("AccountSid", "AC1")]
    assert not HOOKS.verify(posted(fields), TOKEN)
    assert HOOKS.account_sid(posted(fields)) is None


@pytest.mark.parametrize("body", [b"", b"AccountSid=", b"{}", b"\x00\xff"])
def test_a_webhook_may_name_no_account(body: bytes) -> None:
    assert HOOKS.account_sid(posted({}, signature="", body=body)) is None
