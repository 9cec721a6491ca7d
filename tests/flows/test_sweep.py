"""Replies whose webhook never came are found in the carrier's list, each once."""

import asyncio
from collections.abc import Generator
from datetime import datetime, timedelta
from io import StringIO
from itertools import count

import pytest
from sqlalchemy import text

from tests.support.api import captured_logs
from tests.support.deployment import (
    AGENT,
    CARRIER,
    DEV,
    NEIGHBOUR,
    NOW,
    NUMBERS,
    OTHER_CARRIER,
    SECOND,
    USER,
    hour,
    minute,
    number,
    second,
)
from tests.support.doubles import CarrierDouble, Gate, OneCarrier, Received
from tests.support.log_lines import line_of
from tests.support.world import SWEEP, World
from textback.core.errors import Unavailable
from textback.core.phone import Phone
from textback.core.ports import Carrier, Inbound, NoAnswer, TooMany
from textback.db.session import transaction
from textback.flows import sweep
from textback.flows.sweep import GIVE_UP, GRACE, LEAST_SPAN, Sweeping, Swept

NOTHING = [Swept(0)] * 3
"""What comes of sweeping three numbers to which nothing was lost."""

SIDS = count(1)
SHORT = timedelta(seconds=1)


def lost(
    words: str,
    *,
    said_at: datetime,
    user: str = USER,
    agent_number: str = AGENT,
    sid: str | None = None,
) -> Inbound:
    return Inbound(
        carrier_message_id=sid or f"SM{next(SIDS):04}",
        agent_number=agent_number,
        user_number=user,
        text=words,
        said_at=said_at,
    )


def holding(*texts: Inbound) -> CarrierDouble:
    carrier = CarrierDouble()
    carrier.in_list += texts
    return carrier


async def heard(world: World, *, user: Phone = USER) -> list[str]:
    return [t.text for t in await world.texts(user=user) if t.direction == "inbound"]


async def swept_until(world: World, of: Phone = AGENT) -> datetime:
    async with transaction(world.db) as c:
        found: datetime = await c.scalar(
            text("select swept_until from numbers where number = :n"), {"n": of}
        )
        return found


def no_answer(*_: object) -> Received:
    return NoAnswer("timed out")


def too_many(*_: object) -> Received:
    return TooMany()


async def one(world: World, carrier: Carrier, *, now: datetime) -> Swept | NoAnswer:
    """Sweep AGENT only."""
    (held,) = [held for held in await world.claim_sweeps(now=now) if held.number == AGENT]
    return await sweep.sweep(world.db, held, OneCarrier(carrier), clock=lambda: now)


@pytest.fixture(autouse=True)
def logged() -> Generator[StringIO]:
    with captured_logs() as found:
        yield found


async def test_a_lost_reply_is_found_and_answered(world: World):
    accepted = await world.accept()
    carrier = holding(lost("Can I come at 4?", said_at=minute(10)))

    assert Swept(1) in await world.sweep(now=minute(11), carrier=carrier)

    text_ = (await world.texts())[-1]
    assert (text_.text, text_.created_at, text_.note) == (
        "Can I come at 4?",
        minute(10),
        "recovered",
    )
    assert text_.conversation_id == accepted.conversation_id
    assert await world.think(now=minute(12)) == ["answered"]


async def test_a_healthy_sweep_finds_nothing(world: World):
    await world.hear("Hello", sid="SM1", now=minute(10))
    carrier = holding(lost("Hello", said_at=minute(10), sid="SM1"))

    assert await world.sweep(now=minute(11), carrier=carrier) == NOTHING
    assert await heard(world) == ["Hello"]


async def test_a_text_that_its_webhook_may_still_bring_is_left_to_it(world: World):
    said_at = minute(10)
    carrier = holding(lost("Hello", said_at=said_at))

    assert await world.sweep(now=said_at + GRACE - SHORT, carrier=carrier) == NOTHING
    assert Swept(1) in await world.sweep(now=said_at + GRACE + SWEEP, carrier=carrier)


async def test_a_number_is_swept_once_in_an_interval_whoever_looks(world: World):
    assert len(await world.claim_sweeps(now=NOW)) == 3
    assert await world.claim_sweeps(now=NOW + SWEEP - SHORT) == []
    assert len(await world.claim_sweeps(now=NOW + SWEEP)) == 3


