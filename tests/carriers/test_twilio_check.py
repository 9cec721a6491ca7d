"""What `doctor` is told about an account and its numbers."""

from collections.abc import Sequence

import pytest

from tests.support.fake_twilio import (
    FakeTwilio,
    Fault,
    Number,
    answered,
    html_error,
    redirected,
    silent,
)
from tests.support.fake_twilio.server import Answer
from tests.support.texts import AGENT
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.phone import Phone
from textback.core.ports import Finding

URL = "https://texts.example.com/hooks/twilio/inbound"


def wrong(findings: Sequence[Finding]) -> list[Finding]:
    found = [finding for finding in findings if not finding.ok]
    assert all(finding.fix for finding in found)
    return found


async def test_an_account_that_works_is_said_to_be_active(carrier: TwilioCarrier) -> None:
    (finding,) = await carrier.check([])
    assert finding.ok
    assert "active" in finding.what


async def test_a_trial_account_is_pointed_out(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    twilio.account.type = "Trial"
    (finding,) = await carrier.check([])
    assert finding.ok
    assert "trial" in finding.what


async def test_a_wrong_token_is_the_only_finding(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.auth_token = "another"
    (finding,) = wrong(await carrier.check([(AGENT, URL)]))
    assert "20003" in finding.what
    assert "auth token" in (finding.fix or "")


async def test_a_suspended_account_is_the_only_finding(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.status = "suspended"
    (finding,) = await carrier.check([(AGENT, URL)])
    assert not finding.ok
    assert "suspended" in finding.what


@pytest.mark.parametrize(
    "fault",
    [
        html_error(502),
        redirected("/elsewhere"),
        answered(Answer.of_json(200, [])),
        answered(Answer.of_json(200, {"sid": "AC9", "status": "active"})),
    ],
    ids=["gateway", "redirect", "no account", "another account"],
)
async def test_whatever_else_answers_is_not_taken_for_twilio(
    twilio: FakeTwilio, carrier: TwilioCarrier, fault: Fault
) -> None:
    twilio.next(fault, on="account")
    (finding,) = wrong(await carrier.check([]))
    assert twilio.base_url in finding.what
    assert "base_url" in (finding.fix or "")


async def test_a_twilio_that_does_not_answer_is_named(
    twilio: FakeTwilio, hasty: TwilioCarrier
) -> None:
    twilio.next(silent(), on="account")
    (finding,) = wrong(await hasty.check([]))
    assert "TimeoutError" in finding.what


async def test_a_number_that_points_here_is_right(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.numbers = [Number(phone_number=AGENT, sms_url=URL + "#rc=5&rp=all")]
    findings = await carrier.check([(AGENT, URL)])
    assert wrong(findings) == []
    assert "rc=5" in findings[1].what


async def test_a_number_whose_texts_are_not_tried_again_gets_advice(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.numbers = [Number(phone_number=AGENT, sms_url=URL)]
    findings = await carrier.check([(AGENT, URL)])
    assert wrong(findings) == []
    assert "#rc=5&rp=all" in findings[1].what


async def test_a_messaging_service_may_have_the_last_word(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.numbers = [Number(phone_number=AGENT, sms_url=URL)]
    findings = await carrier.check([(AGENT, URL)])
    assert "Messaging Service" in findings[-1].what
    assert findings[-1].ok


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (Number(phone_number=AGENT), "nowhere"),
        (Number(phone_number=AGENT, sms_url="https://old.example/sms"), "https://old.example/sms"),
        (Number(phone_number=AGENT, sms_url=URL + "/"), "not here"),
        (Number(phone_number=AGENT, sms_url=URL, sms_method="GET"), "GET"),
        (Number(phone_number=AGENT, sms_url=URL, sms_application_sid="AP1"), "AP1"),
    ],
)
async def test_a_number_that_points_elsewhere_is_named_with_the_right_address(
    twilio: FakeTwilio, carrier: TwilioCarrier, number: Number, what: str
) -> None:
    twilio.account.numbers = [number]
    (finding,) = wrong(await carrier.check([(AGENT, URL)]))
    assert AGENT in finding.what
    assert what in finding.what
    assert URL in (finding.fix or "")


async def test_a_number_without_sms_is_named(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    twilio.account.numbers = [Number(phone_number=AGENT, sms_url=URL, sms=False)]
    (finding,) = wrong(await carrier.check([(AGENT, URL)]))
    assert "SMS" in finding.what


async def test_a_number_of_somebody_else_is_named(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    # Twilio's filter matches parts of numbers.
    twilio.account.numbers = [Number(phone_number=AGENT + "9", sms_url=URL)]
    (finding,) = wrong(await carrier.check([(AGENT, URL)]))
    assert "not a number of" in finding.what


async def test_a_number_that_cannot_be_asked_about_is_no_end_of_the_check(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    other = Phone("+14155550101")
    twilio.account.numbers = [Number(phone_number=n, sms_url=URL) for n in (AGENT, other)]
    twilio.next(html_error(), on="numbers")
    findings = await carrier.check([(AGENT, URL), (other, URL)])
    assert [finding.what[:12] for finding in wrong(findings)] == [AGENT]
    assert any(finding.ok and finding.what.startswith(other) for finding in findings)


async def test_a_short_code_is_said_to_be_unchecked(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    findings = await carrier.check([(Phone("12345"), URL)])
    assert wrong(findings) == []
    assert "not checked" in findings[1].what
    assert twilio.asked("numbers") == []


async def test_a_host_that_twilio_would_not_call_is_named(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    url = "https://my_texts.example.com/hooks/twilio/inbound"
    twilio.account.numbers = [Number(phone_number=AGENT, sms_url=url)]
    (finding,) = wrong(await carrier.check([(AGENT, url)]))
    assert "my_texts.example.com" in finding.what


async def test_no_finding_tells_the_token(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    twilio.account.numbers = [Number(phone_number=AGENT)]
    findings = await carrier.check([(AGENT, URL)])
    assert twilio.account.auth_token not in str(findings)
