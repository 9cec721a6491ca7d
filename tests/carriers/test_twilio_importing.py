"""What Twilio may answer when a number is taken over, and what it is taken for."""

from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from textback.carriers.sandbox.importing import SandboxNumbers
from textback.carriers.twilio.importing import TwilioNumbers
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, FoundNumber, NotDone

NUMBER = Phone("+447700900123")
SID = "AC" + "0" * 32
ACCOUNT = CarrierAccount(
    carrier_id=CarrierId("c"),
    kind="twilio",
    account_sid=SID,
    auth_token="secret",
    base_url="https://gateway.example.com/twilio/",
)

Answer = Callable[[httpx.Request], httpx.Response]


def numbers(answer: Answer) -> TwilioNumbers:
    return TwilioNumbers(timeout=timedelta(seconds=1), transport=httpx.MockTransport(answer))


def answers(account: httpx.Response, listed: httpx.Response) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        return account if request.url.path.endswith(f"/{SID}.json") else listed

    return answer


ACTIVE = httpx.Response(200, json={"sid": SID, "status": "active"})
NOTHING = httpx.Response(200, json={"incoming_phone_numbers": []})
REFUSED = httpx.Response(401, json={"code": 20003, "message": "Authenticate"})


async def test_a_number_is_asked_for_below_the_accounts_own_address() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.path.endswith(f"/{SID}.json"):
            return ACTIVE
        listed = [{"sid": "PN1", "phone_number": NUMBER + "4"}, {"sid": "PN2", "sms_url": None}]
        listed[1]["phone_number"] = NUMBER
        return httpx.Response(200, json={"incoming_phone_numbers": listed})

    assert await numbers(answer).find(ACCOUNT, NUMBER) == FoundNumber("PN2", "")
    base = f"https://gateway.example.com/twilio/2010-04-01/Accounts/{SID}"
    assert [str(request.url) for request in asked] == [
        f"{base}.json",
        f"{base}/IncomingPhoneNumbers.json?PhoneNumber=%2B447700900123&PageSize=20",
    ]
    assert all(request.headers["authorization"].startswith("Basic ") for request in asked)


@pytest.mark.parametrize(
    ("account", "listed", "code"),
    [
        (REFUSED, NOTHING, "credentials"),
        (httpx.Response(403, json={"code": 20005}), NOTHING, "credentials"),
        (httpx.Response(404), NOTHING, "credentials"),
        (httpx.Response(200, json={"status": "closed"}), NOTHING, "access"),
        (ACTIVE, REFUSED, "access"),
        (ACTIVE, httpx.Response(403), "access"),
        (ACTIVE, NOTHING, "number"),
        (ACTIVE, httpx.Response(200, json={}), "number"),
        (httpx.Response(500, text="<html>"), NOTHING, "unreachable"),
        (httpx.Response(302, headers={"location": "http://10.0.0.1/"}), NOTHING, "unreachable"),
        (httpx.Response(200, text="{"), NOTHING, "unreachable"),
        (httpx.Response(200, json=[]), NOTHING, "unreachable"),
        (ACTIVE, httpx.Response(429), "unreachable"),
    ],
)
async def test_whatever_twilio_answers_has_one_meaning_and_a_sentence(
    account: httpx.Response, listed: httpx.Response, code: str
) -> None:
    found = await numbers(answers(account, listed)).find(ACCOUNT, NUMBER)
    assert isinstance(found, NotDone)
    assert found.code == code
    assert found.why.endswith(".")
    assert "secret" not in found.why


async def test_a_twilio_that_does_not_answer_is_unreachable() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        msg = "nobody there"
        raise httpx.ConnectError(msg)

    found = await numbers(answer).find(ACCOUNT, NUMBER)
    assert isinstance(found, NotDone)
    assert found.code == "unreachable"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        (
            "https://sms.example.com/hooks/twilio/inbound",
            "https://sms.example.com/hooks/twilio/inbound#rc=5&rp=all",
        ),
        ("", ""),
    ],
)
async def test_only_the_webhook_of_texts_is_set(url: str, sent: str) -> None:
    forms: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        forms.append(dict(httpx.QueryParams(request.content.decode()).items()))
        return httpx.Response(200, json={"sid": "PN2"})

    assert await numbers(answer).point(ACCOUNT, "PN2", url) is None
    assert forms == [{"SmsUrl": sent, "SmsMethod": "POST", "SmsApplicationSid": ""}]


async def test_the_sandbox_has_whatever_it_is_asked_for_under_an_id_that_stays() -> None:
    first = await SandboxNumbers().find(ACCOUNT, NUMBER)
    assert first == await SandboxNumbers().find(ACCOUNT, NUMBER)
    assert isinstance(first, FoundNumber)
    assert await SandboxNumbers().point(ACCOUNT, first.sid, "https://example.com") is None
