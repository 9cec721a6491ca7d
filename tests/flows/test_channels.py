"""Texts beyond plain SMS: what belongs to which pair, what was seen, what is sent instead."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from tests.support.deployment import (
    AGENT,
    CARRIER,
    NUMBERS,
    OTHER_CARRIER,
    USER,
    caller,
    hour,
    number,
    second,
)
from tests.support.doubles import NO_ANSWER, CarrierDouble, EngineDouble
from tests.support.world import World
from textback.core.commands import Accepted, SendText
from textback.core.errors import NoNumber, NumberNotProvisioned
from textback.core.ids import CarrierId
from textback.core.message import Sent, Uncertain
from textback.core.optout import STOP_REPLY
from textback.core.phone import Phone
from textback.core.ports import Inbound, NotFound, Receipt
from textback.core.template import Template
from textback.db import tables
from textback.flows import accept, inbound
from textback.flows.inbound import Heard
from textback.flows.receipt import Receipts

SERVICE = Phone("MG" + "0a" * 16)
WHATSAPP = Phone(f"whatsapp:{AGENT}")
BY_RCS, BY_WHATSAPP = Phone(f"rcs:{USER}"), Phone(f"whatsapp:{USER}")
POOLED = "+14155550190"
HELLO = Template(content_sid="HX" + "0c" * 16, variables={"1": "Ann"})


async def with_channels(world: World) -> None:
    await world.provision(numbers=[*NUMBERS, number(SERVICE), number(WHATSAPP)])


async def send(world: World, user: Phone, words: str | None = "Hi", **more: object) -> Accepted:
    command = replace(SendText(user_number=user, text=words, agent_number=None), **more)
    return await accept.send_text(world.db, caller(), command, now=second(0))


async def hear(
    world: World,
    words: str,
    *,
    user: str,
    to: str,
    service: str | None = None,
    at: float = 60,
    carrier: CarrierId = CARRIER,
    **more: object,
) -> Heard:
    said = Inbound(
        carrier_message_id=f"IN{at}",
        agent_number=to,
        user_number=user,
        text=words,
        messaging_service_sid=service,
    )
    return await inbound.hear(world.db, carrier, replace(said, **more), now=second(at))


# --- Pairs ---------------------------------------------------------------------------------------


async def test_a_text_leaves_from_a_number_of_the_channel_that_is_asked_for(world: World):
    await with_channels(world)

    for user in (USER, BY_RCS, BY_WHATSAPP):
        await send(world, user)
    await world.send_all()

    sent = [(o.agent_number, o.user_number) for o in world.carrier.sent]
    assert sent[1:] == [(SERVICE, BY_RCS), (WHATSAPP, BY_WHATSAPP)]
    assert sent[0][1] == USER
    assert len(await world.live()) == 3  # each channel has its own conversation


async def test_a_channel_without_a_number_and_a_number_of_another_channel_are_refused(world: World):
    with pytest.raises(NoNumber):
        await send(world, BY_RCS)
    await with_channels(world)
    for user, agent in ((BY_RCS, AGENT), (USER, SERVICE), (BY_WHATSAPP, AGENT)):
        with pytest.raises(NumberNotProvisioned):
            await send(world, user, agent_number=agent)
    assert await world.talks() == []


async def test_stop_on_one_channel_is_of_that_channel(world: World):
    await with_channels(world)
    for user in (USER, BY_RCS, BY_WHATSAPP):
        await send(world, user)

    await hear(world, "STOP", user=BY_RCS, to="rcs:brand_agent", service=SERVICE)

    assert [(o.agent_number, o.user_number) for o in await world.opt_outs()] == [(SERVICE, BY_RCS)]
    assert (await send(world, BY_RCS)).suppressed
    assert not (await send(world, BY_WHATSAPP)).suppressed
    await world.send_all()
    sent = [(o.user_number, o.text) for o in world.carrier.sent]
    assert [words for user, words in sent if user == BY_RCS] == [STOP_REPLY]
    assert {user for user, _ in sent} == {USER, BY_RCS, BY_WHATSAPP}


async def test_a_reply_finds_its_conversation_on_each_channel(world: World):
    await with_channels(world)
    by_rcs, by_whatsapp = await send(world, BY_RCS), await send(world, BY_WHATSAPP)

    one = await hear(world, "Hello", user=BY_RCS, to="rcs:brand_agent", service=SERVICE)
    two = await hear(world, "Hello", user=BY_WHATSAPP, to=WHATSAPP, at=61)

    assert (one.outcome, one.conversation_id) == ("heard", by_rcs.conversation_id)
    assert (two.outcome, two.conversation_id) == ("heard", by_whatsapp.conversation_id)
    await world.think(now=second(62))
    await world.send_all(now=second(62))
    replies = [(o.agent_number, o.user_number, o.text) for o in world.carrier.sent[2:]]
    assert sorted(replies) == [
        (SERVICE, BY_RCS, "You said: Hello"),
        (WHATSAPP, BY_WHATSAPP, "You said: Hello"),
    ]


async def test_what_no_sender_of_ours_was_texted_is_nobodys(world: World):
    await with_channels(world)

    for user, to, service in (
        (BY_RCS, "rcs:brand_agent", None),
        (BY_RCS, "rcs:brand_agent", "MG" + "0" * 32),
        (BY_RCS, "rcs:brand_agent", "garbage"),
        (BY_WHATSAPP, AGENT, None),
        (BY_WHATSAPP, AGENT, SERVICE),
        (USER, WHATSAPP, None),
        (USER, POOLED, None),
        (USER, POOLED, "MG" + "0" * 32),
    ):
        heard = await hear(world, "Hi", user=user, to=to, service=service)
        assert heard.outcome == "unknown_number", (user, to, service)
    elsewhere = await hear(
        world, "Hi", user=BY_RCS, to="rcs:x", service=SERVICE, carrier=OTHER_CARRIER
    )
    assert elsewhere.outcome == "unknown_number"
    assert await world.talks() == []


# --- RCS that fell back to SMS -------------------------------------------------------------------


@pytest.mark.parametrize("to", [AGENT, POOLED])
async def test_an_answer_by_sms_to_an_rcs_text_joins_its_conversation(world: World, to: str):
    await with_channels(world)
    opened = await send(world, BY_RCS)

    heard = await hear(world, "By SMS", user=USER, to=to, service=SERVICE)

    assert heard.conversation_id == opened.conversation_id
    assert [t.text for t in await world.texts(user=BY_RCS)] == ["Hi", "By SMS"]
    again = await hear(world, "By SMS", user=USER, to=to, service=SERVICE)
    assert again.outcome == "duplicate"


async def test_a_live_sms_conversation_with_that_number_comes_first(world: World):
    await with_channels(world)
    by_sms = await send(world, USER, agent_number=AGENT)
    await send(world, BY_RCS)

    heard = await hear(world, "Which?", user=USER, to=AGENT, service=SERVICE)

    assert heard.conversation_id == by_sms.conversation_id


async def test_with_no_live_conversation_the_text_goes_where_the_user_was_last_in_touch(
    world: World,
):
    await with_channels(world)
    by_sms = await send(world, USER, agent_number=AGENT)
    await world.end(by_sms.conversation_id)
    command = SendText(user_number=BY_RCS, text="Hi", agent_number=None)
    later = await accept.send_text(world.db, caller(), command, now=second(30))
    await world.end(later.conversation_id, now=second(40))

    stop = await hear(world, "STOP", user=USER, to=AGENT, service=SERVICE)

    assert stop.conversation_id == later.conversation_id
    assert [o.agent_number for o in await world.opt_outs()] == [SERVICE]
    start = await hear(world, "START", user=USER, to=AGENT, service=SERVICE, at=61)
    assert start.outcome == "keyword"
    assert await world.may_text(agent_number=SERVICE, user=BY_RCS)


async def test_a_number_in_a_service_that_is_no_sender_of_ours_hears_as_ever(world: World):
    await with_channels(world)
    for at, service in enumerate(("MG" + "0" * 32, "garbage", SERVICE)):
        heard = await hear(world, "Hi", user=USER, to=AGENT, service=service, at=at)
        assert heard.outcome == "heard"
    assert {t.user_number for t in await world.talks()} == {USER}


# --- What an agent reads -------------------------------------------------------------------------


async def test_an_agent_reads_what_came_beside_the_words_and_is_told_the_channel(world: World):
    await with_channels(world)
    tapped = {"url": "", "content_type": "button", "payload": "yes_1", "text": "Yes", "type": ""}
    await hear(world, "Yes", user=BY_RCS, to="rcs:b", service=SERVICE, media=(tapped,))
    engine = EngineDouble("Fine.")

    await world.think(now=second(60), engine=engine)

    (asked,) = engine.asked
    assert asked.channel == "rcs"
    assert asked.heard == "Yes"
    assert [(said.text, said.media) for said in asked.transcript] == [
        ("Yes <metadata><button/></metadata>", [tapped])
    ]
    assert [t.text for t in await world.texts(user=BY_RCS)] == ["Yes", "Fine."]


async def test_photos_alone_are_no_repetition_on_any_channel(world: World):
    await with_channels(world)
    photo = {"url": "https://media.example/1", "content_type": "image/jpeg"}
    for at in range(6):
        heard = await hear(
            world, "", user=BY_RCS, to="rcs:b", service=SERVICE, media=(photo,), at=at
        )
        assert heard.outcome == "heard"


# --- Templates, and numbers in a service ---------------------------------------------------------


async def test_a_template_is_sent_instead_of_its_placeholder_and_counts_as_one_segment(
    world: World,
):
    await with_channels(world)
    shown = await send(world, BY_WHATSAPP, None, template=HELLO)
    told = await send(world, USER, "Hi Ann, " + "x" * 300, template=HELLO, agent_number=AGENT)
    carrier = CarrierDouble(NO_ANSWER, listed=[NotFound()])

    await world.send_all(carrier=carrier)
    for at in (10, 60, 300):
        await world.settle(now=second(at), carrier=carrier)
    await world.send_all(carrier=CarrierDouble(), now=second(301))

    assert [(o.text, o.template) for o in carrier.sent] == [
        (f"[{HELLO.content_sid}]", HELLO),
        ("Hi Ann, " + "x" * 300, HELLO),
    ]
    assert [o.template for o, _ in carrier.asked] == [HELLO] * 6
    for accepted in (shown, told):
        assert accepted.message_id is not None
        text = await world.text(accepted.message_id)
        assert (text.state, text.segments) == ("sent", 1)


async def test_a_numbers_service_is_named_when_its_text_is_sent_and_when_it_is_looked_up(
    world: World,
):
    async with world.transaction() as c:
        n = tables.numbers
        await c.execute(update(n).where(n.c.number == AGENT).values(messaging_service_sid=SERVICE))
    await world.accept()
    carrier = CarrierDouble(NO_ANSWER)

    (after,) = await world.send(carrier=carrier)
    assert isinstance(after, Uncertain)
    await world.settle(now=second(10), carrier=carrier)

    (sent,), ((asked, _),) = carrier.sent, carrier.asked
    assert sent.messaging_service_sid == asked.messaging_service_sid == SERVICE


async def test_what_a_number_in_the_service_sent_is_not_taken_for_a_text_of_the_service(
    world: World,
):
    await with_channels(world)
    await send(world, USER, "The same", agent_number=AGENT)
    await send(world, Phone("+14155550112"), "The same", agent_number=AGENT)
    await world.send(carrier=CarrierDouble())
    await send(world, BY_RCS, "The same")
    carrier = CarrierDouble(NO_ANSWER)
    await world.send(carrier=carrier)

    await world.settle(now=second(10), carrier=carrier)

    ((asked, known),) = carrier.asked
    by_sms = [t.carrier_message_id for t in await world.ours(user=USER)]
    assert asked.agent_number == SERVICE
    assert list(known) == by_sms


# --- Read receipts -------------------------------------------------------------------------------


async def test_a_text_that_was_read_is_told_once_and_moves_no_further(world: World):
    await with_channels(world)
    accepted = await send(world, BY_WHATSAPP)
    (sent,) = await world.send()
    assert isinstance(sent, Sent)
    assert accepted.message_id is not None
    read = Receipt(
        carrier_message_id=sent.carrier_message_id,
        message_id=accepted.message_id,
        status="delivered",
        read=True,
    )

    async def report(heard: Receipt, at: float) -> str:
        return await Receipts(world.db).hear(CARRIER, heard, now=second(at))

    assert await report(read, 1) == "changed"
    assert await report(replace(read, read=False), 2) == "unchanged"
    assert await report(read, 3) == "unchanged"
    assert await report(replace(read, carrier_message_id="another"), 4) == "unchanged"
    assert await report(replace(read, status="failed", read=False), 5) == "unchanged"

    assert await world.state(accepted.message_id) == "delivered"
    assert (await world.events(accepted.message_id))[-2:] == ["message.delivered", "message.read"]


async def test_a_text_that_failed_was_not_read(world: World):
    accepted = await world.accept()
    await world.send(carrier=CarrierDouble())
    await world.receipt("failed", sid="SM0001", message_id=accepted.message_id)
    read = Receipt(carrier_message_id="SM0001", message_id=None, status="delivered", read=True)

    assert await Receipts(world.db).hear(CARRIER, read, now=hour(1)) == "unchanged"

    assert accepted.message_id is not None
    assert (await world.events(accepted.message_id))[-1] == "message.failed"
