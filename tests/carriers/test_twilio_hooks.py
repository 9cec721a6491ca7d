"""What Twilio's forms mean."""

import sys
from collections.abc import Mapping
from subprocess import run
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.carriers.twilio.hooks import TwilioHooks
from textback.core.ports import HookRequest, Ignored, Inbound, Malformed, Receipt

HOOKS = TwilioHooks()
TOKEN = "12345"
URL = "https://texts.example.com/hooks/twilio/inbound"

INBOUND = {
    "MessageSid": "SM1",
    "SmsSid": "SM1",
    "SmsMessageSid": "SM1",
    "AccountSid": "AC1",
    "From": "+14155550111",
    "To": "+14155550100",
    "Body": "Yes, 3pm",
    "NumMedia": "0",
    "NumSegments": "1",
    "FromCity": "",
    "SmsStatus": "received",
    "ApiVersion": "2010-04-01",
}


def posted(fields: Mapping[str, str], url: str = URL, *, body: bytes = b"") -> HookRequest:
    return HookRequest(url=url, headers={}, body=body or urlencode(fields).encode())


def test_an_inbound_text_says_who_and_what() -> None:
    assert HOOKS.parse_inbound(posted(INBOUND)) == Inbound(
        carrier_message_id="SM1",
        agent_number="+14155550100",
        user_number="+14155550111",
        text="Yes, 3pm",
    )


def test_an_inbound_text_may_be_blank_or_missing() -> None:
    without = {name: value for name, value in INBOUND.items() if name != "Body"}
    for form in (without, {**INBOUND, "Body": ""}):
        found = HOOKS.parse_inbound(posted(form))
        assert isinstance(found, Inbound)
        assert found.text == ""


def test_every_script_and_sign_arrives_as_it_was_typed() -> None:
    text = " +1 & = % 100% \n 👩‍👩‍👧 שלום \u200f "
    found = HOOKS.parse_inbound(posted({**INBOUND, "Body": text}))
    assert isinstance(found, Inbound)
    assert found.text == text


@pytest.mark.parametrize("name", ["To", "From"])
def test_an_inbound_text_without_its_numbers_is_malformed(name: str) -> None:
    assert isinstance(HOOKS.parse_inbound(posted({**INBOUND, name: ""})), Malformed)


def test_an_inbound_text_without_its_id_is_malformed() -> None:
    form = {**INBOUND, "MessageSid": "", "SmsSid": ""}
    assert isinstance(HOOKS.parse_inbound(posted(form)), Malformed)
    form = {**INBOUND, "MessageSid": ""}
    assert isinstance(HOOKS.parse_inbound(posted(form)), Inbound)


@pytest.mark.parametrize("count", ["2", "", "many", "-1", "9" * 5000])
def test_media_are_counted_by_what_is_there(count: str) -> None:
    media = {
        "NumMedia": count,
        "MediaUrl0": "https://api.twilio.com/0",
        "MediaContentType0": "image/png",
        "MediaUrl1": "https://api.twilio.com/1",
    }
    found = HOOKS.parse_inbound(posted(INBOUND | media))
    assert isinstance(found, Inbound)
    assert found.media == (
        {"url": "https://api.twilio.com/0", "content_type": "image/png"},
        {"url": "https://api.twilio.com/1", "content_type": ""},
    )


@pytest.mark.parametrize(
    ("said", "opt_out"),
    [("STOP", "stop"), ("START", "start"), ("HELP", "help"), ("stop", "stop"), ("WHAT", None)],
)
def test_a_keyword_that_twilio_handled_is_named(said: str, opt_out: str | None) -> None:
    found = HOOKS.parse_inbound(posted({**INBOUND, "OptOutType": said}))
    assert isinstance(found, Inbound)
    assert found.opt_out == opt_out


def test_a_keyword_that_twilio_only_passes_on_is_not() -> None:
    found = HOOKS.parse_inbound(posted({**INBOUND, "Body": "STOP"}))
    assert isinstance(found, Inbound)
    assert found.opt_out is None


def test_what_a_database_cannot_hold_is_replaced_and_the_text_kept() -> None:
    found = HOOKS.parse_inbound(posted({**INBOUND, "Body": "a\x00b"}))
    assert isinstance(found, Inbound)
    assert found.text == "a\ufffdb"
    broken = urlencode({k: v for k, v in INBOUND.items() if k != "Body"}).encode()
    found = HOOKS.parse_inbound(posted({}, body=broken + b"&Body=a%ffb%ed%a0%80"))
    assert isinstance(found, Inbound)
    assert found.text.startswith("a\ufffdb\ufffd")
    found.text.encode()


def test_new_parameters_are_no_trouble() -> None:
    assert isinstance(HOOKS.parse_inbound(posted({**INBOUND, "Brand-New": "x"})), Inbound)


