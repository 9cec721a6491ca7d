"""A loop claims no more than it can handle, misses no hint, survives trouble, and drains."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from tests.support.doubles import Gate
from tests.support.provision import NOW
from textback.core.errors import Unavailable
from textback.worker.loop import Loop, persist

FOREVER = timedelta(hours=1)
OFTEN = timedelta(milliseconds=1)


class Work:
    """Items to claim, and what became of them."""

    def __init__(self, *items: str) -> None:
        self.items = list(items)
        self.limits: list[int] = []
        self.handled: list[str] = []
        self.upcoming: datetime | None = None
        self.changed = asyncio.Event()
        self.on_claim: Callable[[], Awaitable[None] | None] = lambda: None
        self.on_handle: Callable[[str], Awaitable[None]] = self._nothing

    def loop(self, *, concurrency: int = 2, poll: timedelta = FOREVER) -> Loop[str]:
        return Loop(
            "test",
            self.claim,
            self.handle,
            concurrency=concurrency,
            poll=poll,
            now=lambda: NOW,
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def claim(self, limit: int) -> tuple[Sequence[str], datetime | None]:
        self.limits.append(limit)
        self.changed.set()
        waiting = self.on_claim()
        if waiting is not None:
            await waiting
        taken, self.items = self.items[:limit], self.items[limit:]
        return taken, None if taken else self.upcoming

    async def handle(self, item: str) -> None:
        await self.on_handle(item)
        self.handled.append(item)
        self.changed.set()

    async def _nothing(self, _: str) -> None:
        """Handled at once."""


@asynccontextmanager
async def running(loop: Loop[str]) -> AsyncGenerator[asyncio.Task[None]]:
    """Stopped at the end, and then it has to end by itself."""
    async with asyncio.timeout(60):
        task = asyncio.create_task(loop.run())
        yield task
        loop.stop()
        await task


async def test_what_is_due_is_handled():
    work = Work("a", "b", "c", "d", "e")

    async with running(work.loop()):
        await work.until(lambda: len(work.handled) == 5)

    assert work.handled == ["a", "b", "c", "d", "e"]


async def test_no_more_is_claimed_than_can_be_handled_at_once():
    work, gate = Work("a", "b", "c", "d"), Gate()
    at_once = 0
    most = 0

    async def handle(_: str) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1

    work.on_handle = handle
    async with running(work.loop(concurrency=2)):
        await gate.reached.wait()
        assert work.items == ["c", "d"]
        gate.open()
        await work.until(lambda: len(work.handled) == 4)

    assert most == 2
    assert max(work.limits) == 2
    assert min(work.limits) > 0


async def test_a_place_that_becomes_free_is_filled_without_waiting_for_the_poll():
    work, gate = Work("slow", "quick", "next"), Gate()

    async def handle(item: str) -> None:
        if item == "slow":
            await gate.wait()

    work.on_handle = handle
    async with running(work.loop(concurrency=2)):
        await work.until(lambda: "next" in work.handled)
        assert "slow" not in work.handled
        gate.open()


async def test_while_something_is_handled_a_claim_lets_more_gather_and_who_is_alone_does_not_wait():
    work, gate = Work("first"), Gate()
    work.on_handle = lambda _: gate.wait()
    loop = Loop("test", work.claim, work.handle, concurrency=999, poll=FOREVER, now=lambda: NOW,
                gather=timedelta(milliseconds=300))  # fmt: skip
    clock = asyncio.get_running_loop().time
    began = clock()
    async with running(loop):
        await gate.reached.wait()
        assert clock() - began < 0.3
        for n in range(5):
            work.items.append(f"more {n}")
            loop.wake()
            await asyncio.sleep(0.01)
        await work.until(lambda: not work.items)
        assert len(work.limits) == 2  # one claim brought them all
        gate.open()
    assert clock() - began >= 0.29


async def test_the_less_can_be_handled_besides_the_sooner_it_claims():
    work, gate = Work("first", "second"), Gate()
    work.on_handle = lambda _: gate.wait()
    loop = Loop("test", work.claim, work.handle, concurrency=3, poll=FOREVER, now=lambda: NOW,
                gather=timedelta(minutes=1) / 100)  # fmt: skip
    clock = asyncio.get_running_loop().time
    began = clock()
    async with running(loop):
        await gate.reached.wait()
        work.items.append("third")
        loop.wake()
        await work.until(lambda: not work.items)
        assert 0.19 <= clock() - began < 0.6
        gate.open()


async def test_a_hint_wakes_a_loop_that_waits():
    work = Work()

    async with running(loop := work.loop()):
        await work.until(lambda: len(work.limits) == 1)
        work.items = ["a"]
        loop.wake()
        await work.until(lambda: work.handled == ["a"])


async def test_a_hint_during_a_claim_is_not_missed():
    work, gate = Work(), Gate()
    work.on_claim = gate.wait

    async with running(loop := work.loop()):
        await gate.reached.wait()
        loop.wake()  # after the claim has looked, say
        work.on_claim = lambda: None
        gate.open()
        await work.until(lambda: len(work.limits) == 2)


async def test_without_hints_the_loop_polls():
    work = Work()

    async with running(work.loop(poll=OFTEN)):
        await work.until(lambda: len(work.limits) >= 3)


async def test_the_loop_wakes_when_the_next_item_is_due():
    work = Work()
    work.upcoming = NOW + timedelta(milliseconds=20)

    async with running(work.loop(poll=FOREVER)):
        await work.until(lambda: len(work.limits) >= 2)


async def test_an_item_that_is_long_overdue_does_not_make_the_loop_spin():
    work = Work()
    work.upcoming = NOW - timedelta(hours=1)

    clock = asyncio.get_running_loop().time
    began = clock()
    async with running(work.loop(poll=FOREVER)):
        await work.until(lambda: len(work.limits) >= 20)

    assert clock() - began >= 19 * 0.001


@pytest.mark.parametrize("trouble", [Unavailable(), RuntimeError("a bug")])
async def test_a_claim_that_fails_is_tried_again(trouble: Exception):
    work = Work("a")

    def fails() -> None:
        if len(work.limits) < 3:
            raise trouble

    work.on_claim = fails
    async with running(work.loop(poll=OFTEN)):
        await work.until(lambda: work.handled == ["a"])


@pytest.mark.parametrize("trouble", [Unavailable(), RuntimeError("a bug")])
async def test_hints_do_not_make_a_loop_in_trouble_spin(trouble: Exception):
    # A busy queue hints all the time: each hint was another claim that failed, and another trace.
    work = Work()

    def fails() -> None:
        raise trouble

    work.on_claim = fails
    async with running(loop := work.loop(poll=timedelta(seconds=0.2))):
        for _ in range(50):
            loop.wake()
            await asyncio.sleep(0.01)

    assert len(work.limits) <= 6


async def test_a_loop_that_fails_by_a_bug_is_told_each_time_but_ever_more_rarely():
    work = Work()

    def fails() -> None:
        raise RuntimeError("a bug")

    work.on_claim = fails
    with capture_logs() as told:
        async with running(work.loop(poll=timedelta(milliseconds=20))):
            await asyncio.sleep(0.5)

    assert 2 <= len(work.limits) <= 5  # not 25
    assert [line["event"] for line in told] == ["loop.failed"] * len(work.limits)


async def test_a_claim_that_hangs_is_cut_off_with_the_rest():
    work, gate = Work("a"), Gate()
    work.on_claim = gate.wait

    async with running(loop := work.loop()):
        await gate.reached.wait()
        loop.stop()
        loop.cancel()

    assert work.handled == []


async def test_an_item_that_fails_does_not_disturb_the_others():
    work = Work("bad", "good", "bad", "good")

    async def handle(item: str) -> None:
        if item == "bad":
            raise RuntimeError("a bug")

    work.on_handle = handle
    async with running(work.loop()):
        await work.until(lambda: len(work.handled) == 2)

    assert work.handled == ["good", "good"]


async def test_a_loop_that_is_stopped_claims_nothing_more_and_finishes_what_it_has():
    work, gate = Work("a", "b"), Gate()

    async def handle(_: str) -> None:
        await gate.wait()

    work.on_handle = handle
    async with running(loop := work.loop(concurrency=1)) as task:
        await gate.reached.wait()
        loop.stop()
        await asyncio.sleep(0)
        assert not task.done()
        gate.open()

    assert (work.handled, work.items) == (["a"], ["b"])


async def test_a_loop_that_waits_stops_at_once():
    work = Work()

    async with running(work.loop(poll=FOREVER)):
        await work.until(lambda: len(work.limits) == 1)


async def test_a_loop_stopped_before_it_began_claims_nothing():
    work = Work("a")
    loop = work.loop()
    loop.stop()

    async with asyncio.timeout(60):
        await loop.run()

    assert work.limits == []


async def test_what_a_claim_in_progress_brings_is_handled_although_the_loop_was_stopped():
    # It is marked as taken by then: to leave it would be to lose it until its lease runs out.
    work, gate = Work("a"), Gate()
    work.on_claim = gate.wait

    async with running(loop := work.loop()):
        await gate.reached.wait()
        loop.stop()
        gate.open()

    assert work.handled == ["a"]


async def test_after_the_time_to_drain_what_is_unfinished_is_cancelled():
    work = Work("a", "b")
    cancelled = list[str]()
    begun = Gate()

    async def handle(item: str) -> None:
        try:
            await begun.wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    work.on_handle = handle
    async with running(loop := work.loop()):
        await begun.reached.wait()
        await asyncio.sleep(0)
        loop.stop()
        loop.cancel()

    assert (sorted(cancelled), work.handled) == (["a", "b"], [])


# --- persist ------------------------------------------------------------------------------------


async def test_what_is_known_is_saved_as_soon_as_the_database_is_back():
    attempts = 0

    async def save() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise Unavailable
        return "saved"

    assert await persist(save) == "saved"
    assert attempts == 3


async def test_what_can_never_be_saved_is_not_tried_for_ever():
    async def save() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await persist(save)
