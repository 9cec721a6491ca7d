"""Reading from Twilio's list what users texted."""

from datetime import datetime, timedelta

import pytest

from tests.support.fake_twilio import (
    FakeTwilio,
    Fault,
    Message,
    answered,
    html_error,
    refused,
    reset,
    silent,
    slow,
    too_many_requests,
    unavailable,
)
from tests.support.fake_twilio.server import Answer
from tests.support.texts import AGENT, USER, account_at, utc_now
from textback.carriers.twilio import received
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.ports import Inbound, NoAnswer, TooMany

HOUR = timedelta(hours=1)
NOW = utc_now().replace(microsecond=0)


def texted(twilio: FakeTwilio, body: str, *, ago: float = 60, **changes: object) -> Message:
    """So many seconds ago, without a webhook."""
    message = twilio.unheard(USER, AGENT, body)
    message.date_created = message.date_sent = NOW - timedelta(seconds=ago)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


async def read(carrier: TwilioCarrier, *, since: datetime = NOW - HOUR) -> list[str]:
    found = await carrier.received(AGENT, since=since)
    assert not isinstance(found, TooMany | NoAnswer), found
    return [said.text for said in found]


async def test_a_users_text_is_as_its_webhook_would_have_brought_it(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    message = texted(twilio, "Yes, 3pm 👍")
    assert await carrier.received(AGENT, since=NOW - HOUR) == [
        Inbound(
            carrier_message_id=message.sid,
            agent_number=AGENT,
            user_number=USER,
            text="Yes, 3pm 👍",
            said_at=NOW - timedelta(seconds=60),
        )
    ]


async def test_the_list_is_asked_by_number_and_date(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    await carrier.received(AGENT, since=NOW - HOUR, until=NOW)
    (request,) = twilio.asked("list")
    asked = request.asked()
    assert {"To", "DateSent>", "DateSent<", "PageSize"} == set(asked)
    assert asked["To"] == AGENT
    assert datetime.fromisoformat(asked["DateSent>"]) == NOW - HOUR
    assert datetime.fromisoformat(asked["DateSent<"]) == NOW + timedelta(seconds=1)


async def test_the_oldest_come_first_also_within_one_second(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    texted(twilio, "two", ago=60)
    texted(twilio, "three", ago=60)
    texted(twilio, "four", ago=30)
    texted(twilio, "one", ago=90)
    assert await read(carrier) == ["one", "two", "three", "four"]


async def test_what_we_sent_is_left_out(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    for direction in ("outbound-api", "outbound-reply", "outbound-call"):
        texted(twilio, direction, direction=direction)
    texted(twilio, "to another number", to="+14155550199")
    texted(twilio, "from nobody", from_="")
    assert await read(carrier) == []


async def test_a_text_from_another_number_of_our_own_is_a_text(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    """Twilio keeps it twice: as sent by the one, and as received by the other."""
    texted(twilio, "Hello you", from_="+14155550101", direction="outbound-api")
    texted(twilio, "Hello you", from_="+14155550101")
    assert await read(carrier) == ["Hello you"]


async def test_what_twilio_kept_back_on_purpose_stays_there(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    texted(twilio, "I am a machine", error_code=30039)
    assert await read(carrier) == []


async def test_a_text_whose_webhook_failed_says_so_and_is_read(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    texted(twilio, "Anybody there?", error_code=11200)
    assert await read(carrier) == ["Anybody there?"]


async def test_where_dates_filter_by_the_day_the_rest_is_left_out_here(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    old, new = texted(twilio, "old", ago=7200), texted(twilio, "new")
    page = {"messages": [new.resource(), old.resource()], "next_page_uri": None}
    twilio.next(answered(Answer.of_json(200, page)), on="list")
    assert await read(carrier) == ["new"]


async def test_a_fraction_of_a_second_loses_nothing(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    texted(twilio, "early", ago=60)
    assert await read(carrier, since=NOW - timedelta(seconds=59.5)) == ["early"]


async def test_dates_that_are_missing_lose_nothing(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    texts = [texted(twilio, "sent nowhen").resource(), texted(twilio, "never").resource()]
    texts[0]["date_sent"] = None
    texts[1] |= {"date_sent": None, "date_created": None}
    page = {"messages": texts, "next_page_uri": None}
    twilio.next(answered(Answer.of_json(200, page)), on="list")
    found = await carrier.received(AGENT, since=NOW - HOUR)
    assert not isinstance(found, TooMany | NoAnswer)
    assert {said.text: said.said_at for said in found} == {
        "never": NOW - HOUR,
        "sent nowhen": NOW - timedelta(seconds=60),
    }


async def test_all_pages_are_read(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    several = received.PAGE_SIZE * 2 + 1
    for n in range(several):
        texted(twilio, str(n), ago=several - n)
    assert await read(carrier) == [str(n) for n in range(several)]
    assert len(twilio.asked("list")) == 3


async def test_a_list_that_does_not_end_is_too_many(
    twilio: FakeTwilio, carrier: TwilioCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "PAGE_SIZE", 1)
    for n in range(received.MOST_PAGES + 1):
        texted(twilio, str(n), ago=100 - n)
    assert await carrier.received(AGENT, since=NOW - HOUR) == TooMany()
    assert len(twilio.asked("list")) == received.MOST_PAGES
    half = await carrier.received(AGENT, since=NOW - HOUR, until=NOW - timedelta(seconds=95))
    assert not isinstance(half, TooMany | NoAnswer)
    assert [said.text for said in half] == ["0", "1", "2", "3", "4", "5"]


async def test_a_list_that_cannot_be_read_in_time_is_too_many(
    twilio: FakeTwilio, hasty: TwilioCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "PAGE_SIZE", 1)
    for n in range(4):
        texted(twilio, str(n))
    twilio.next(slow(before=0.3), on="list", times=3)
    assert await hasty.received(AGENT, since=NOW - HOUR) == TooMany()


async def test_pictures_come_as_in_a_webhook(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    media = {"ME1": "image/jpeg", "ME2": "image/png"}
    message = texted(twilio, "Look", sid="MM1", media=media)
    texted(twilio, "no picture")
    found = await carrier.received(AGENT, since=NOW - HOUR)
    assert not isinstance(found, TooMany | NoAnswer)
    where = f"https://api.twilio.com/2010-04-01/Accounts/{message.account_sid}/Messages/MM1/Media"
    assert [said.media for said in found] == [
        (
            {"url": f"{where}/ME1", "content_type": "image/jpeg"},
            {"url": f"{where}/ME2", "content_type": "image/png"},
        ),
        (),
    ]
    assert len(twilio.asked("media")) == 1


@pytest.mark.parametrize("fault", [unavailable(), html_error(), reset(), silent()])
async def test_without_its_pictures_a_text_is_still_a_text(
    twilio: FakeTwilio, hasty: TwilioCarrier, fault: Fault
) -> None:
    for n in range(6):
        texted(twilio, str(n), ago=100 - n, media={"ME1": "image/jpeg"})
    twilio.next(fault, on="media", times=5)
    assert await read(hasty) == ["0", "1", "2", "3", "4", "5"]


async def test_what_a_database_cannot_hold_is_replaced(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    texted(twilio, "a\x00b \ud83d c 👍")
    assert await read(carrier) == ["a\ufffdb \ufffd c 👍"]


@pytest.mark.parametrize(
    "fault",
    [
        unavailable(),
        html_error(),
        reset(),
        silent(),
        refused(20003, status=401),
        too_many_requests(),
        answered(Answer(200, b"not JSON")),
        answered(Answer.of_json(200, [])),
        answered(Answer.of_json(200, {"messages": "none"})),
        answered(Answer.of_json(200, {"messages": [None]})),
    ],
)
async def test_an_answer_that_is_none_is_no_empty_list(
    twilio: FakeTwilio, hasty: TwilioCarrier, fault: Fault
) -> None:
    texted(twilio, "Hello")
    twilio.next(fault, on="list")
    assert isinstance(await hasty.received(AGENT, since=NOW - HOUR), NoAnswer)


async def test_a_page_that_fails_later_is_no_answer_either(
    twilio: FakeTwilio, carrier: TwilioCarrier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "PAGE_SIZE", 1)
    texted(twilio, "one")
    texted(twilio, "two")
    twilio.next(unavailable(), on="list", when=lambda r: r.asked().get("Page") == "1")
    assert isinstance(await carrier.received(AGENT, since=NOW - HOUR), NoAnswer)


async def test_where_nobody_listens_there_is_no_answer() -> None:
    nowhere = TwilioCarrier(account_at("http://127.0.0.1:9"), timeout=timedelta(seconds=1))
    assert isinstance(await nowhere.received(AGENT, since=NOW - HOUR), NoAnswer)
    await nowhere.close()
