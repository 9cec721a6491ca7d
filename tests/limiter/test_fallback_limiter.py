import asyncio

from tests.support.limits import AMPLE, SLOW, Clock, at_once
from tests.support.valkey import Valkey
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ports import Unreachable
from textback.limiter import FallbackLimiter, LocalLimiter, RedisLimiter


class Primary:
    """Grants, or is unreachable when told so; counts who asks."""

    def __init__(self) -> None:
        self.is_up = True
        self.asked = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        await self._ask()
        return Granted(remaining=int(rate.amount - units), reset=len(key))

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:  # noqa: ARG002
        await self._ask()

    async def close(self) -> None:
        self.is_up = False

    async def _ask(self) -> None:
        self.asked += 1
        is_up = self.is_up
        await self.hold.wait()
        if not is_up:
            raise Unreachable


class Fallback:
    """A FallbackLimiter and all it was made of."""

    def __init__(self) -> None:
        self.primary = Primary()
        self.clock = Clock()
        self.changes: list[bool] = []
        self.limiter = FallbackLimiter(
            self.primary,
            LocalLimiter(self.clock),
            on_change=self.changes.append,
            clock=self.clock,
        )

    async def take(self) -> Granted | Denied:
        return await self.limiter.take("project", Rate(3, 60))


async def test_while_redis_answers_it_decides() -> None:
    fallback = Fallback()
    assert all(await at_once(10, fallback.take))  # locally it would be three
    await fallback.limiter.give_back("project", Rate(3, 60))
    assert fallback.primary.asked == 11
    assert fallback.changes == []


async def test_while_redis_is_away_the_local_limit_holds_and_the_loss_is_told_once() -> None:
    fallback = Fallback()
    fallback.primary.is_up = False
    assert [isinstance(await fallback.take(), Granted) for _ in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    await fallback.limiter.give_back("project", Rate(3, 60))
    assert isinstance(await fallback.take(), Granted)
    assert fallback.changes == [True]


async def test_a_dead_redis_is_asked_once_a_second_by_one_request() -> None:
    fallback = Fallback()
    fallback.primary.is_up = False
    await fallback.take()
    assert fallback.primary.asked == 1
    fallback.clock.now += 0.99
    await at_once(5, fallback.take)
    assert fallback.primary.asked == 1
    fallback.clock.now += 0.02
    await at_once(5, fallback.take)
    assert fallback.primary.asked == 2
    assert fallback.changes == [True]


async def test_nobody_waits_for_the_one_that_asks_a_dead_redis() -> None:
    fallback = Fallback()
    fallback.primary.is_up = False
    await fallback.take()
    fallback.clock.now += 2
    fallback.primary.hold.clear()
    asking = asyncio.create_task(fallback.take())
    await asyncio.sleep(0)
    assert isinstance(await asyncio.wait_for(fallback.take(), 5), Granted)
    assert not asking.done()
    fallback.primary.hold.set()
    await asking
    assert fallback.primary.asked == 2


async def test_a_redis_that_is_back_is_used_again_and_told_once() -> None:
    fallback = Fallback()
    fallback.primary.is_up = False
    await fallback.take()
    fallback.primary.is_up = True
    fallback.clock.now += 1
    assert all(await at_once(10, fallback.take))
    assert fallback.changes == [True, False]
    fallback.primary.is_up = False
    await fallback.limiter.give_back("project", Rate(3, 60))
    fallback.primary.is_up = True
    fallback.clock.now += 1
    await fallback.limiter.give_back("project", Rate(3, 60))
    assert fallback.changes == [True, False, True, False]


async def test_an_answer_that_was_on_its_way_when_redis_was_lost_does_not_prove_it_back() -> None:
    fallback = Fallback()
    fallback.primary.hold.clear()
    early = asyncio.create_task(fallback.take())
    await asyncio.sleep(0)
    held, fallback.primary.hold = fallback.primary.hold, asyncio.Event()
    fallback.primary.hold.set()
    fallback.primary.is_up = False
    await fallback.take()
    assert fallback.changes == [True]
    held.set()
    await early
    assert fallback.changes == [True]
    fallback.primary.is_up = True
    await fallback.take()
    assert fallback.primary.asked == 2


async def test_who_closes_it_while_redis_is_lost_leaves_nothing_behind() -> None:
    fallback = Fallback()
    before = asyncio.all_tasks()
    fallback.primary.is_up = False
    await fallback.take()
    assert asyncio.all_tasks() != before
    await fallback.limiter.close()
    assert asyncio.all_tasks() == before


async def test_a_quota_outlives_the_death_of_redis_and_its_return(mortal: Valkey) -> None:
    clock, changes = Clock(), list[bool]()
    limiter = FallbackLimiter(
        RedisLimiter(mortal.url, timeout=AMPLE),
        LocalLimiter(clock),
        on_change=changes.append,
        clock=clock,
    )
    assert sum(await at_once(60, lambda: limiter.take("project", SLOW))) == 50
    mortal.kill()
    assert sum(await at_once(60, lambda: limiter.take("project", SLOW))) == 50
    mortal.start()
    clock.now += 1
    assert isinstance(await limiter.take("project", SLOW), Granted)
    assert changes == [True, False]
    await limiter.close()