async def test_workers_that_look_at_once_share_the_numbers(world: World):
    async with asyncio.TaskGroup() as group:
        claims = [group.create_task(world.claim_sweeps(now=NOW, limit=2)) for _ in range(4)]
    claimed = [held.number for task in claims for held in task.result()]
    assert sorted(claimed) == sorted(set(claimed))
    claimed += [held.number for held in await world.claim_sweeps(now=NOW)]
    assert sorted(claimed) == [AGENT, SECOND, DEV]


async def test_the_next_sweep_is_known(world: World):
    due, upcoming = await sweep.claim(world.db, lease=SWEEP, limit=10, now=NOW)
    assert (len(due), upcoming) == (3, None)
    due, upcoming = await sweep.claim(world.db, lease=SWEEP, limit=10, now=second(1))
    assert (due, upcoming) == ([], NOW + SWEEP)


async def test_a_worker_that_dies_over_it_leaves_it_to_the_next(world: World):
    carrier = holding(lost("Hello", said_at=minute(10)))
    assert await world.claim_sweeps(now=minute(11))  # and dies

    assert await world.sweep(now=minute(11), carrier=carrier) == []
    assert Swept(1) in await world.sweep(now=minute(12), carrier=carrier)


async def test_two_workers_that_sweep_one_number_at_once_find_a_text_once(world: World):
    texts = [lost(str(n), said_at=second(600 + n)) for n in range(8)]
    carrier = holding(*texts)
    held = Sweeping(number=AGENT, carrier_id=CARRIER, swept_until=NOW)
    async with asyncio.TaskGroup() as group:
        sweeps = [
            group.create_task(
                sweep.sweep(world.db, held, OneCarrier(carrier), clock=lambda: minute(12))
            )
            for _ in range(3)
        ]
    outcomes = [task.result() for task in sweeps]
    assert sum(found.recovered for found in outcomes if isinstance(found, Swept)) == 8
    assert await heard(world) == [str(n) for n in range(8)]


async def test_what_was_lost_while_all_was_down_for_hours_is_found_in_order(world: World):
    accepted = await world.accept()
    carrier = holding(*[lost(f"Text {n}", said_at=hour(n)) for n in (5, 1, 3)])

    assert Swept(3) in await world.sweep(now=hour(6), carrier=carrier)

    assert await heard(world) == ["Text 1", "Text 3", "Text 5"]
    assert len(await world.waiting()) == 1
    assert (await world.talk(accepted.conversation_id)).state == "engaged"


async def test_what_was_swept_is_not_looked_at_again_but_for_the_skew_of_clocks(world: World):
    carrier = CarrierDouble()
    await one(world, carrier, now=minute(10))
    assert await swept_until(world) == minute(10) - GRACE
    await one(world, carrier, now=minute(11))
    assert carrier.read[-1] == (AGENT, minute(10) - GRACE - timedelta(minutes=3), None)


async def test_a_sweep_never_goes_backwards(world: World):
    early, late = [Sweeping(number=AGENT, carrier_id=CARRIER, swept_until=NOW)] * 2
    desk = OneCarrier(CarrierDouble())
    await sweep.sweep(world.db, late, desk, clock=lambda: minute(20))
    await sweep.sweep(world.db, early, desk, clock=lambda: minute(10))
    assert await swept_until(world) == minute(20) - GRACE


async def test_without_an_answer_nothing_is_taken_as_swept(world: World):
    carrier = holding(lost("Hello", said_at=minute(10)))
    before = await swept_until(world)
    working = carrier.on_received
    carrier.on_received = no_answer

    assert await world.sweep(now=minute(11), carrier=carrier) == [NoAnswer("timed out")] * 3
    assert await swept_until(world) == before

    carrier.on_received = working
    assert Swept(1) in await world.sweep(now=hour(2), carrier=carrier)


async def test_a_carrier_that_raises_gave_no_answer(world: World):
    carrier = CarrierDouble()

    def broken(*_: object) -> Received:
        raise RuntimeError

    carrier.on_received = broken
    assert await one(world, carrier, now=minute(1)) == NoAnswer("the carrier raised RuntimeError")


async def test_a_text_that_arrives_after_the_list_was_read_is_for_the_next_sweep(world: World):
    carrier = CarrierDouble()
    late = lost("Hello", said_at=minute(10))

    def read_before(*_: object) -> Received:
        carrier.in_list.append(late)
        return ()

    working, carrier.on_received = carrier.on_received, read_before
    assert await one(world, carrier, now=minute(10)) == Swept(0)
    carrier.on_received = working
    assert await one(world, carrier, now=minute(11)) == Swept(1)