def test_a_receipt_at_the_address_of_texts_is_not_taken_for_a_text() -> None:
    form = {**INBOUND, "MessageStatus": "delivered"}
    assert isinstance(HOOKS.parse_inbound(posted(form)), Ignored)
    form = {**INBOUND, "MessageStatus": "received"}
    assert isinstance(HOOKS.parse_inbound(posted(form)), Inbound)


@given(st.binary(max_size=300))
def test_no_body_makes_parsing_fall(body: bytes) -> None:
    request = HookRequest(url=URL, headers={}, body=body)
    HOOKS.account_sid(request)
    HOOKS.verify(request, TOKEN)
    HOOKS.parse_inbound(request)
    HOOKS.parse_status(request)


# --- receipts ---


def test_what_came_by_rcs_says_its_service_and_what_came_beside_the_words() -> None:
    form = {
        "MessageSid": "SM1",
        "AccountSid": "AC1",
        "From": "rcs:+14155550111",
        "To": "rcs:brand_agent",
        "Body": "Yes",
        "MessagingServiceSid": "MG" + "0" * 32,
        "ButtonPayload": "yes_1",
        "ButtonText": "Yes",
        "Latitude": "37.78",
        "Longitude": "-122.41",
        "Label": "Home",
        "MediaUrl0": "https://api.twilio.com/m/1",
        "MediaContentType0": "image/jpeg",
    }
    found = HOOKS.parse_inbound(posted(form))
    assert isinstance(found, Inbound)
    assert (found.user_number, found.agent_number) == ("rcs:+14155550111", "rcs:brand_agent")
    assert (found.text, found.messaging_service_sid) == ("Yes", "MG" + "0" * 32)
    assert found.media == (
        {"url": "https://api.twilio.com/m/1", "content_type": "image/jpeg"},
        {
            "url": "geo:37.78,-122.41",
            "content_type": "location",
            "latitude": "37.78",
            "longitude": "-122.41",
            "address": "",
            "label": "Home",
        },
        {"url": "", "content_type": "button", "payload": "yes_1", "text": "Yes", "type": ""},
    )


STATUS_URL = "https://texts.example.com/hooks/twilio/status?message_id=msg_1"


def receipt(status: str, url: str = STATUS_URL, **more: str) -> Receipt | Ignored | Malformed:
    form = {"MessageSid": "SM1", "AccountSid": "AC1", "MessageStatus": status, **more}
    return HOOKS.parse_status(posted(form, url))


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("accepted", "accepted"),
        ("scheduled", "accepted"),
        ("queued", "accepted"),
        ("sending", "accepted"),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("read", "delivered"),
        ("undelivered", "failed"),
        ("failed", "failed"),
        ("canceled", "failed"),
    ],
)
def test_a_receipt_says_how_far_the_text_came(said: str, status: str) -> None:
    found = receipt(said)
    assert isinstance(found, Receipt)
    assert (found.carrier_message_id, found.message_id) == ("SM1", "msg_1")
    assert (found.status, found.error_code, found.opted_out) == (status, None, False)
    assert found.read is (said == "read")


@pytest.mark.parametrize("said", ["received", "partially_delivered", "brand-new"])
def test_a_status_we_do_not_act_on_is_ignored(said: str) -> None:
    assert isinstance(receipt(said), Ignored)


def test_a_failure_keeps_its_code() -> None:
    found = receipt("undelivered", ErrorCode="30003")
    assert isinstance(found, Receipt)
    assert (found.error_code, found.opted_out) == ("30003", False)


def test_a_failure_may_reveal_an_opt_out() -> None:
    found = receipt("failed", ErrorCode="21610")
    assert isinstance(found, Receipt)
    assert found.opted_out


def test_a_delivered_text_has_no_error() -> None:
    found = receipt("delivered", ErrorCode="")
    assert isinstance(found, Receipt)
    assert found.error_code is None


@pytest.mark.parametrize("query", ["", "?", "?message_id=", "?other=1", "?%ff&&=;"])
def test_a_receipt_may_come_without_our_id(query: str) -> None:
    found = receipt("sent", "https://texts.example.com/hooks/twilio/status" + query)
    assert isinstance(found, Receipt)
    assert found.message_id is None


def test_a_receipt_without_sid_or_status_is_malformed() -> None:
    assert isinstance(HOOKS.parse_status(posted({"MessageStatus": "sent"})), Malformed)
    assert isinstance(HOOKS.parse_status(posted({"MessageSid": "SM1"})), Malformed)


# --- the answer ---


def test_the_answer_makes_twilio_text_nobody() -> None:
    assert b"<Response/>" in HOOKS.ack_body
    assert HOOKS.ack_content_type == "text/xml"


def test_reading_webhooks_does_not_load_the_sdk() -> None:
    script = (
        "import sys, textback.carriers.twilio.hooks;"
        "print([m for m in sys.modules if m.split('.')[0] in {'twilio', 'aiohttp', 'httpx'}])"
    )
    done = run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
