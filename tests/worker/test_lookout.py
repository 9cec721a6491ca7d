"""A worker with nothing to do asks Postgres little, and what becomes due is taken up all the same.

The loops here poll once an hour: whatever they do sooner, somebody has woken them for it.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import NOW
from tests.support.running import FOREVER, Shop
from tests.support.wire import Wire
from textback.db.session import create_engine
from textback.runtime import Runtime
from textback.wiring import clock
from textback.worker.lookout import LOOPS, Lookout
from textback.worker.loop import Loop

LOOKS = 20
LOOK = "'epoch'"
"""Stands in the question of a look, and in no other."""
FEW = 100
"""A worker of which each loop polls for itself asks some 250 in that time."""


@contextmanager
def counting(engine: AsyncEngine) -> Generator[list[str]]:
    """What Postgres is asked."""
    asked: list[str] = []

    def note(*told: object) -> None:
        asked.append(str(told[2]))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine.sync_engine, "before_cursor_execute", note)


class Watched:
    """A loop for each queue, and when they claimed."""

    def __init__(self, rt: Runtime) -> None:
        self.claimed: dict[str, list[datetime]] = {name: [] for name in LOOPS.values()}
        self._changed = asyncio.Event()
        loops = [self._loop(rt, name) for name in self.claimed]
        self._all = (*loops, *Lookout(rt, loops).loops)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for loop in self._all:
                group.create_task(loop.run())
            try:
                yield
            finally:
                for loop in self._all:
                    loop.stop()

    async def until_woken(self, *names: str) -> None:
        """Beyond the claim that each begins with."""
        while not all(len(self.claimed[name]) > 1 for name in names):
            self._changed.clear()
            await self._changed.wait()

    def _loop(self, rt: Runtime, name: str) -> Loop[None]:
        async def claim(_limit: int) -> tuple[Sequence[None], datetime | None]:
            self.claimed[name].append(rt.now())
            self._changed.set()
            return (), None

        async def handle(_item: None) -> None:
            """There is none."""

        return Loop(name, claim, handle, concurrency=1, poll=FOREVER, now=rt.now)


async def test_an_idle_worker_asks_little_more_than_one_question_a_poll(
    shop: Shop, engine: AsyncEngine
):
    async def of_others() -> int:
        with counting(engine) as asked:

            async def looked() -> bool:
                return sum(LOOK in each for each in asked) >= LOOKS

            await shop.until(looked)
        return sum(LOOK not in each for each in asked)

    async with shop.working():
        await shop.until_listening()
        # Where a look is late, as on a machine that has too much to do, all poll for themselves.
        while await of_others() >= FEW:
            pass


async def test_what_is_due_wakes_its_loop_and_no_other(shop: Shop):
    await shop.world.accept()
    await shop.world.hear("Hello")
    async with shop.world.transaction() as c:
        for due in (
            "update messages set expires_at = :now where state = 'queued'",
            "update turns set due_at = :now where state = 'waiting'",
            "update conversations set deadline_at = :now",
            "update numbers set sweep_at = :now",
        ):
            await c.execute(text(due), {"now": NOW})
    shop.clock.now = NOW
    watched = Watched(shop.rt)

    async with watched.running():
        await watched.until_woken("send", "turn", "expire", "sweep", "rescue")

    for name in ("settle", "analyse", "deliver", "plans", "batches"):
        assert len(watched.claimed[name]) == 1


async def test_what_is_due_later_wakes_its_loop_then_though_nobody_polls(shop: Shop):
    await shop.world.accept()
    rt = replace(shop.rt, poll=FOREVER, now=clock)
    due = rt.now() + timedelta(seconds=0.5)
    async with shop.world.transaction() as c:
        await c.execute(text("update messages set due_at = :due"), {"due": due})
    watched = Watched(rt)

    async with watched.running():
        await watched.until_woken("send")

    assert watched.claimed["send"][1] >= due


async def test_who_cannot_see_wakes_all_that_rely_on_it(shop: Shop, database_url: str):
    async with Wire(database_url) as wire:
        db = create_engine(wire.url)
        watched = Watched(replace(shop.rt, db=db))
        with counting(db) as asked:
            async with watched.running():
                await shop.until(lambda: _has(asked))
                wire.cut()
                await watched.until_woken(*LOOPS.values())
        await db.dispose()


async def _has(asked: list[str]) -> bool:
    return len(asked) > 1
