"""Whatever a carrier's webhook holds: parsing never raises, and gives only what can be stored."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from textback.api.hooks import MAX_BODY
from textback.carriers.sandbox import SandboxHooks
from textback.carriers.twilio.hooks import TwilioHooks
from textback.core.ports import HookRequest, Hooks, Ignored, Inbound, Malformed, Receipt

TOKEN = "0123456789abcdef0123456789abcdef"
HEADERS = ("x-twilio-signature", "x-textback-signature", "content-type", "content-encoding")
NAMES = (
    *("MessageSid", "SmsSid", "AccountSid", "From", "To", "Body", "NumMedia", "OptOutType"),
    *("MediaUrl0", "MediaContentType0", "MediaUrl9", "MessageStatus", "SmsStatus", "ErrorCode"),
)
WORDS = ("SM1", "delivered", "received", "failed", "21610", "STOP", "+14155550123", "", "\0", "10")
OURS = (
    *("account_sid", "carrier_message_id", "agent_number", "user_number", "text", "status"),
    "error_code",
)

name = st.sampled_from(NAMES) | st.text(max_size=8)
value = st.sampled_from(WORDS) | st.text(max_size=40) | st.binary(max_size=20)
forms = st.lists(st.tuples(name, value), max_size=20).map(
    lambda fields: urlencode(fields, errors="surrogatepass").encode()
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
objects = st.dictionaries(
    st.sampled_from(OURS), st.sampled_from(WORDS) | st.sampled_from(["a\ud800", 1]) | anything
).map(lambda said: json.dumps(said).encode())
bodies = forms | objects | anything.map(lambda said: json.dumps(said).encode()) | st.binary()
queries = st.sampled_from(["", "?message_id=msg_1", "?message_id=%00%ff", "?message_id=a&&=;"])
urls = queries.map("https://sms.example.com/hooks/x/inbound{}".format) | st.text(max_size=60)
headers = st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=60))

ALL = pytest.mark.parametrize("hooks", [TwilioHooks(), SandboxHooks()], ids=["twilio", "sandbox"])


def strings(found: Inbound | Receipt) -> Iterator[str]:
    if isinstance(found, Inbound):
        yield from (found.text, found.agent_number, found.user_number)
        for media in found.media:
            yield from media.values()
    elif found.message_id is not None:
        yield found.message_id
    if isinstance(found, Receipt) and found.error_code is not None:
        yield found.error_code
    yield found.carrier_message_id


def is_parsed(hooks: Hooks, request: HookRequest) -> None:
    sid = hooks.account_sid(request)
    assert sid is None or storable(sid)
    assert hooks.verify(request, TOKEN) is False
    assert hooks.verify(request, "") is False
    for found in (hooks.parse_inbound(request), hooks.parse_status(request)):
        assert isinstance(found, Inbound | Receipt | Ignored | Malformed)
        if isinstance(found, Inbound | Receipt):
            assert found.carrier_message_id
            assert all(storable(said) for said in strings(found))
            # A byte becomes one U+FFFD at most: nothing grows.
            assert sum(map(len, strings(found))) <= len(request.body) + len(request.url)
        if isinstance(found, Inbound):
            assert len(found.media) <= 10
            json.dumps([dict(media) for media in found.media])


def storable(said: str) -> bool:
    said.encode()  # raises at a lone surrogate
    return "\0" not in said


@ALL
@effort(max_examples=300)
@given(body=bodies, url=urls, given_headers=headers)
def test_any_body_address_and_headers(
    hooks: Hooks, body: bytes, url: str, given_headers: dict[str, str]
) -> None:
    is_parsed(hooks, HookRequest(url=url, headers=given_headers, body=body))


MONSTERS = {
    "a hundred thousand fields": b"a=1&" * 25_000 + b"MessageSid=SM1",
    "one field of 128 KB": b"MessageSid=" + b"x" * (MAX_BODY - 11),
    "percent signs": b"%" * MAX_BODY,
    "NULs": b"%00" * (MAX_BODY // 3),
    "half characters": b"Body=" + b"%ed%a0%80" * 10_000 + b"&MessageSid=S&To=1&From=2",
    "brackets": b"[" * MAX_BODY,
    "nested objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "a number without end": b'{"carrier_message_id": ' + b"9" * 100_000 + b"}",
    "NaN": b'{"carrier_message_id": NaN, "status": Infinity}',
    "UTF-16": '{"carrier_message_id": "SB1"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"carrier_message_id": "SB1"}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff",
    "duplicate keys": b'{"carrier_message_id": "SB1", "carrier_message_id": 5}',
}


@ALL
@pytest.mark.parametrize("body", MONSTERS.values(), ids=MONSTERS)
def test_a_monster(hooks: Hooks, body: bytes) -> None:
    assert len(body) <= MAX_BODY
    is_parsed(hooks, HookRequest(url="https://sms.example.com/x", headers={}, body=body))


@given(fields=st.lists(st.tuples(name, st.text(max_size=20)), max_size=8), url=urls)
def test_what_twilio_signed_is_believed_and_one_changed_bit_is_not(
    fields: list[tuple[str, str]], url: str
) -> None:
    body = urlencode(fields, errors="surrogatepass").encode()
    pairs = sorted({(k.encode(errors="surrogatepass"), v.encode(errors="surrogatepass"))
                    for k, v in fields})  # fmt: skip
    signed = url.encode(errors="surrogatepass") + b"".join(k + v for k, v in pairs)
    digest = hmac.digest(TOKEN.encode(), signed, hashlib.sha1)
    asked = {"x-twilio-signature": base64.b64encode(digest).decode()}
    hooks = TwilioHooks()
    assert hooks.verify(HookRequest(url=url, headers=asked, body=body), TOKEN)
    wrong = {"x-twilio-signature": base64.b64encode(bytes([digest[0] ^ 1]) + digest[1:]).decode()}
    assert not hooks.verify(HookRequest(url=url, headers=wrong, body=body), TOKEN)
    assert not hooks.verify(HookRequest(url=url, headers=asked, body=body), TOKEN[:-1] + "0")
