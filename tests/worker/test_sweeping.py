"""A worker looks for lost replies by itself, says so loudly, and lets time wait for it."""

from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from io import StringIO

import pytest
from prometheus_client import REGISTRY

from tests.support.api import captured_logs
from tests.support.deployment import (
    AGENT,
    NOW,
    NUMBERS,
    OTHER_CARRIER,
    SECOND,
    USER,
    hour,
    minute,
    number,
)
from tests.support.doubles import CarrierDouble, Gate, Received
from tests.support.log_lines import line_of
from tests.support.running import Shop
from textback.core.errors import Unavailable
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.core.ports import Carrier, Inbound, NoAnswer
from textback.runtime import Carriers, Unprovisioned
from textback.worker.sweeping import PATIENCE, Patience

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def logged() -> Generator[StringIO]:
    with captured_logs() as found:
        yield found


@pytest.fixture
def carrier(shop: Shop) -> CarrierDouble:
    """What the shop's worker sends through and asks, each minute, from five minutes on."""
    made = CarrierDouble()
    shop.with_carrier(made)
    shop.rt = replace(shop.rt, sweep=MINUTE)
    shop.clock.now = minute(5)
    return made


def lost(
    words: str, *, said_at: datetime, sid: str = "SM-lost", agent_number: str = AGENT
) -> Inbound:
    return Inbound(
        carrier_message_id=sid,
        agent_number=agent_number,
        user_number=USER,
        text=words,
        said_at=said_at,
    )


def no_answer(*_: object) -> Received:
    return NoAnswer("timed out")


async def due(shop: Shop) -> None:
    await shop.world.put_off_sweeps(shop.clock.now)


async def heard(shop: Shop) -> list[str]:
    return [t.text for t in await shop.world.texts() if t.direction == "inbound"]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def test_a_lost_reply_is_found_at_the_start_answered_and_told_loudly(
    shop: Shop, carrier: CarrierDouble, logged: StringIO
):
    before = counted("textback_recovered_total")
    carrier.in_list.append(lost("Thanks", said_at=minute(4)))
    await due(shop)

    async def answered() -> bool:
        return carrier.texts == ["You said: Thanks"]

    async with shop.working():
        await shop.until(answered)

    assert counted("textback_recovered_total") == before + 1
    line = line_of(logged.getvalue(), "inbound.recovered")
    assert (line["level"], line["age_seconds"]) == ("error", 60)
    assert "+1415***0111" in line.values()
    assert USER not in logged.getvalue()
    assert "Thanks" not in logged.getvalue()


async def test_the_worker_sweeps_again_and_again(shop: Shop, carrier: CarrierDouble):
    await due(shop)

    async def swept(times: int) -> bool:
        return [number_ for number_, _, _ in carrier.read].count(AGENT) == times

    async with shop.working():
        for times in (1, 2, 3):
            await shop.until(partial(swept, times))
            shop.clock.now += MINUTE


async def test_a_carrier_that_cannot_be_asked_is_told_once_until_it_answers_again(
    shop: Shop, carrier: CarrierDouble, logged: StringIO
):
    working = carrier.on_received
    carrier.on_received = no_answer
    await due(shop)
    carrier.in_list.append(lost("Thanks", said_at=minute(4)))

    async def asked() -> bool:
        shop.clock.now += timedelta(seconds=1)
        return len(carrier.read) >= 6

    async def well() -> bool:
        shop.clock.now += timedelta(seconds=1)
        return "sweep.going_on" in logged.getvalue()

    async with shop.working():
        await shop.until(asked)
        carrier.on_received = working
        await shop.until(well)

    assert await heard(shop) == ["Thanks"]

    assert logged.getvalue().count("sweep.no_answer") == 1
    assert logged.getvalue().count("sweep.going_on") == 1


