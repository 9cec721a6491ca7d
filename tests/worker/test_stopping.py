"""A worker that is stopped ends within its time, whatever hangs, and gives back what it can."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.doubles import CarrierDouble, EngineDouble, Gate
from tests.support.running import Shop
from tests.support.wire import Wire
from textback.core.engine import TurnReply, TurnRequest
from textback.core.ports import Outgoing, Taken
from textback.db.session import create_engine
from textback.runtime import CLOSE_SECONDS, Engines
from textback.worker import main
from textback.worker.main import GIVE_BACK, LAST_WORDS, Worker

DRAIN = 0.3
MARGIN = 1.5
"""For a busy machine."""


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.rt = replace(shop.rt, drain=timedelta(seconds=DRAIN))
    return shop


async def stop(shop: Shop, began: asyncio.Event) -> float:
    """Stop a worker once something has begun; gives how long that took."""
    told = asyncio.Event()
    async with asyncio.timeout(30):
        working = asyncio.create_task(Worker(shop.rt, concurrency=4).run(told))
        await began.wait()
        told.set()
        since = time.monotonic()
        await working
    return time.monotonic() - since


async def test_a_worker_whose_engine_and_carrier_hang_ends_in_time(shop: Shop):
    engine, carrier, gate = EngineDouble(), CarrierDouble(), Gate()
    sending = Gate()

    async def thinks(_: TurnRequest) -> TurnReply:
        await gate.wait()
        return TurnReply(texts=[])

    async def sends(_: Outgoing) -> Taken:
        await sending.wait()
        return Taken("SM1")

    engine.on_reply, carrier.on_send = thinks, sends
    shop.with_engine(engine)
    shop.with_carrier(carrier)
    await shop.world.accept()
    await shop.world.hear("Hello")

    async def both() -> bool:
        return gate.reached.is_set() and sending.reached.is_set()

    reached = asyncio.Event()

    async def watch() -> None:
        await shop.until(both)
        reached.set()

    watching = asyncio.create_task(watch())
    took = await stop(shop, reached)
    await watching

    assert took < DRAIN + MARGIN
    (turn,) = await shop.world.turns()
    assert (turn.state, turn.attempts) == ("waiting", 0)


async def test_an_engine_that_will_not_be_cancelled_does_not_keep_the_worker(shop: Shop):
    engine, gate, end = EngineDouble(), Gate(), asyncio.Event()

    async def stubborn(_: TurnRequest) -> TurnReply:
        while not end.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                await end.wait()
        return TurnReply(texts=[])

    engine.on_reply = stubborn
    shop.with_engine(engine)
    await shop.world.hear("Hello")

    took = await stop(shop, gate.reached)
    end.set()
    gate.open()
    # What it left behind has a connection to Postgres, and this test's loop is about to close.
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=60)

    assert took < DRAIN + GIVE_BACK + LAST_WORDS + MARGIN


async def test_a_worker_whose_database_hangs_ends_in_time(shop: Shop, database_url: str):
    await shop.world.accept()
    async with Wire(database_url) as wire:
        db = create_engine(wire.url)
        carrier, gate = CarrierDouble(), Gate()
        frozen = asyncio.Event()

        async def sends(_: Outgoing) -> Taken:
            gate.reached.set()
            wire.freeze()  # what came of it cannot be saved
            await asyncio.sleep(0.2)
            frozen.set()
            return Taken("SM1")

        carrier.on_send = sends
        shop.with_carrier(carrier)
        engines = Engines(db, lambda _: EngineDouble("Hi"))
        shop.rt = replace(shop.rt, db=db, database_url=wire.url, engines=engines)

        took = await stop(shop, frozen)

        assert took < DRAIN + GIVE_BACK + LAST_WORDS + MARGIN
        since = time.monotonic()
        await shop.rt.close()
        assert time.monotonic() - since < CLOSE_SECONDS + MARGIN
        # What it left behind is connecting anew. Python 3.11 never closes the socket of a client
        # whose server is closed between its being taken and its being welcomed.
        await asyncio.sleep(0.1)
        wire.cut()
        await db.dispose()
        # What hung is let go of by tasks of their own, and this test's loop is about to close.
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=60)


async def test_a_worker_told_to_stop_before_it_began_ends_at_once(shop: Shop):
    told = asyncio.Event()
    told.set()
    since = time.monotonic()
    await Worker(shop.rt, concurrency=4).run(told)
    assert time.monotonic() - since < DRAIN + MARGIN


async def test_a_worker_goes_on_without_hints(shop: Shop):
    shop.rt = replace(shop.rt, database_url="postgresql://127.0.0.1:not-a-port/nowhere")
    assert main.LISTEN_AGAIN > 1

    async with shop.working():
        await shop.world.accept("One")
        await shop.until_said("One")