async def test_a_webhook_that_comes_while_the_list_is_read_is_first(world: World):
    carrier = CarrierDouble()

    async def read(*_: object) -> Received:
        await world.hear("Hello", sid="SM1", now=minute(10))
        return [lost("Hello", said_at=minute(9), sid="SM1")]

    carrier.on_received = read
    assert await one(world, carrier, now=minute(10)) == Swept(0)
    assert await heard(world) == ["Hello"]


async def test_a_webhook_that_comes_after_the_sweep_changes_nothing(world: World):
    await one(world, holding(lost("Hello", said_at=minute(9), sid="SM1")), now=minute(10))
    assert (await world.hear("Hello", sid="SM1", now=minute(11))).outcome == "duplicate"


# --- One text is trouble ----------------------------------------------------------------------


async def test_a_text_that_cannot_be_taken_in_holds_back_no_other(world: World):
    carrier = holding(
        lost("One", said_at=minute(5)),
        lost("a\x00b", said_at=minute(6)),  # Postgres refuses it
        lost("Three", said_at=minute(7), user=NEIGHBOUR),
    )
    assert await one(world, carrier, now=minute(10)) == Swept(2, failed=1)
    assert await heard(world) == ["One"]
    assert await heard(world, user=NEIGHBOUR) == ["Three"]


async def test_a_text_that_could_not_be_taken_in_is_tried_again(world: World):
    carrier = holding(
        lost("a\x00b", said_at=minute(6), sid="SM1"), lost("After", said_at=minute(7))
    )
    await one(world, carrier, now=minute(10))
    assert await swept_until(world) == minute(6)

    carrier.in_list[0] = lost("repaired", said_at=minute(6), sid="SM1")
    assert await one(world, carrier, now=hour(10)) == Swept(1)
    assert sorted(await heard(world)) == ["After", "repaired"]
    assert await swept_until(world) == hour(10) - GRACE


async def test_a_text_that_cannot_be_taken_in_for_a_day_is_given_up(world: World, logged: StringIO):
    carrier = holding(lost("a\x00b", said_at=minute(6), sid="SM1"))
    assert await one(world, carrier, now=minute(6) + GIVE_UP) == Swept(0, failed=1)
    assert await swept_until(world) == minute(6) + GIVE_UP - GRACE
    assert await one(world, carrier, now=hour(30)) == Swept(0)
    line = line_of(logged.getvalue(), "inbound.given_up")
    assert (line["level"], line["carrier_message_id"]) == ("error", "SM1")
    assert USER not in logged.getvalue()


async def test_a_database_that_goes_away_in_between_loses_nothing(world: World):
    carrier = holding(*[lost(str(n), said_at=minute(n)) for n in range(5, 8)])
    times = count()

    def clock() -> datetime:
        if next(times) == 2:  # before the second text
            raise Unavailable
        return minute(10)

    (held,) = [h for h in await world.claim_sweeps(now=minute(10)) if h.number == AGENT]
    with pytest.raises(Unavailable):
        await sweep.sweep(world.db, held, OneCarrier(carrier), clock=clock)

    assert await heard(world) == ["5"]
    assert await one(world, carrier, now=minute(11)) == Swept(2)
    assert await heard(world) == ["5", "6", "7"]


async def test_who_cannot_be_answered_is_passed_over(world: World):
    carrier = holding(lost("Your code is 1234", said_at=minute(5), user="12345"))
    assert await one(world, carrier, now=minute(10)) == Swept(0)
    assert await swept_until(world) == minute(10) - GRACE


# --- More than can be read at once ------------------------------------------------------------


async def test_too_many_are_read_a_part_at_a_time(world: World):
    texts = [lost(f"Text {n}", said_at=minute(10 * n)) for n in range(1, 25)]
    carrier = holding(*texts)
    working = carrier.on_received

    def at_most_five(number_: Phone, since: datetime, until: datetime | None) -> Received:
        found = working(number_, since, until)
        assert isinstance(found, list)
        return TooMany() if len(found) > 5 else found

    carrier.on_received = at_most_five
    assert await one(world, carrier, now=hour(5)) == Swept(24)
    assert await heard(world) == [t.text for t in texts]
    assert await swept_until(world) == hour(5) - GRACE


