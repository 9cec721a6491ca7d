"""Settling an uncertain text by the carrier's own list."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.fake_twilio import (
    FakeTwilio,
    Fault,
    Message,
    accepted_then_dropped,
    answered,
    html_error,
    refused,
    reset,
    slow,
    too_many_requests,
    unavailable,
)
from tests.support.fake_twilio.server import Answer
from tests.support.texts import AGENT, USER, account_at, outgoing, utc_now
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.phone import Phone
from textback.core.ports import NoAnswer, NotFound, Taken

NONE: frozenset[str] = frozenset()


def listed(twilio: FakeTwilio, **changes: object) -> Message:
    """A message of the account's own, `outgoing()` unless changed."""
    now = utc_now()
    message = Message(
        sid=f"SM{len(twilio.messages):032x}",
        account_sid=twilio.account.sid,
        to=USER,
        from_=AGENT,
        body=outgoing().text,
        direction="outbound-api",
        status="queued",
        date_created=now,
        listed_at=now,
    )
    for name, value in changes.items():
        setattr(message, name, value)
    twilio.messages.append(message)
    return message


async def test_a_text_that_was_taken_without_an_answer_is_found(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.next(accepted_then_dropped())
    text = outgoing()
    assert isinstance(await carrier.send(text), NoAnswer)
    assert await carrier.look_up(text, known=NONE) == Taken(twilio.created[0].sid)


async def test_a_text_that_never_arrived_is_not_found(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.next(reset())
    text = outgoing()
    assert isinstance(await carrier.send(text), NoAnswer)
    assert await carrier.look_up(text, known=NONE) == NotFound()


async def test_the_list_is_asked_by_both_numbers_and_not_by_date(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    await carrier.look_up(outgoing(), known=NONE)
    (request,) = twilio.asked("list")
    assert {"To", "From", "PageSize"} == set(request.asked())


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "+14155550199"},
        {"from_": "+14155550199"},
        {"body": "Another text"},
        {"body": outgoing().text + "!"},
        {"direction": "outbound-reply"},
        {"direction": "outbound-call"},
        {"date_created": datetime(2025, 1, 1, tzinfo=UTC)},
        {"account_sid": "AC" + "1" * 32},
    ],
    ids=str,
)
async def test_another_text_is_not_taken_for_ours(
    twilio: FakeTwilio, carrier: TwilioCarrier, changes: dict[str, object]
) -> None:
    listed(twilio, **changes)
    assert await carrier.look_up(outgoing(), known=NONE) == NotFound()


