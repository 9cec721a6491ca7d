"""A worker stops thinking of what the user has gone beyond, and never loses or doubles a turn."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.support.deployment import FALLBACK
from tests.support.doubles import EngineDouble, Gate
from tests.support.running import Shop
from textback.core.engine import Later, ToolResult, TurnLost, TurnReply, TurnRequest
from textback.core.ids import TurnId
from textback.flows import turn
from textback.worker.turns import CUT_OFF

HOURS = timedelta(hours=1)
BOOKED = ToolResult("booked")


class Slow(EngineDouble):
    """Thinks for ever about its first turn, and notes how it was ended."""

    def __init__(self) -> None:
        super().__init__(deadline=HOURS)
        self.gate, self.ended = Gate(), list[str]()
        self.on_reply = self._think

    async def _think(self, request: TurnRequest) -> TurnReply:
        if len(self.asked) == 1:
            try:
                await self.gate.wait()
            except BaseException as error:
                self.ended.append(type(error).__name__)
                raise
        return TurnReply(texts=[f"To {request.heard}".replace("\n", " and ")])


async def begin(shop: Shop, engine: EngineDouble) -> None:
    shop.with_engine(engine, fallback=FALLBACK)
    await shop.world.hear("one")


@pytest.mark.parametrize("hints", [True, False])
async def test_a_stale_thought_is_ended_and_the_user_does_not_wait_for_it(
    shop: Shop, *, hints: bool
):
    engine = Slow()
    if hints:
        shop.rt = replace(shop.rt, poll=HOURS)
    await begin(shop, engine)

    async with shop.working():
        if hints:
            await shop.until_listening()
        await engine.gate.reached.wait()
        await shop.world.hear("two")
        await shop.until_said("To one and two")

    assert engine.ended == ["CancelledError"]
    (found,) = await shop.world.turns()
    assert (found.outcome, found.attempts) == ("answered", 1)


async def test_a_call_that_is_under_way_is_let_end_and_not_made_again(shop: Shop):
    engine, gate, made = EngineDouble(deadline=HOURS), Gate(), list[str]()

    async def books(request: TurnRequest) -> TurnReply:
        async def do(call_id: str) -> ToolResult:
            made.append(call_id)
            await gate.wait()
            return BOOKED

        result = await request.journal.call("book", {"at": 3}, do)
        return TurnReply(texts=[f"{result.text}: {len(request.transcript)}"])

    engine.on_reply = books
    await begin(shop, engine)

    async with shop.working():
        await gate.reached.wait()
        await shop.world.hear("two")
        await asyncio.sleep(0.2)  # it is looked for all the while
        gate.open()
        await shop.until_said("booked: 2")

    assert len(made) == 1


async def test_an_engine_that_lets_go_of_a_turn_that_is_still_its_own_has_failed(shop: Shop):
    engine = EngineDouble()

    def lets_go(_: TurnRequest) -> TurnReply:
        raise TurnLost

    engine.on_reply = lets_go
    await begin(shop, engine)

    async with shop.working():
        await shop.until_said(FALLBACK)


async def test_a_worker_that_stops_gives_back_and_does_not_begin_anew(shop: Shop):
    engine = Slow()
    shop.rt = replace(shop.rt, drain=timedelta(seconds=0.1), poll=HOURS)
    await begin(shop, engine)

    async with shop.working() as stop:
        await engine.gate.reached.wait()
        stop.set()

    (found,) = await shop.world.turns()
    assert (found.state, found.attempts) == ("waiting", 0)
    (again,) = await shop.world.claim_turns()
    assert again.restarts == 0


async def test_an_engine_that_answers_while_it_is_cut_off_is_not_believed(shop: Shop):
    engine = EngineDouble(deadline=HOURS)
    gate = Gate()

    async def stubborn(request: TurnRequest) -> TurnReply:
        if request.run == 1:
            try:
                await gate.wait()
            except asyncio.CancelledError:
                return TurnReply(texts=["Stale"])
        return TurnReply(texts=["Fresh"])

    engine.on_reply = stubborn
    await begin(shop, engine)

    async with shop.working():
        await gate.reached.wait()
        await shop.world.hear("two")
        await shop.until_said("Fresh")

    assert [text.text for text in await shop.world.ours()] == ["Fresh"]


async def test_an_engine_that_outlasts_its_deadline_is_cut_off_even_if_it_will_not_end(shop: Shop):
    engine, end = EngineDouble(deadline=timedelta(seconds=-0.9)), asyncio.Event()

    async def stubborn(_: TurnRequest) -> TurnReply:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        return TurnReply(texts=["Too late"])

    engine.on_reply = stubborn
    await begin(shop, engine)

    async with asyncio.timeout(60 + CUT_OFF), shop.working():
        await shop.until_said(FALLBACK)
    end.set()

    assert [text.text for text in await shop.world.ours()] == [FALLBACK]


async def test_an_answer_that_comes_later_frees_the_worker(shop: Shop):
    engine = EngineDouble(Later(within=HOURS))
    await begin(shop, engine)

    async def awaited() -> bool:
        return [found.state for found in await shop.world.turns()] == ["awaiting"]

    async with shop.working():
        await shop.until(awaited)
        (asked,) = engine.asked
        assert asked.reply_url == f"{shop.rt.public_url}/v1/turns/{asked.turn_id}/1/reply"
        hi = TurnReply(texts=["Hi"])
        now = shop.clock.now
        assert (
            await turn.answer_later(shop.world.db, TurnId(asked.turn_id), 1, hi, now=now)
            == "recorded"
        )
        await shop.until_said("Hi")


async def test_an_answer_that_is_overdue_is_answered_with_the_fallback(shop: Shop):
    engine = EngineDouble(Later(within=timedelta(minutes=1)))
    await begin(shop, engine)

    async def awaited() -> bool:
        return [found.state for found in await shop.world.turns()] == ["awaiting"]

    async with shop.working():
        await shop.until(awaited)
        shop.clock.now += timedelta(minutes=2)
        await shop.until_said(FALLBACK)


async def test_a_turn_over_its_budget_asks_no_engine(shop: Shop):
    engine = EngineDouble("Hi")
    await shop.world.provision(project={"budgets": {"day": {"turns": 1}}})
    await begin(shop, engine)

    async with shop.working():
        await shop.until_said("Hi")
        await shop.world.hear("two")
        await shop.until_said("Hi", FALLBACK)

    assert len(engine.asked) == 1
    assert [talk.state for talk in await shop.world.talks()] == ["paused"]


async def test_a_turn_that_is_thought_of_for_minutes_stays_with_its_worker(shop: Shop):
    # The lease is short, so that a turn whose worker died does not wait for long.
    engine = Slow()
    await begin(shop, engine)

    async with shop.working():
        await engine.gate.reached.wait()
        for _ in range(12):
            now = shop.clock.now = shop.clock.now + shop.rt.policy.lease * 0.7

            async def renewed(now: datetime = now) -> bool:
                (turn,) = await shop.world.turns()
                return turn.lease_until == now + shop.rt.policy.lease

            await shop.until(renewed)
        engine.gate.open()
        await shop.until_said("To one")

    assert len(engine.asked) == 1