async def test_what_was_read_in_parts_stays_swept_when_the_carrier_goes_away(world: World):
    carrier = holding(*[lost(f"Text {n}", said_at=hour(n)) for n in (1, 5)])
    working = carrier.on_received

    def first_half(number_: Phone, since: datetime, until: datetime | None) -> Received:
        if until is None:
            return TooMany()
        found = working(number_, since, until)
        assert isinstance(found, list)
        return found if until < hour(4) else NoAnswer("gone")

    carrier.on_received = first_half
    assert isinstance(await one(world, carrier, now=hour(6)), NoAnswer)
    assert await heard(world) == ["Text 1"]
    assert hour(2) < await swept_until(world) < hour(4)
    carrier.on_received = working
    assert await one(world, carrier, now=hour(7)) == Swept(1)


async def test_a_list_that_is_never_short_enough_is_no_answer(world: World):
    carrier = CarrierDouble()
    carrier.on_received = too_many
    before = await swept_until(world)
    assert isinstance(await one(world, carrier, now=hour(6)), NoAnswer)
    assert await swept_until(world) == before
    asked = [until for _, _, until in carrier.read if until is not None]
    assert min(asked) == before + LEAST_SPAN


# --- Which numbers ----------------------------------------------------------------------------


async def test_each_number_is_asked_of_its_own_carrier(world: World):
    await world.provision(numbers=[number(AGENT), number(SECOND, carrier=OTHER_CARRIER)])
    claimed = {held.number: held.carrier_id for held in await world.claim_sweeps(now=hour(1))}
    assert claimed[AGENT] == CARRIER
    assert claimed[SECOND] == OTHER_CARRIER

    due, _ = await sweep.claim(
        world.db, lease=SWEEP, except_carriers=[CARRIER], limit=9, now=hour(2)
    )
    assert [held.number for held in due] == [SECOND]


async def test_a_number_that_moved_meanwhile_hears_nothing_from_its_old_carrier(world: World):
    (held,) = [h for h in await world.claim_sweeps(now=hour(1)) if h.number == AGENT]
    carrier = holding(lost("Hello", said_at=minute(30)))
    gate = Gate()

    async def waits(*_: object) -> Received:
        await gate.wait()
        return carrier.in_list

    carrier.on_received = waits
    async with asyncio.TaskGroup() as group:
        sweeping = group.create_task(
            sweep.sweep(world.db, held, OneCarrier(carrier), clock=lambda: hour(1))
        )
        await gate.reached.wait()
        world.now = minute(50)
        await world.provision(numbers=[number(AGENT, carrier=OTHER_CARRIER), *NUMBERS[1:]])
        moved = await swept_until(world)
        gate.open()

    assert sweeping.result() == Swept(0)
    assert await heard(world) == []
    assert await swept_until(world) == moved


@pytest.mark.parametrize("how", ["new", "back", "moved"])
async def test_what_was_texted_before_we_had_the_number_is_never_answered(world: World, how: str):
    match how:
        case "new":
            ours = number("+14155550103")
        case "back":
            await world.provision(numbers=NUMBERS[1:], prune=True)
            ours = number(AGENT)
        case _:
            ours = number(AGENT, carrier=OTHER_CARRIER)
    world.now = hour(10)
    name = Phone(str(ours["number"]))
    await world.provision(numbers=[ours])
    carrier = holding(
        lost("Before", said_at=hour(10) - SHORT, agent_number=name),
        lost("After", said_at=hour(10) + SHORT, agent_number=name),
    )

    for now in (hour(10), hour(10) + timedelta(minutes=1), hour(11)):
        await world.sweep(now=now, carrier=carrier)

    assert await heard(world) == ["After"]


async def test_a_number_that_stays_as_it_was_is_swept_from_where_it_was(world: World):
    await one(world, CarrierDouble(), now=minute(10))
    world.now = hour(5)
    await world.provision(numbers=[number(AGENT, segments_per_second=7), *NUMBERS[1:]])
    assert await swept_until(world) == minute(10) - GRACE


async def test_a_removed_number_is_not_swept(world: World):
    await world.provision(numbers=NUMBERS[1:], prune=True)
    assert AGENT not in [held.number for held in await world.claim_sweeps(now=hour(1))]


async def test_a_text_from_one_of_our_numbers_to_another_is_heard_once(world: World):
    hello = lost("Hello you", said_at=minute(5), user=SECOND, sid="SM9")
    await world.sweep(now=minute(10), carrier=holding(hello))
    await world.sweep(now=minute(20), carrier=holding(hello))
    assert await heard(world, user=SECOND) == ["Hello you"]


async def test_the_sandbox_loses_nothing(world: World):
    assert await world.sweep(now=hour(1)) == NOTHING
    assert await swept_until(world) == hour(1) - GRACE
