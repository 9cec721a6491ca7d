import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.api import until
from tests.support.limits import AMPLE, SLOW, Ask, Clock, at_once
from tests.support.valkey import Valkey
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ports import Limiter, Unreachable
from textback.limiter import LocalLimiter, RedisLimiter
from textback.limiter_ahead import KEEP, LEAST, SPAN, AheadLimiter

WIDE = Rate(1000, 3600)
"""Room to take ahead, refilled by nothing while a test runs."""


class Counting(LocalLimiter):
    """Remembers what it was asked for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked, self.returned = list[float](), list[float]()
        self.is_up = True

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        self.asked.append(units)
        await asyncio.sleep(0)  # as Redis, it does not answer at once
        if not self.is_up:
            raise Unreachable
        return await super().take(key, rate, units)

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        self.returned.append(units)
        if not self.is_up:
            raise Unreachable
        await super().give_back(key, rate, units)


class Caller:
    """Of one bucket, through a limiter that takes ahead."""

    def __init__(self, rate: Rate = WIDE, *, keep: timedelta = KEEP) -> None:
        self.clock = Clock()
        self.behind = Counting(self.clock)
        self.rate = rate
        self.limiter = AheadLimiter(self.behind, clock=self.clock, keep=keep)

    async def calls(self, count: int, *, apart: float) -> list[Granted | Denied]:
        answers = list[Granted | Denied]()
        for _ in range(count):
            answers.append(await self.limiter.take("project", self.rate))
            await asyncio.sleep(0)
            self.clock.now += apart
        return answers


async def test_a_caller_in_no_hurry_is_asked_for_each_time_and_nothing_is_taken_ahead() -> None:
    caller = Caller()
    await caller.calls(50, apart=1.1 * SPAN / (LEAST - 1))
    assert caller.behind.asked == [1] * 50


async def test_for_a_busy_caller_one_question_is_for_many() -> None:
    caller = Caller()
    answers = await caller.calls(400, apart=0.001)
    assert all(isinstance(each, Granted) for each in answers)
    assert len(caller.behind.asked) < 40
    assert sum(caller.behind.asked) <= 400 + 2 * SPAN / 0.001


async def test_what_is_left_is_told_as_if_each_had_asked_by_itself() -> None:
    caller = Caller()
    answers = await caller.calls(300, apart=0.001)
    left = [each.remaining for each in answers if isinstance(each, Granted)]
    # What time refills is told with the next question, and what is kept is not told as used.
    assert all(abs(there - (999 - used)) <= 1 for used, there in enumerate(left))
    for used, each in enumerate(answers, start=1):
        assert each.reset == pytest.approx(used * 3.6 - (used - 1) * 0.001, abs=0.01)


async def test_no_more_is_told_to_be_left_than_a_bucket_can_hold_that_refills_meanwhile() -> None:
    caller = Caller(Rate(100_000, 60))
    answers = await caller.calls(300, apart=0.002)
    assert len(caller.behind.asked) < 150
    assert max(each.remaining for each in answers if isinstance(each, Granted)) == 99_999


async def test_with_less_than_half_of_the_bucket_left_nothing_is_taken_ahead() -> None:
    caller = Caller(Rate(100, 3600))
    await caller.calls(60, apart=0.001)
    caller.behind.asked.clear()
    await caller.calls(60, apart=0.001)
    assert set(caller.behind.asked) == {1}


async def test_what_is_taken_ahead_leaves_half_of_the_bucket() -> None:
    caller = Caller(Rate(100, 3600))
    await caller.calls(45, apart=0.001)
    taken = sum(caller.behind.asked)
    assert 45 < taken <= 51


async def test_after_a_refusal_nothing_is_taken_ahead_whatever_was_left_before() -> None:
    caller = Caller()
    await caller.calls(100, apart=0.001)
    left = 1000 - sum(caller.behind.asked)
    assert isinstance(await caller.behind.take("project", WIDE, left), Granted)  # by another one
    await caller.calls(100, apart=0.001)
    caller.behind.asked.clear()
    answers = await caller.calls(60, apart=0.001)
    assert {type(each) for each in answers} == {Denied}
    assert caller.behind.asked == [1] * 60


async def test_requests_of_several_units_and_of_buckets_that_lend_go_straight_on() -> None:
    caller = Caller()
    lending = Rate(1000, 3600, lends=True)
    for _ in range(100):
        await caller.limiter.take("project", WIDE, 2)
        await caller.limiter.take("lent", lending)
        caller.clock.now += 0.001
    assert caller.behind.asked == [2, 1] * 100


async def test_another_rate_of_the_same_bucket_is_not_served_from_what_was_kept() -> None:
    caller = Caller(keep=timedelta(seconds=0.01))
    await caller.calls(3 * LEAST, apart=0)
    caller.behind.asked.clear()
    changed = Rate(2000, 7200)
    assert isinstance(await caller.limiter.take("project", changed), Granted)
    assert caller.behind.asked == [1]

    async def is_taken_ahead() -> bool:
        caller.clock.now += 0.01
        await at_once(3 * LEAST, lambda: caller.limiter.take("project", changed))
        return max(caller.behind.asked) > 1

    await until(is_taken_ahead)  # once what was kept of the other is over


async def test_what_was_kept_too_long_is_not_used_but_given_back() -> None:
    caller = Caller(keep=timedelta(seconds=0.01))
    await caller.calls(3 * LEAST, apart=0)
    assert max(caller.behind.asked) > 1
    caller.clock.now += 0.01
    asked = len(caller.behind.asked)
    await caller.calls(1, apart=0)
    assert len(caller.behind.asked) > asked

    async def is_returned() -> bool:
        caller.clock.now += 0.01
        return caller.behind.returned != []

    await until(is_returned)
    # All but what was used is there again, and what time refilled is not there twice.
    answer = await LocalLimiter.take(caller.behind, "project", WIDE)
    assert isinstance(answer, Granted)
    assert answer.remaining == WIDE.amount - 3 * LEAST - 2


async def test_what_time_has_refilled_is_not_given_back_once_more() -> None:
    quick = Rate(100, 1)
    caller = Caller(quick)
    await caller.calls(20, apart=0)
    kept = sum(caller.behind.asked) - 20
    assert kept > 0
    caller.clock.now += kept / 2 / 100
    await caller.limiter.close()
    assert caller.behind.returned == [pytest.approx(kept / 2)]


async def test_a_limiter_behind_that_is_away_is_away_and_asked_again() -> None:
    caller = Caller()
    await caller.calls(2 * LEAST, apart=0)
    caller.behind.is_up = False
    with pytest.raises(Unreachable):
        await caller.calls(100, apart=0)
    caller.behind.is_up = True
    caller.behind.asked.clear()
    await caller.calls(300, apart=0.001)
    assert len(caller.behind.asked) < 40
    caller.behind.is_up = False
    await caller.limiter.close()


async def test_a_process_ends_although_what_is_behind_hangs(mortal: Valkey) -> None:
    limiter = AheadLimiter(RedisLimiter(mortal.url, timeout=60 * AMPLE), clock=time.monotonic)
    for _ in range(3):
        assert all(await at_once(40, lambda: limiter.take("project", WIDE)))
    mortal.freeze()
    async with asyncio.timeout(20):
        await limiter.close()
    mortal.thaw()


busy = st.lists(
    st.tuples(st.sampled_from([0, 0.0005, 0.01, 0.3, 2]), st.integers(0, 1), st.integers(1, 40)),
    max_size=40,
)


@settings(deadline=None)
@given(st.sampled_from([8, 20, 100, 1000]), st.sampled_from([1, 7, 60]), busy)
def test_of_any_moment_no_more_is_granted_than_the_bucket_and_what_a_late_clock_would_add(
    amount: int, seconds: int, script: Sequence[tuple[float, int, int]]
) -> None:
    rate, clock = Rate(amount, seconds), Clock()
    granted_at = list[float]()

    async def play() -> None:
        bucket = Counting(clock)
        processes = [AheadLimiter(bucket, clock=clock) for _ in range(2)]
        for pause, who, calls in script:
            clock.now += pause
            granted = await at_once(calls, lambda who=who: processes[who].take("project", rate))
            granted_at.extend([clock.now] * sum(granted))
        for each in processes:
            await each.close()

    asyncio.run(play())
    late = KEEP.total_seconds()
    for first, began in enumerate(granted_at):
        for count, ended in enumerate(granted_at[first:], start=1):
            may = amount + (ended - began + late) * amount / seconds
            assert count <= may + 1e-6 * amount


# --- In Redis ------------------------------------------------------------------------------------


@pytest.fixture
async def two(redis_url: str) -> AsyncGenerator[list[Limiter]]:
    """As two processes have them."""
    both: list[Limiter] = [
        AheadLimiter(RedisLimiter(redis_url, timeout=AMPLE), clock=time.monotonic) for _ in range(2)
    ]
    yield both
    for each in both:
        await each.close()


async def test_processes_together_are_granted_what_one_bucket_holds(two: list[Limiter]) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(at_once(40, lambda one=one: one.take("project", SLOW)))
            for one in two
            for _ in range(3)
        ]
    granted = sum(sum(task.result()) for task in tasks)
    for one in two:  # what one of them may have kept
        granted += sum(await at_once(50, lambda one=one: one.take("project", SLOW)))
    assert granted == 50


async def test_what_is_not_used_is_in_redis_again_soon_and_when_a_process_ends(
    two: list[Limiter], redis: Ask
) -> None:
    one, other = two
    for _ in range(5):
        assert all(await at_once(40, lambda: one.take("project", WIDE)))

    async def used() -> float:
        ahead = redis("GET", "textback:limit:project")
        return float(ahead.split()[1]) / 1e6 / 3.6

    assert await used() > 210

    async def is_returned() -> bool:
        return await used() < 201

    await until(is_returned)
    for _ in range(5):
        assert all(await at_once(40, lambda: other.take("project", WIDE)))
    await other.close()
    assert await used() < 401
