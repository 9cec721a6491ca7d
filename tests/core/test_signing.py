import base64
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from tests.make import NOW
from textback.core.signing import fault, headers, secret_bytes

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

keys = st.binary(min_size=24, max_size=64)
ids = st.from_regex(r"[A-Za-z0-9_]{1,40}", fullmatch=True)


def whsec(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def test_the_signature_is_the_one_of_the_specifications_own_example() -> None:
    signed = headers(
        SECRET,
        webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signed == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(keys, ids, st.text())
def test_what_we_sign_the_reference_library_verifies(
    key: bytes, webhook_id: str, text: str
) -> None:
    body = text.encode()
    signed = headers(whsec(key), webhook_id=webhook_id, timestamp=int(time.time()), body=body)
    Webhook(whsec(key)).verify(body, signed, json_parse=False)


@given(keys, ids, st.binary(min_size=1).filter(lambda body: body.isascii()))
def test_a_changed_body_is_not_verified(key: bytes, webhook_id: str, body: bytes) -> None:
    signed = headers(whsec(key), webhook_id=webhook_id, timestamp=int(time.time()), body=body)
    with pytest.raises(WebhookVerificationError):
        Webhook(whsec(key)).verify(body + b" ", signed, json_parse=False)


@given(keys)
def test_a_secret_is_read_back_as_its_bytes(key: bytes) -> None:
    assert secret_bytes(whsec(key)) == key


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_not base64!",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        "whsec_ключ",
        whsec(b"k" * 23),
        whsec(b"k" * 65),
    ],
)
def test_anything_but_whsec_and_24_to_64_bytes_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        secret_bytes(secret)


@given(keys, ids, st.text(), st.integers(-300, 300))
def test_what_the_reference_library_signs_has_no_fault(
    key: bytes, webhook_id: str, body: str, seconds: int
) -> None:
    at = NOW + timedelta(seconds=seconds)
    given_headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(whsec(key)).sign(webhook_id, at, body),
    }
    assert fault(whsec(key), given_headers, body.encode(), now=NOW) is None


@given(keys, ids, st.binary(), st.sampled_from(["key", "id", "time", "body", "signature"]))
def test_whatever_else_is_changed_is_a_fault(
    key: bytes, webhook_id: str, body: bytes, what: str
) -> None:
    timestamp = int(NOW.timestamp())
    found = headers(whsec(key), webhook_id=webhook_id, timestamp=timestamp, body=body)
    match what:
        case "key":
            key = bytes([key[0] ^ 1]) + key[1:]
        case "id":
            found["webhook-id"] += "x"
        case "time":
            found["webhook-timestamp"] = str(timestamp + 1)
        case "body":
            body += b"x"
        case _:
            found["webhook-signature"] = found["webhook-signature"].swapcase()
    assert fault(whsec(key), found, body, now=NOW) is not None
