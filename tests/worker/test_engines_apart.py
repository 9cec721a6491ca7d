"""An agent whose engine hangs, fails or cannot be made holds up nobody else's users."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text as sql

from tests.support.deployment import FALLBACK, USER
from tests.support.doubles import EngineDouble, Gate
from tests.support.running import Shop
from textback.core.engine import Engine, TurnFailed, TurnRequest
from textback.core.ids import AgentId
from textback.core.phone import Phone
from textback.db.agents import AgentVersion
from textback.flows import versions
from textback.runtime import Engines

MANY = 120
CONCURRENCY = 8


def engines(shop: Shop, make: Callable[[AgentVersion], Engine]) -> None:
    shop.rt = replace(shop.rt, engines=Engines(shop.world.db, make))


async def test_an_agent_that_hangs_holds_up_no_other(shop: Shop):
    world = shop.world
    limits = {"per_project": {"requests": 10_000, "per_seconds": 1}}
    await world.provision(project={"inbound_limits": limits})
    users = [Phone(f"+1415556{n:04}") for n in range(MANY)]
    for user in users:
        await world.hear("Hello", user=user)
    # Another agent, whose users come last.
    await world.hear("Hello", user=USER)
    async with world.transaction() as c:
        await c.execute(
            sql(
                'insert into agents select (json_populate_record(a, \'{"id": "other"}\')).*'
                " from agents a where id = 'bookings'"
            )
        )
        await c.execute(
            sql(
                "insert into agent_versions select"
                ' (json_populate_record(v, \'{"agent_id": "other"}\')).*'
                " from agent_versions v where agent_id = 'bookings'"
            )
        )
        await c.execute(
            sql("update conversations set agent_id = 'other' where user_number = :user"),
            {"user": USER},
        )
    gate, at_once, most = Gate(), 0, 0
    slow, quick = EngineDouble(deadline=timedelta(minutes=1)), EngineDouble("Hi")

    async def hangs(_: TurnRequest) -> TurnFailed:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        return TurnFailed("no answer in time")

    slow.on_reply = hangs
    engines(shop, lambda row: quick if row.agent_id == "other" else slow)

    async def answered() -> bool:
        return bool(await world.ours(user=USER))

    async def all_answered() -> bool:
        return await _replies(shop) >= MANY + 1

    async with shop.working(concurrency=CONCURRENCY):
        await shop.until(answered)
        assert len(slow.asked) < MANY  # it hangs, and has no more than its share
        await asyncio.sleep(0.1)
        assert most <= CONCURRENCY * 8 / 4
        gate.open()
        await shop.until(all_answered)

    assert [text.text for text in await world.ours(user=USER)] == ["Hi"]
    said = Counter[str]()
    for user in users[:: MANY // 10]:
        said.update(text.text for text in await world.ours(user=user))
    assert said == {FALLBACK: 10}
    assert await _replies(shop) == MANY + 1


async def _replies(shop: Shop) -> int:
    async with shop.world.transaction() as c:
        return await c.scalar(sql("select count(*) from messages where kind = 'reply'")) or 0


async def test_users_of_an_agent_whose_engine_cannot_be_made_get_its_fallback_once(shop: Shop):
    def broken(_: AgentVersion) -> Engine:
        raise ValueError("no key opens it: SECRET")

    engines(shop, broken)
    await shop.world.hear("Hello")

    async with shop.working():
        await shop.until_said(FALLBACK)
        await asyncio.sleep(0.2)

    assert [text.text for text in await shop.world.ours()] == [FALLBACK]


async def test_once_its_entry_is_repaired_the_agent_answers_again(shop: Shop):
    troubles = [ValueError("settings of an older version")]

    def make(_: AgentVersion) -> Engine:
        if troubles:
            raise troubles.pop()
        return EngineDouble("Hello to you.")

    engines(shop, make)
    await shop.world.hear("Hello")

    async with shop.working():
        await shop.until_said(FALLBACK)
        await shop.world.provision(agent={"fallback": "Another."})
        moved = await versions.move(shop.world.db, AgentId("bookings"), "production")
        assert (moved.to, moved.moved) == (2, 1)
        await shop.world.hear("Hello?", now=shop.clock.now)
        await shop.until_said(FALLBACK, "Hello to you.")
