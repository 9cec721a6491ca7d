"""A worker does the main job, from the queue to the handset and back, and stops in good order."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.support.deployment import AGENT, FALLBACK, HTTP, SECOND, USER, hour, number, second
from tests.support.doubles import (
    NO_ANSWER,
    CarrierDouble,
    EngineDouble,
    Gate,
    Gone,
    Plenty,
    Spent,
)
from tests.support.running import FOREVER, Shop
from textback.carriers.sandbox.client import UNANSWERED, UNREACHABLE
from textback.core.engine import TurnReply, TurnRequest
from textback.core.errors import Unavailable
from textback.core.gcra import Denied, Granted, Rate
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.core.ports import Outgoing, Taken
from textback.flows import turn
from textback.limiter import RedisLimiter
from textback.runtime import Unprovisioned

DEFAULT = IdlePolicy()


async def test_a_worker_does_a_whole_conversation(shop: Shop, redis_url: str):
    world, clock = shop.world, shop.clock
    shop.rt = replace(shop.rt, pace=RedisLimiter(redis_url))
    async with shop.working():
        accepted = await world.accept("Your appointment is at 3pm.")
        await shop.until_said("Your appointment is at 3pm.")

        clock.now = second(60)
        await world.hear("Thanks", now=clock.now)
        said = ["Your appointment is at 3pm.", "You said: Thanks"]
        await shop.until_said(*said)

        clock.now = hour(25)
        assert DEFAULT.warning is not None
        said.append(DEFAULT.warning)
        await shop.until_said(*said)

        clock.now = hour(26)
        assert DEFAULT.closing is not None
        said.append(DEFAULT.closing)
        await shop.until_said(*said)
    await shop.rt.pace.close()

    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "idle")
    assert await world.events(accepted.message_id) == [
        "message.queued",
        "message.sending",
        "message.sent",
        "message.delivered",
    ]
    assert shop.carrier.texts == said


async def test_an_opener_that_the_agent_writes_goes_out(shop: Shop):
    await shop.world.provision(agent={"greeting": None, "engine": HTTP})
    shop.with_engine(EngineDouble("Good morning."))

    async with shop.working():
        accepted = await shop.world.accept(None)
        await shop.until_said("Good morning.")

    assert await shop.world.state(accepted.message_id) == "delivered"


async def test_an_undelivered_text_is_told_as_failed(shop: Shop):
    accepted = await shop.world.accept(user=UNREACHABLE)

    async def failed() -> bool:
        return (await shop.world.text(accepted.message_id)).error_code == "30003"

    async with shop.working():
        await shop.until(failed)


async def test_an_unanswered_text_is_settled_from_the_carriers_list(shop: Shop):
    accepted = await shop.world.accept(user=UNANSWERED)

    async def is_in(state: str) -> bool:
        return await shop.world.state(accepted.message_id) == state

    async with shop.working():
        await shop.until(lambda: is_in("uncertain"))
        shop.clock.now = second(10)
        await shop.until(lambda: is_in("sent"))

    assert len(shop.carrier.sent) == 1


async def test_hints_wake_a_worker_that_hardly_ever_polls(shop: Shop):
    shop.rt = replace(shop.rt, poll=FOREVER)

    async with shop.working():
        await shop.until_listening()
        await shop.world.accept("One")
        await shop.until_said("One")
        await shop.world.hear("Hello")
        await shop.until_said("One", "You said: Hello")


async def test_two_workers_send_every_text_once(shop: Shop):
    world = shop.world
    users = [Phone(f"+1415555{n:04}") for n in range(200, 230)]

    async def all_sent() -> bool:
        return len(shop.carrier.sent) >= 60

    async with shop.working(concurrency=3), shop.working(concurrency=3):
        for user in users:
            await world.accept("One", user=user)
            await world.accept("Two", user=user)
        await shop.until(all_sent)
        await asyncio.sleep(0.05)

    sent = [(outgoing.user_number, outgoing.text) for outgoing in shop.carrier.sent]
    assert len(sent) == 60
    assert all(sent.index((user, "One")) < sent.index((user, "Two")) for user in users)


# --- Trouble ------------------------------------------------------------------------------------


async def test_a_worker_that_died_is_cleaned_up_after(shop: Shop):
    world = shop.world
    await world.hear("Hello")
    await world.claim_turns()
    await world.accept(user=UNANSWERED)
    await world.claim()
    shop.clock.now = second(60)

    async with shop.working():
        await shop.until_said("You said: Hello")

    (text,) = await world.texts(user=UNANSWERED)
    assert text.state == "uncertain"


async def test_an_engine_that_raises_is_answered_for_by_the_fallback(shop: Shop):
    engine = EngineDouble()

    def raises(_: TurnRequest) -> TurnReply:
        raise RuntimeError("a bug")

    engine.on_reply = raises
    shop.with_engine(engine, fallback=FALLBACK)
    await shop.world.hear("Hello")

    async with shop.working():
        await shop.until_said(FALLBACK)

    assert len(engine.asked) == 1


async def test_an_engine_that_hangs_is_cut_off(shop: Shop):
    engine, gate = EngineDouble(deadline=timedelta(milliseconds=1)), Gate()

    async def hangs(_: TurnRequest) -> TurnReply:
        await gate.wait()
        return TurnReply(texts=["Too late"])

    engine.on_reply = hangs
    shop.with_engine(engine, fallback=FALLBACK)
    await shop.world.hear("Hello")

    async with shop.working():
        await shop.until_said(FALLBACK)


async def test_a_turn_that_kills_its_workers_is_answered_for_by_the_fallback(shop: Shop):
    engine = EngineDouble("Boom")
    shop.with_engine(engine, fallback=FALLBACK)
    await shop.world.hear("Hello")
    for _ in range(turn.MOST_ATTEMPTS):
        (lost,) = await shop.world.claim_turns(now=shop.clock.now)
        shop.clock.now = lost.lease_until
        await shop.world.rescue_turns(now=shop.clock.now)

    async with shop.working():
        await shop.until_said(FALLBACK)

    assert engine.asked == []


async def test_a_user_is_answered_although_the_database_was_away_for_a_moment(shop: Shop):
    # The agent's entry could not be read: the turn was taken for failed, and not even the fallback
    # was known.
    shop.with_engine(EngineDouble("Hello to you."), Unavailable(), Unavailable())
    await shop.world.hear("Hello")

    async with shop.working():
        await shop.until_said("Hello to you.")


async def test_an_opener_is_written_although_the_database_was_away_for_a_moment(shop: Shop):
    await shop.world.provision(agent={"greeting": None, "engine": HTTP})
    shop.with_engine(EngineDouble("Good morning."), Unavailable())
    accepted = await shop.world.accept(None)

    async with shop.working():
        await shop.until_said("Good morning.")

    assert await shop.world.state(accepted.message_id) == "delivered"


async def test_a_text_waits_while_its_carriers_entry_cannot_be_read(shop: Shop):
    # Nothing had left, and yet it was settled as if it might have: for minutes.
    carrier = CarrierDouble()
    shop.with_carrier(carrier, Unavailable())
    accepted = await shop.world.accept()

    async def snoozed() -> bool:
        return (await shop.world.text(accepted.message_id)).due_at == second(1)

    async def sent() -> bool:
        return await shop.world.state(accepted.message_id) == "sent"

    async with shop.working():
        await shop.until(snoozed)
        shop.clock.now = second(1)
        await shop.until(sent)

    assert len(carrier.sent) == 1


@pytest.mark.parametrize("trouble", [Unprovisioned("acme-sandbox"), ValueError("no key opens it")])
async def test_a_text_waits_until_an_operator_has_repaired_its_carriers_entry(
    shop: Shop, trouble: Exception
):
    carrier = CarrierDouble()
    shop.with_carrier(carrier, trouble)
    accepted = await shop.world.accept()

    async def put_off() -> bool:
        return (await shop.world.text(accepted.message_id)).due_at == second(30)

    async def sent() -> bool:
        return await shop.world.state(accepted.message_id) == "sent"

    async with shop.working():
        await shop.until(put_off)
        shop.clock.now = second(30)
        await shop.until(sent)

    assert len(carrier.sent) == 1


async def test_a_look_up_during_which_the_database_goes_away_is_made_again(shop: Shop):
    # Whoever is paged when something unexpected is logged was paged by each restart of Postgres.
    world = shop.world
    await world.put_off_sweeps(hour(1000))  # they would ask for the entry too
    accepted = await world.accept()
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    carrier = CarrierDouble(listed=[Taken("SM1")])
    shop.with_carrier(carrier, Unavailable())
    shop.clock.now = second(10)

    async def is_put_off() -> bool:
        return (await world.text(accepted.message_id)).look_up_at == second(30)

    async def is_sent() -> bool:
        return await world.state(accepted.message_id) == "sent"

    with capture_logs() as told:
        async with shop.working():
            await shop.until(is_put_off)
            shop.clock.now = second(30)
            await shop.until(is_sent)

    assert len(carrier.asked) == 1
    assert [line for line in told if line["log_level"] == "error"] == []


async def test_a_text_that_cannot_be_looked_up_holds_back_nobody_for_ever(shop: Shop):
    # With a broken entry nobody could ask the list, and the texts behind waited until it was
    # repaired, however long.
    world = shop.world
    await world.put_off_sweeps(hour(1000))  # they would ask for the entry too
    await world.accept("One")
    await world.send(carrier=CarrierDouble(NO_ANSWER))
    shop.clock.now = hour(5)
    carrier = CarrierDouble()
    shop.with_carrier(carrier, ValueError("no key opens it"))

    async with shop.working():
        await world.accept("Two", now=hour(5))

        async def sent() -> bool:
            return carrier.texts == ["Two"]

        await shop.until(sent)


async def test_without_redis_texts_wait_and_go_out_when_it_is_back(shop: Shop):
    class Switch(Plenty):
        here = False

        async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
            return await (Plenty() if self.here else Gone()).take(key, rate, units)

    switch = Switch()
    shop.rt = replace(shop.rt, pace=switch)
    accepted = await shop.world.accept("One")

    async def waits() -> bool:
        due = (await shop.world.text(accepted.message_id)).due_at
        return due is not None and due > shop.clock.now

    async with shop.working():
        await shop.until(waits)
        assert shop.carrier.sent == []
        switch.here = True
        shop.clock.now = second(5)
        await shop.until_said("One")


class SecondIs(Plenty):
    """Of the second number another limiter is asked, which is counted."""

    def __init__(self, other: Plenty) -> None:
        self._other, self.asked = other, 0

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        if SECOND not in key:
            return await super().take(key, rate, units)
        self.asked += 1
        return await self._other.take(key, rate, units)


async def test_without_redis_a_number_is_asked_about_once_and_then_left_alone(shop: Shop):
    pace = SecondIs(Gone())
    shop.rt = replace(shop.rt, pace=pace)
    numbers = [number(AGENT), number(SECOND, segments_per_second=1)]
    await shop.world.provision(numbers=numbers)
    users = [Phone(f"+141555502{n:02}") for n in range(12)]
    texts = [await shop.world.accept(agent_number=SECOND, user=user) for user in users]

    async def is_put_off() -> bool:
        due = (await shop.world.text(texts[0].message_id)).due_at
        return due is not None and due > shop.clock.now

    async with shop.working(concurrency=4):
        await shop.until(is_put_off)
        await shop.world.accept("Quick", user=USER, agent_number=AGENT)
        await shop.until_said("Quick")
    assert pace.asked == 1


async def test_a_number_without_tokens_does_not_hold_up_the_others(shop: Shop):
    pace = SecondIs(Spent(60))
    shop.rt = replace(shop.rt, pace=pace)
    for n in range(12):
        await shop.world.accept(agent_number=SECOND, user=Phone(f"+141555502{n:02}"))
    await shop.world.accept("Quick", user=USER)

    async with shop.working(concurrency=4):
        await shop.until_said("Quick")
        await asyncio.sleep(0.1)

    assert pace.asked <= 8  # paused, instead of asking again and again


# --- Stopping -----------------------------------------------------------------------------------


async def test_a_worker_that_is_stopped_finishes_what_it_began(shop: Shop):
    carrier, gate = CarrierDouble(), Gate()

    async def slow(_: Outgoing) -> Taken:
        await gate.wait()
        return Taken("SM1")

    carrier.on_send = slow
    shop.with_carrier(carrier)
    first = await shop.world.accept("One")
    then = await shop.world.accept("Two")

    async with shop.working() as stop:
        await gate.reached.wait()
        stop.set()
        await shop.until(partial(nobody_asks, shop))  # a claim that was under way is over, too
        gate.open()

    assert await shop.world.state(first.message_id) == "sent"
    assert await shop.world.state(then.message_id) == "queued"


async def nobody_asks(shop: Shop) -> bool:
    """Of Postgres, but for us."""
    others = text(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()"
    )
    async with shop.world.transaction() as c:
        return await c.scalar(others) == 0


async def test_a_worker_that_may_drain_no_longer_gives_its_turns_back(shop: Shop):
    engine, gate = EngineDouble(), Gate()

    async def slow(_: TurnRequest) -> TurnReply:
        await gate.wait()
        return TurnReply(texts=["Too late"])

    engine.on_reply = slow
    shop.with_engine(engine)
    shop.rt = replace(shop.rt, drain=timedelta(milliseconds=50))
    await shop.world.hear("Hello")

    async with shop.working():
        await gate.reached.wait()

    (waiting,) = await shop.world.turns()
    assert (waiting.state, waiting.due_at, waiting.attempts) == ("waiting", shop.clock.now, 0)
    assert await shop.world.think() == ["answered"]


async def test_a_worker_that_may_drain_no_longer_leaves_its_texts_to_be_settled(shop: Shop):
    carrier, gate = CarrierDouble(), Gate()

    async def slow(_: Outgoing) -> Taken:
        await gate.wait()
        return Taken("SM1")

    carrier.on_send = slow
    shop.with_carrier(carrier)
    shop.rt = replace(shop.rt, drain=timedelta(milliseconds=50))
    accepted = await shop.world.accept()

    async with shop.working():
        await gate.reached.wait()

    assert await shop.world.state(accepted.message_id) == "sending"
    assert await shop.world.rescue(now=second(30)) == 1


async def test_an_idle_worker_stops_at_once(shop: Shop):
    shop.rt = replace(shop.rt, poll=FOREVER, drain=FOREVER)

    async with asyncio.timeout(60), shop.working():
        await shop.until_listening()
