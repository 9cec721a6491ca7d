"""What `send` asks of Twilio, and what it makes of a clear answer."""

from datetime import timedelta

import pytest

from tests.support.fake_twilio import (
    FakeTwilio,
    answered,
    html_error,
    refused,
    too_many_requests,
)
from tests.support.fake_twilio.server import Answer
from tests.support.texts import AGENT, MESSAGE_ID, STATUS_URL, USER, account_at, outgoing
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.phone import Phone
from textback.core.ports import Outgoing, SendError, Taken
from textback.core.storable import is_text


async def test_a_text_that_twilio_takes_has_its_sid(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    outcome = await carrier.send(outgoing())
    assert outcome == Taken(twilio.created[0].sid)


async def test_the_request_says_who_what_where_and_how_long(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    await carrier.send(outgoing("Olá 👋 50% + tax & more", valid_for=timedelta(minutes=90)))
    (request,) = twilio.asked("create")
    assert request.form() == {
        "To": USER,
        "From": AGENT,
        "Body": "Olá 👋 50% + tax & more",
        "StatusCallback": STATUS_URL,
        "ValidityPeriod": "5400",
    }
    assert MESSAGE_ID in STATUS_URL
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "textback/" in request.headers["user-agent"]


@pytest.mark.parametrize(
    ("valid_for", "seconds"),
    [
        (timedelta(seconds=59.9), "59"),
        (timedelta(milliseconds=10), "1"),
        (timedelta(seconds=-5), "1"),
        (timedelta(days=3), "36000"),
    ],
)
async def test_the_validity_is_whole_seconds_within_twilios_limits(
    twilio: FakeTwilio, carrier: TwilioCarrier, valid_for: timedelta, seconds: str
) -> None:
    await carrier.send(outgoing(valid_for=valid_for))
    assert twilio.asked("create")[0].form()["ValidityPeriod"] == seconds


async def test_a_path_prefix_of_the_base_url_is_kept(twilio: FakeTwilio) -> None:
    carrier = TwilioCarrier(
        account_at(twilio.base_url + "/gateway/twilio/"), timeout=timedelta(seconds=5)
    )
    assert isinstance(await carrier.send(outgoing()), Taken)
    await carrier.close()
    path = twilio.requests[0].path
    assert path == f"/gateway/twilio/2010-04-01/Accounts/{twilio.account.sid}/Messages.json"


@pytest.mark.parametrize(
    "base_url", ["api.twilio.com", "ftp://x", "https://", "https://x/?a=1", "https://u:p@x"]
)
def test_a_base_url_that_is_none_is_refused_when_the_carrier_is_made(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        TwilioCarrier(account_at(base_url), timeout=timedelta(seconds=5))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (outgoing(user_number=Phone("+1")), "21211"),
        (outgoing(user_number=AGENT), "21266"),
        (outgoing("x" * 1601), "21617"),
        (outgoing(agent_number=Phone("Acme")), "21212"),
        (outgoing(status_url="http://my_host/x"), "21609"),
    ],
)
async def test_a_refused_text_keeps_twilios_code_and_words_and_is_final(
    carrier: TwilioCarrier, text: Outgoing, code: str
) -> None:
    outcome = await carrier.send(text)
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry, outcome.opted_out) == (code, "never", False)
    assert outcome.reason
    assert not outcome.reason.startswith("Unable")


async def test_an_opted_out_user_is_reported_as_such(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.opted_out.add((AGENT, USER))
    outcome = await carrier.send(outgoing())
    assert outcome == SendError(
        "21610", "Attempt to send to unsubscribed recipient", "never", opted_out=True
    )


@pytest.mark.parametrize(
    "code", [21212, 21408, 21606, 21608, 21612, 21614, 21624, 21659, 21660, 20404, 99999]
)
async def test_refusals_that_do_not_pass_are_final(
    twilio: FakeTwilio, carrier: TwilioCarrier, code: int
) -> None:
    twilio.next(refused(code, "No"))
    assert await carrier.send(outgoing()) == SendError(str(code), "No", "never")


@pytest.mark.parametrize("code", [21611, 63038])
async def test_refusals_that_pass_cost_an_attempt_and_come_again_later(
    twilio: FakeTwilio, carrier: TwilioCarrier, code: int
) -> None:
    twilio.next(refused(code))
    outcome = await carrier.send(outgoing())
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == (str(code), "later")
    assert outcome.retry_after
    assert outcome.retry_after >= timedelta(minutes=10)


@pytest.mark.parametrize(
    ("header", "retry_after"),
    [(None, None), (7, timedelta(seconds=7)), (10**8, timedelta(hours=1)), (-1, None)],
)
async def test_too_many_requests_is_a_snooze(
    twilio: FakeTwilio, carrier: TwilioCarrier, header: int | None, retry_after: timedelta | None
) -> None:
    twilio.next(too_many_requests(header))
    outcome = await carrier.send(outgoing())
    assert outcome == SendError("20429", "Too Many Requests", "slow_down", retry_after=retry_after)


async def test_texts_wait_while_the_accounts_token_is_wrong(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.account.auth_token = "rotated-meanwhile"
    outcome = await carrier.send(outgoing())
    assert outcome == SendError(
        "20003", "Authenticate", "slow_down", retry_after=timedelta(seconds=60)
    )


@pytest.mark.parametrize(("status", "code"), [(403, 20005), (400, 10001), (401, 20008)])
async def test_texts_wait_while_the_account_is_not_active(
    twilio: FakeTwilio, carrier: TwilioCarrier, status: int, code: int
) -> None:
    twilio.next(refused(code, status=status))
    outcome = await carrier.send(outgoing())
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == (str(code), "slow_down")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 413])
async def test_texts_wait_while_somebody_else_answers_in_twilios_place(
    twilio: FakeTwilio, carrier: TwilioCarrier, status: int
) -> None:
    twilio.next(html_error(status))
    outcome = await carrier.send(outgoing())
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == (f"http-{status}", "slow_down")
    assert "html" not in outcome.reason


async def test_a_refusal_as_a_problem_document_is_read_too(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    problem = {"type": "about:blank", "title": "Bad", "detail": "No.", "status": 500, "code": 21614}
    twilio.next(answered(Answer.of_json(400, problem)))
    assert await carrier.send(outgoing()) == SendError("21614", "No.", "never")


async def test_the_words_of_a_refusal_quote_no_text_however_long(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    said = "Your code is 123456. " * 40
    twilio.next(refused(21620, f"Cannot send '{said}': too long"))
    outcome = await carrier.send(outgoing(said))
    assert outcome == SendError("21620", "Cannot send '[the text]': too long", "never")


async def test_the_words_of_a_refusal_can_be_stored(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.next(refused(21620, "half \ud83d of it, a \x00, and " + "more " * 200))
    outcome = await carrier.send(outgoing())
    assert isinstance(outcome, SendError)
    assert is_text(outcome.reason)
    assert outcome.reason.startswith("half ? of it, a \ufffd, and more")
    assert len(outcome.reason) == 500


async def test_a_text_that_cannot_be_encoded_never_leaves(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    outcome = await carrier.send(outgoing("half an emoji \ud83d"))
    assert isinstance(outcome, SendError)
    assert outcome.retry == "never"
    assert twilio.requests == []
