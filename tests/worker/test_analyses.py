"""A worker analyses conversations that are over, and nothing else waits for that."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import select, text

from tests.support.deployment import HTTP, NOW, USER
from tests.support.doubles import EngineDouble, Gate
from tests.support.running import Shop
from textback.core.engine import Analysis, AnalysisRequest, TurnFailed
from textback.core.phone import Phone
from textback.db.agents import AgentVersion
from textback.db.tables import conversations
from textback.runtime import Engines
from textback.worker.analyses import MOST, SHARE
from textback.worker.main import GIVE_BACK, Worker

AGENT: Final = {
    "engine": HTTP,
    "analysis": {
        "outcomes": [{"name": "booked"}],
        "values": {"type": "object", "properties": {"time": {"type": "string"}}},
    },
}
LONG: Final = timedelta(minutes=5)
ANOTHER_AGENT: Final = """
insert into agents select (json_populate_record(a, '{"id": "other"}')).* from agents a
    where id = 'bookings';
insert into agent_versions select (jsonb_populate_record(v, '{"agent_id": "other"}')).*
    from agent_versions v where agent_id = 'bookings';
update conversations set agent_id = 'other', analysis_due_at = analysis_due_at + interval '1 second'
    where id = (select max(id) from conversations)
"""
"""Its is the conversation that comes last."""


class Analyst(EngineDouble):
    """`on_analyse` may wait, raise, or answer nonsense."""

    def __init__(self, *, deadline: timedelta = timedelta(seconds=10)) -> None:
        super().__init__("Hi.", deadline=deadline)
        self.on_analyse: Callable[[AnalysisRequest], Awaitable[Any]] | None = None

    async def analyse(self, request: AnalysisRequest) -> Analysis | TurnFailed:
        found = await super().analyse(request)
        return found if self.on_analyse is None else await self.on_analyse(request)


@pytest.fixture
async def analyst(shop: Shop) -> Analyst:
    await shop.world.provision(agent=AGENT)
    engine = Analyst()
    engine.analysis = Analysis(summary="They agreed.", values={"time": "3pm"}, outcome="booked")
    shop.with_engine(engine)
    return engine


async def talked(shop: Shop, *, users: int = 1) -> None:
    """Conversations with as many users, each answered, and then ended by the user."""
    for n in range(users):
        user = Phone(f"+141555502{n:02}")
        await shop.world.hear("3pm?", user=user)
        (thinking,) = await shop.world.claim_turns()
        await shop.world.answer(thinking, "Done.")
        await shop.world.hear("STOP", user=user)


async def analyses(shop: Shop) -> list[dict[str, Any]]:
    """What was made of each conversation, as far as that is known."""
    t = conversations.c
    query = select(t.analysis).where(t.analysis.is_not(None)).order_by(t.opened_at)
    async with shop.world.transaction() as c:
        return list(await c.scalars(query))


async def until_analysed(shop: Shop, many: int = 1) -> list[dict[str, Any]]:
    async def so_many() -> bool:
        return len(await analyses(shop)) == many

    await shop.until(so_many)
    return await analyses(shop)


async def until_put_off(shop: Shop, wait: timedelta) -> None:
    async def put_off() -> bool:
        async with shop.world.transaction() as c:
            due_at = await c.scalar(select(conversations.c.analysis_due_at))
        return due_at is not None and due_at - shop.clock.now == wait

    await shop.until(put_off)


async def attempts(shop: Shop) -> list[int]:
    async with shop.world.transaction() as c:
        return list(await c.scalars(select(conversations.c.analysis_attempts)))


async def test_a_conversation_is_analysed_when_it_is_over(shop: Shop, analyst: Analyst):
    await talked(shop)
    async with shop.working():
        (found,) = await until_analysed(shop)
    assert found == {
        "summary": "They agreed.",
        "values": {"time": "3pm"},
        "outcome": "booked",
        "at": NOW.isoformat(),
    }
    (asked,) = analyst.analysed
    assert (asked.ended, asked.transcript[0].text) == ("opted_out", "3pm?")


async def _raises(_: AnalysisRequest) -> Analysis:
    raise RuntimeError("PRIVATE")


async def _leaves(_: AnalysisRequest) -> Analysis:
    raise asyncio.CancelledError


def _gives(answer: object) -> Callable[[AnalysisRequest], Awaitable[Any]]:
    async def give(_: AnalysisRequest) -> object:
        return answer

    return give


@pytest.mark.parametrize(
    ("on_analyse", "why"),
    [
        (_raises, "the engine raised RuntimeError"),
        (_leaves, "the engine was cut off"),
        (_gives(None), "the engine's analysis is none"),
        (_gives(Analysis(outcome="PRIVATE")), "has an outcome that is none of those possible"),
        (_gives(Analysis(values={"time": 7})), "has values that do not fit their schema"),
        (_gives(Analysis(summary="PRIVATE\x00")), "has a summary that is no text"),
        (_gives(TurnFailed("no luck")), "no luck"),
    ],
    ids=range(7),
)
async def test_whatever_an_engine_does_it_is_tried_three_times_and_then_said(
    shop: Shop, analyst: Analyst, on_analyse: Callable[[AnalysisRequest], Awaitable[Any]], why: str
):
    analyst.on_analyse = on_analyse
    await talked(shop)
    async with shop.working():
        for wait in (timedelta(seconds=30), LONG):
            await until_put_off(shop, wait)
            shop.clock.now += LONG
        (found,) = await until_analysed(shop)
    assert found == {"error": found["error"], "at": (NOW + 2 * LONG).isoformat()}
    assert why in found["error"]
    assert "PRIVATE" not in found["error"]
    assert len(analyst.analysed) == 3


async def test_an_engine_that_hangs_is_cut_off_though_it_will_not_be_cancelled(
    shop: Shop, analyst: Analyst
):
    end = asyncio.Event()

    async def clings(_: AnalysisRequest) -> Analysis:
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue
        return Analysis(summary="Late.")

    analyst.on_analyse, analyst.deadline = clings, timedelta(seconds=-0.9)
    await talked(shop)
    async with shop.working():
        await until_put_off(shop, timedelta(seconds=30))
        end.set()
    assert await analyses(shop) == []


async def test_one_that_killed_three_workers_is_not_tried_again(shop: Shop, analyst: Analyst):
    await talked(shop)
    async with shop.world.transaction() as c:
        await c.execute(text("update conversations set analysis_attempts = 3"))
    async with shop.working():
        (found,) = await until_analysed(shop)
    assert found["error"] == "3 workers died over it"
    assert analyst.analysed == []


async def test_analyses_that_hang_hold_up_no_turn_and_no_text(shop: Shop, analyst: Analyst):
    gate = Gate()

    async def hangs(_: AnalysisRequest) -> Analysis:
        await gate.wait()
        return Analysis()

    analyst.on_analyse = hangs
    await talked(shop, users=2 * MOST)
    async with shop.working(concurrency=1):
        await asyncio.wait_for(gate.reached.wait(), 30)
        await shop.world.hear("Hello", user=USER)
        await shop.until_said("Hi.")
        assert len(analyst.analysed) == SHARE
        gate.open()
        await until_analysed(shop, 2 * MOST)


async def test_an_agent_whose_analyses_hang_holds_up_no_other_agents(shop: Shop, analyst: Analyst):
    gate = Gate()

    async def hangs(_: AnalysisRequest) -> Analysis:
        await gate.wait()
        return Analysis()

    analyst.on_analyse = hangs
    other = Analyst()
    other.analysis = Analysis(summary="Quick.")
    await talked(shop, users=MOST + 1)
    async with shop.world.transaction() as c:
        for statement in ANOTHER_AGENT.split(";"):
            await c.execute(text(statement))
    shop.clock.now += timedelta(seconds=2)

    def made(version: AgentVersion) -> Analyst:
        return other if version.agent_id == "other" else analyst

    shop.rt = replace(shop.rt, engines=Engines(shop.world.db, made))
    async with shop.working():
        (found,) = await until_analysed(shop)
        assert found["summary"] == "Quick."
        gate.open()
        await until_analysed(shop, MOST + 1)


async def test_a_worker_that_stops_gives_its_analyses_back(shop: Shop, analyst: Analyst):
    gate = Gate()

    async def hangs(_: AnalysisRequest) -> Analysis:
        await gate.wait()
        return Analysis()

    analyst.on_analyse = hangs
    await talked(shop)
    shop.rt = replace(shop.rt, drain=timedelta(milliseconds=100))
    stop = asyncio.Event()
    async with asyncio.timeout(30):
        working = asyncio.create_task(Worker(shop.rt, concurrency=1).run(stop))
        await gate.reached.wait()
        began = time.monotonic()
        stop.set()
        await working
    assert time.monotonic() - began < GIVE_BACK
    assert await attempts(shop) == [0]
    analyst.on_analyse = None
    async with shop.working():
        await until_analysed(shop)


async def test_two_workers_analyse_each_conversation_once(shop: Shop, analyst: Analyst):
    await talked(shop, users=6)
    async with shop.working(), shop.working():
        await until_analysed(shop, 6)
    asked = [request.conversation_id for request in analyst.analysed]
    assert len(asked) == len(set(asked)) == 6