async def test_a_text_that_is_already_known_is_not_taken_for_ours(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    known = listed(twilio)
    assert await carrier.look_up(outgoing(), known=frozenset({known.sid})) == NotFound()
    ours = listed(twilio)
    assert await carrier.look_up(outgoing(), known=frozenset({known.sid})) == Taken(ours.sid)


async def test_clocks_may_differ_a_little(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    ours = listed(twilio)
    text = outgoing(claimed_at=utc_now() + timedelta(minutes=1))
    assert await carrier.look_up(text, known=NONE) == Taken(ours.sid)


async def test_of_several_the_oldest_is_ours(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    now = utc_now()
    first = listed(twilio, date_created=now)
    listed(twilio, date_created=now + timedelta(seconds=2))  # at the head of the list
    assert await carrier.look_up(outgoing(), known=NONE) == Taken(first.sid)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Hello", "Sent from your Twilio trial account - Hello"),
        ("  Hello\r\nthere  ", "Hello\nthere"),
    ],
)
async def test_what_twilio_does_to_the_words_does_not_hide_them(
    twilio: FakeTwilio, carrier: TwilioCarrier, sent: str, shown: str
) -> None:
    ours = listed(twilio, body=shown)
    assert await carrier.look_up(outgoing(sent), known=NONE) == Taken(ours.sid)


async def test_a_message_whose_words_were_removed_may_be_ours(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    listed(twilio, body="")
    assert isinstance(await carrier.look_up(outgoing(), known=NONE), NoAnswer)


async def test_a_long_list_is_read_to_the_page_that_has_it(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    ours = listed(twilio)
    for n in range(250):
        listed(twilio, body=f"Another {n}")
    assert await carrier.look_up(outgoing(), known=NONE) == Taken(ours.sid)
    assert len(twilio.asked("list")) == 3


async def test_the_next_page_is_asked_below_the_base_urls_path(twilio: FakeTwilio) -> None:
    carrier = TwilioCarrier(account_at(twilio.base_url + "/gw"), timeout=timedelta(seconds=5))
    ours = listed(twilio)
    for n in range(100):
        listed(twilio, body=f"Another {n}")
    assert await carrier.look_up(outgoing(), known=NONE) == Taken(ours.sid)
    assert [r.path[:4] for r in twilio.requests] == ["/gw/", "/gw/"]
    await carrier.close()


async def test_reading_stops_at_a_page_from_before_our_time(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    for n in range(350):
        listed(twilio, body=f"Old {n}", date_created=utc_now() - timedelta(days=1))
    listed(twilio, body="Recent")
    assert await carrier.look_up(outgoing(), known=NONE) == NotFound()
    assert len(twilio.asked("list")) == 2


async def test_a_list_without_end_is_no_answer(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    for n in range(1001):
        listed(twilio, body=f"Another {n}")
    assert isinstance(await carrier.look_up(outgoing(), known=NONE), NoAnswer)
    assert len(twilio.asked("list")) == 10


async def test_a_new_message_that_the_list_hides_is_found_later(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    ours = listed(twilio, listed_at=utc_now() + timedelta(hours=1))
    assert await carrier.look_up(outgoing(), known=NONE) == NotFound()
    ours.listed_at = utc_now()
    assert await carrier.look_up(outgoing(), known=NONE) == Taken(ours.sid)


async def test_a_short_codes_text_is_found_too(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    ours = listed(twilio, from_="12345")
    text = outgoing(agent_number=Phone("12345"))
    assert await carrier.look_up(text, known=NONE) == Taken(ours.sid)


NO_LIST = {
    "503": unavailable(),
    "401": refused(20003, status=401),
    "404": refused(20404, status=404),
    "429": too_many_requests(),
    "a page of a gateway": html_error(),
    "reset": reset(),
    "not JSON": answered(Answer(200, b"ok")),
    "no list": answered(Answer.of_json(200, {"messages": 5})),
    "another list": answered(Answer.of_json(200, {"a": [], "b": []})),
    "a list of nothing": answered(Answer.of_json(200, {"messages": [None]})),
}


@pytest.mark.parametrize("fault", NO_LIST.values(), ids=NO_LIST.keys())
async def test_a_list_that_cannot_be_read_says_nothing(
    twilio: FakeTwilio, carrier: TwilioCarrier, fault: Fault
) -> None:
    listed(twilio, body="a secret")
    twilio.next(fault, on="list", times=math.inf)
    outcome = await carrier.look_up(outgoing("a secret"), known=NONE)
    assert isinstance(outcome, NoAnswer)
    assert "secret" not in outcome.reason


async def test_a_list_that_breaks_off_after_the_first_page_says_nothing(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    for n in range(150):
        listed(twilio, body=f"Another {n}")
    twilio.next(unavailable(), on="list", when=lambda request: "Page=1" in request.query)
    assert isinstance(await carrier.look_up(outgoing(), known=NONE), NoAnswer)


async def test_a_slow_list_ends_with_the_timeout_of_the_whole(
    twilio: FakeTwilio, hasty: TwilioCarrier
) -> None:
    # Each page is within the limit, all of them are not.
    for n in range(900):
        listed(twilio, body=f"Another {n}")
    twilio.next(slow(before=0.15), on="list", times=math.inf)
    assert await hasty.look_up(outgoing(), known=NONE) == NoAnswer("timed out")
    assert len(twilio.asked("list")) < 5


async def test_looking_up_never_creates(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    for text in (outgoing(), replace(outgoing(), text="Another")):
        await carrier.look_up(text, known=NONE)
    assert twilio.asked("create") == []