def _at_least(carrier: CarrierDouble, times: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return len(carrier.read) >= times

    return reached


@pytest.mark.parametrize(
    "trouble", [Unprovisioned("gone"), ValueError("no key opens it"), Unavailable()]
)
async def test_an_entry_that_cannot_be_used_is_tried_again(
    shop: Shop, carrier: CarrierDouble, trouble: Exception
):
    await shop.world.provision(numbers=NUMBERS[:1], prune=True)
    shop.with_carrier(carrier, trouble)
    carrier.in_list.append(lost("Thanks", said_at=minute(4)))
    await due(shop)

    async def found() -> bool:
        shop.clock.now += timedelta(seconds=1)
        return await heard(shop) == ["Thanks"]

    async with shop.working():
        await shop.until(found)


async def test_a_carrier_that_hangs_keeps_no_other_from_being_swept(
    shop: Shop, carrier: CarrierDouble
):
    """Eight of its numbers, and four at once: the first four hold all there is room for."""
    many = [number(f"+141555502{n:02}") for n in range(8)]
    await shop.world.provision(numbers=[*many, number(SECOND, carrier=OTHER_CARRIER)], prune=True)
    await due(shop)
    gate = Gate()
    hanging = CarrierDouble()

    async def hang(*_: object) -> Received:
        await gate.wait()
        return NoAnswer("timed out")

    hanging.on_received = hang
    shop.rt = replace(shop.rt, carriers=_TwoCarriers(shop, hanging, carrier))
    carrier.in_list.append(lost("Thanks", said_at=minute(4), agent_number=SECOND))

    async def found() -> bool:
        return await heard(shop) == ["Thanks"]

    async with shop.working():
        await gate.reached.wait()
        gate.open()  # as when the time of the first four is up
        await shop.until(found)
    assert len(hanging.read) <= 4


class _TwoCarriers(Carriers):
    def __init__(self, shop: Shop, one: Carrier, other: Carrier) -> None:
        super().__init__(shop.rt.db, shop.rt.vault, lambda _: one)
        self._one, self._other = one, other

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        return (self._other if carrier_id == OTHER_CARRIER else self._one), "sandbox"


# --- Time waits -------------------------------------------------------------------------------


async def test_after_hours_of_nothing_the_lost_reply_is_found_before_time_is_up(
    shop: Shop, carrier: CarrierDouble
):
    world = shop.world
    first = await world.hear("Hello", now=NOW)
    await world.think()
    await world.send_all()
    await due(shop)
    carrier.in_list.append(lost("Still here", said_at=hour(20)))
    gate, working = Gate(), carrier.on_received

    async def slowly(number_: Phone, since: datetime, until: datetime | None) -> Received:
        await gate.wait()
        found = working(number_, since, until)
        assert isinstance(found, list)
        return found

    carrier.on_received = slowly
    shop.clock.now = hour(30)  # six hours after the deadline

    async def answered() -> bool:
        return carrier.texts == ["You said: Still here"]

    async with shop.working():
        await gate.reached.wait()
        await shop.until(_at_least(carrier, 3))
        gate.open()
        await shop.until(answered)

    assert first.conversation_id is not None
    assert (await world.talk(first.conversation_id)).state == "engaged"
    assert IdlePolicy().warning not in [t.text for t in await world.ours()]


def test_a_worker_that_was_up_for_an_hour_waits_no_longer(shop: Shop):
    shop.rt = replace(shop.rt, sweep=MINUTE)
    patience = Patience(shop.rt)
    at = NOW
    while at < NOW + PATIENCE:
        assert patience.hold(at).over_if_due_by is None
        patience.looked(at)
        at += MINUTE
    assert patience.hold(at).over_if_due_by == at - PATIENCE
    assert patience.hold(at).swept_since == at - timedelta(minutes=3.5)


def test_a_worker_whose_database_was_away_begins_to_wait_anew(shop: Shop):
    shop.rt = replace(shop.rt, sweep=MINUTE)
    patience = Patience(shop.rt)
    at = NOW
    for _ in range(120):
        at += MINUTE
        patience.hold(at)
        patience.looked(at)
    for _ in range(10):  # tries in vain
        at += MINUTE
        patience.hold(at)
    assert patience.hold(at).over_if_due_by is None
    patience.looked(at)
    assert patience.hold(at + MINUTE).over_if_due_by is None
