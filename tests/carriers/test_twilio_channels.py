"""WhatsApp, RCS through a Messaging Service, and templates, as Twilio has them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from tests.support.fake_twilio import (
    FakeTwilio,
    Message,
    Service,
    accepted_then_dropped,
    refused,
    reset,
    unavailable,
)
from tests.support.texts import AGENT, STATUS_URL, USER, account_at, outgoing, utc_now
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.phone import Phone
from textback.core.ports import (
    Finding,
    Inbound,
    NoAnswer,
    NotFound,
    Outgoing,
    SendError,
    Taken,
    TooMany,
)
from textback.core.template import Template

SERVICE = Phone("MG" + "0a" * 16)
OTHER_SERVICE = Phone("MG" + "0b" * 16)
BY_RCS = Phone(f"rcs:{USER}")
OUR_WHATSAPP, BY_WHATSAPP = Phone(f"whatsapp:{AGENT}"), Phone(f"whatsapp:{USER}")
CONTENT = "HX" + "0c" * 16
HELLO = Template(content_sid=CONTENT, variables={"1": "Ann", "2": "3pm"})
URL = "https://texts.example.com/hooks/twilio/inbound"
HOUR = timedelta(hours=1)
NONE: frozenset[str] = frozenset()


@pytest.fixture
async def service(twilio: FakeTwilio) -> Service:
    made = Service(sid=SERVICE, inbound_request_url=URL)
    twilio.account.services += [made, Service(sid=OTHER_SERVICE)]
    twilio.account.contents[CONTENT] = "Hi {{1}}, see you at {{2}}."
    return made


def by_rcs(text: str = "Hello") -> Outgoing:
    return outgoing(text, agent_number=SERVICE, user_number=BY_RCS)


def template(agent: Phone = AGENT, user: Phone = USER) -> Outgoing:
    text = outgoing(f"[{CONTENT}]", agent_number=agent, user_number=user)
    return replace(text, template=HELLO)


# --- RCS -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("service")
async def test_rcs_goes_through_the_service_which_may_fall_back_to_sms(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    outcome = await carrier.send(by_rcs())
    assert outcome == Taken(twilio.created[0].sid)
    (request,) = twilio.asked("create")
    # With `rcs:` before the recipient, Twilio would not fall back.
    assert request.form() == {
        "To": USER,
        "MessagingServiceSid": SERVICE,
        "SmartEncoded": "false",
        "Body": "Hello",
        "StatusCallback": STATUS_URL,
        "ValidityPeriod": "14400",
    }


@pytest.mark.parametrize("reported", [None, "rcs", "sms"])
@pytest.mark.usefixtures("service")
async def test_an_rcs_text_is_found_before_a_sender_was_picked_and_however_it_went_out(
    twilio: FakeTwilio, carrier: TwilioCarrier, reported: str | None
) -> None:
    text = by_rcs()
    twilio.next(accepted_then_dropped())
    assert isinstance(await carrier.send(text), NoAnswer)
    (taken,) = twilio.created
    if reported == "rcs":
        twilio.account.rcs_users.add(USER)
    if reported:
        await twilio.report(taken, "sent")
    assert (taken.from_, taken.to) == {
        None: ("", USER),
        "rcs": ("rcs:brand_agent", BY_RCS),
        "sms": ("+14155550190", USER),
    }[reported]
    assert await carrier.look_up(text, known=NONE) == Taken(taken.sid)
    assert await carrier.look_up(text, known=frozenset({taken.sid})) == NotFound()


async def test_what_another_service_or_a_number_sent_is_not_taken_for_rcs(
    carrier: TwilioCarrier, service: Service
) -> None:
    for other in (
        outgoing("Hello"),
        outgoing("Hello", agent_number=OTHER_SERVICE, user_number=BY_RCS),
        outgoing("Hello", agent_number=SERVICE, user_number=Phone("rcs:+14155550177")),
    ):
        assert isinstance(await carrier.send(other), Taken)
    assert service.sid == SERVICE
    assert await carrier.look_up(by_rcs(), known=NONE) == NotFound()


async def test_a_service_that_is_not_there_is_a_final_refusal(carrier: TwilioCarrier) -> None:
    outcome = await carrier.send(by_rcs())
    assert isinstance(outcome, SendError)
    assert (outcome.code, outcome.retry) == ("21701", "never")


@pytest.mark.parametrize("user_number", [USER, BY_RCS])
@pytest.mark.usefixtures("service")
async def test_who_opted_out_of_the_service_is_reported_as_such(
    twilio: FakeTwilio, carrier: TwilioCarrier, user_number: Phone
) -> None:
    twilio.account.opted_out.add((SERVICE, USER))
    outcome = await carrier.send(outgoing(agent_number=SERVICE, user_number=user_number))
    assert isinstance(outcome, SendError)
    assert outcome.opted_out


# --- A number in a service -----------------------------------------------------------------------


@pytest.mark.usefixtures("service")
async def test_a_number_in_a_service_is_named_beside_it_and_its_text_is_found_without_a_sender(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    text = replace(outgoing(), messaging_service_sid=SERVICE)
    taken = await carrier.send(text)
    form = twilio.asked("create")[0].form()
    assert (form["From"], form["MessagingServiceSid"], form["To"]) == (AGENT, SERVICE, USER)
    assert isinstance(taken, Taken)
    for shown in (AGENT, ""):
        twilio.created[0].from_ = shown
        assert await carrier.look_up(text, known=NONE) == taken
    twilio.created[0].from_ = "+14155550198"
    assert await carrier.look_up(text, known=NONE) == NotFound()


@pytest.mark.usefixtures("service")
async def test_words_that_twilio_wrote_plainly_are_known_again(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    text = by_rcs("\u201cIt\u2019s 3pm\u201d \u2013 ok?")
    taken = await carrier.send(text)
    twilio.created[0].body = '"It\'s 3pm" - ok?'
    assert await carrier.look_up(text, known=NONE) == taken


# --- Templates -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("service")
async def test_a_template_goes_instead_of_words(twilio: FakeTwilio, carrier: TwilioCarrier) -> None:
    assert isinstance(await carrier.send(template(OUR_WHATSAPP, BY_WHATSAPP)), Taken)
    form = twilio.asked("create")[0].form()
    assert "Body" not in form
    assert (form["From"], form["To"], form["ContentSid"]) == (OUR_WHATSAPP, BY_WHATSAPP, CONTENT)
    assert json.loads(form["ContentVariables"]) == {"1": "Ann", "2": "3pm"}
    assert twilio.created[0].body == "Hi Ann, see you at 3pm."

    await carrier.send(replace(template(), template=Template(content_sid=CONTENT)))
    assert "ContentVariables" not in twilio.asked("create")[1].form()


@pytest.mark.usefixtures("service")
async def test_a_template_is_found_when_it_alone_can_be_meant(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    text = template()
    twilio.next(reset())
    assert isinstance(await carrier.send(text), NoAnswer)
    assert await carrier.look_up(text, known=NONE) == NotFound()

    earlier = await carrier.send(outgoing("Earlier"))
    assert isinstance(earlier, Taken)
    known = frozenset({earlier.carrier_message_id})
    assert await carrier.look_up(text, known=known) == NotFound()

    twilio.next(accepted_then_dropped())
    assert isinstance(await carrier.send(text), NoAnswer)
    assert await carrier.look_up(text, known=known) == Taken(twilio.created[1].sid)
    long_ago = replace(text, claimed_at=text.claimed_at + HOUR)
    assert await carrier.look_up(long_ago, known=known) == NotFound()


async def test_of_several_messages_none_is_guessed_to_be_the_template(
    carrier: TwilioCarrier,
) -> None:
    text = template()
    for each in (text, outgoing("Somebody else's, from the same number")):
        assert isinstance(await carrier.send(each), Taken)
    outcome = await carrier.look_up(text, known=NONE)
    assert isinstance(outcome, NoAnswer)
    assert "several" in outcome.reason


# --- WhatsApp ------------------------------------------------------------------------------------


async def test_whatsapp_is_sent_found_and_read_by_its_own_addresses(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    text = outgoing("Hello", agent_number=OUR_WHATSAPP, user_number=BY_WHATSAPP)
    taken = await carrier.send(text)
    assert twilio.asked("create")[0].form()["To"] == BY_WHATSAPP
    assert await carrier.look_up(text, known=NONE) == taken
    assert await carrier.look_up(outgoing("Hello"), known=NONE) == NotFound()

    heard = twilio.unheard(BY_WHATSAPP, OUR_WHATSAPP, "Hi")
    twilio.unheard(USER, AGENT, "By SMS")
    listed = await carrier.received(OUR_WHATSAPP, since=utc_now() - HOUR)
    assert [(s.carrier_message_id, s.user_number) for s in _texts(listed)] == [
        (heard.sid, BY_WHATSAPP)
    ]


# --- Lost replies --------------------------------------------------------------------------------


def _texts(listed: Sequence[Inbound] | TooMany | NoAnswer) -> Sequence[Inbound]:
    assert not isinstance(listed, TooMany | NoAnswer), listed
    return listed


async def test_lost_rcs_replies_are_found_under_the_services_senders(
    twilio: FakeTwilio, carrier: TwilioCarrier, service: Service
) -> None:
    service.senders = ["whatsapp:+14155550180", "rcs:brand_agent", "rcs:brand_two"]
    heard: list[Message] = [
        twilio.unheard(BY_RCS, to, f"To {to}")
        for to in ("rcs:brand_agent", "rcs:brand_two", "rcs:somebody_else")
    ]
    listed = _texts(await carrier.received(SERVICE, since=utc_now() - HOUR))
    assert {(s.carrier_message_id, s.agent_number, s.messaging_service_sid) for s in listed} == {
        (heard[0].sid, "rcs:brand_agent", SERVICE),
        (heard[1].sid, "rcs:brand_two", SERVICE),
    }


async def test_a_service_without_senders_or_that_is_gone_holds_up_nothing(
    twilio: FakeTwilio, carrier: TwilioCarrier, service: Service
) -> None:
    assert await carrier.received(Phone("MG" + "0" * 32), since=utc_now() - HOUR) == []
    service.senders = []
    assert await carrier.received(SERVICE, since=utc_now() - HOUR) == []
    for fault in (unavailable(), refused(20003, status=401)):
        twilio.next(fault, on="senders")
        assert isinstance(await carrier.received(SERVICE, since=utc_now() - HOUR), NoAnswer)


@pytest.mark.usefixtures("service")
async def test_a_lost_reply_by_sms_says_which_service_it_came_through(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    twilio.unheard(USER, AGENT, "Hi").messaging_service_sid = SERVICE
    (said,) = _texts(await carrier.received(AGENT, since=utc_now() - HOUR))
    assert said.messaging_service_sid == SERVICE


async def test_services_are_asked_at_twilios_other_address() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"senders": [], "meta": {"key": "senders"}})

    for base, host in {
        "https://api.twilio.com": "messaging.twilio.com",
        "https://api.dublin.ie1.twilio.com": "messaging.dublin.ie1.twilio.com",
        "http://127.0.0.1:9/gateway": "127.0.0.1",
    }.items():
        transport = httpx.MockTransport(answer)
        carrier = TwilioCarrier(account_at(base), timeout=HOUR, transport=transport)
        assert await carrier.received(SERVICE, since=utc_now()) == []
        await carrier.close()
        assert asked[-1].host == host
        assert asked[-1].path.endswith(f"/v1/Services/{SERVICE}/ChannelSenders")


# --- doctor --------------------------------------------------------------------------------------


async def _checked(carrier: TwilioCarrier, number: Phone = SERVICE) -> list[Finding]:
    """Without what is said about the account."""
    return list(await carrier.check([(number, URL)]))[1:]


@pytest.mark.usefixtures("service")
async def test_a_service_that_sends_rcs_and_posts_here_passes(carrier: TwilioCarrier) -> None:
    pool, webhook = await _checked(carrier)
    assert pool == Finding(ok=True, what=f"{SERVICE} sends RCS as rcs:brand_agent")
    assert webhook == Finding(ok=True, what=f"{SERVICE}: inbound texts come here")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"senders": ["whatsapp:+14155550180"]}, "has no RCS sender"),
        ({"inbound_request_url": "https://elsewhere.example/in"}, "go to https://elsewhere"),
        ({"inbound_request_url": ""}, "go to nowhere"),
        ({"inbound_method": "GET"}, "by GET"),
        ({"use_inbound_webhook_on_number": True}, "defers to its senders"),
    ],
    ids=str,
)
async def test_what_is_wrong_with_a_service_is_told(
    carrier: TwilioCarrier, service: Service, changes: dict[str, object], said: str
) -> None:
    for name, value in changes.items():
        setattr(service, name, value)
    (wrong,) = [finding for finding in await _checked(carrier) if not finding.ok]
    assert said in wrong.what
    assert wrong.fix


async def test_a_service_that_cannot_be_had_is_told(
    twilio: FakeTwilio, carrier: TwilioCarrier
) -> None:
    (gone,) = await _checked(carrier)
    assert not gone.ok
    assert "is not a Messaging Service" in gone.what
    twilio.next(unavailable(), on="service")
    (silent,) = await _checked(carrier)
    assert not silent.ok
    assert "no usable answer" in silent.what


async def test_a_whatsapp_sender_is_not_checked_and_its_webhook_is_told(
    carrier: TwilioCarrier,
) -> None:
    (finding,) = await _checked(carrier, OUR_WHATSAPP)
    assert finding.ok
    assert "WhatsApp senders" in finding.what
    assert URL in finding.what
