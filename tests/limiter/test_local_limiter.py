from tests.support.limits import Clock, at_once
from textback.core.gcra import Denied, Granted, Rate
from textback.limiter import LocalLimiter


async def test_in_memory_a_bucket_is_the_same_bucket() -> None:
    clock = Clock()
    limiter = LocalLimiter(clock)
    assert sum(await at_once(150, lambda: limiter.take("project", Rate(100, 60)))) == 100
    clock.now += 6
    assert sum(await at_once(150, lambda: limiter.take("project", Rate(100, 60)))) == 10
    await limiter.give_back("project", Rate(100, 60), 3)
    assert sum(await at_once(150, lambda: limiter.take("project", Rate(100, 60)))) == 3
    await limiter.give_back("nobody", Rate(100, 60), 3)
    assert sum(await at_once(150, lambda: limiter.take("nobody", Rate(100, 60)))) == 100


async def test_in_memory_the_bucket_not_asked_for_longest_is_forgotten_first() -> None:
    limiter = LocalLimiter(Clock(), max_keys=2)
    once = Rate(1, 60)
    for key in ("a", "b", "a", "c"):  # "a" was asked for after "b"
        await limiter.take(key, once)
    assert isinstance(await limiter.take("a", once), Denied)
    assert isinstance(await limiter.take("c", once), Denied)
    assert isinstance(await limiter.take("b", once), Granted)
