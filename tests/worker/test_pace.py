"""A number's pace holds over all workers; whoever is oldest goes first, also a long text."""

import asyncio
import time
from dataclasses import replace

from sqlalchemy import text

from tests.support.deployment import AGENT, number
from tests.support.doubles import CarrierDouble
from tests.support.limits import AMPLE
from tests.support.running import Shop
from textback import wiring
from textback.core import segments
from textback.core.phone import Phone
from textback.core.ports import Outgoing, Taken
from textback.db.session import transaction
from textback.limiter import RedisLimiter

PACE = 10
LONG = "long " * 230
"""Eight segments."""


async def test_several_workers_keep_the_pace_together_and_let_a_long_text_go_in_its_turn(
    shop: Shop, redis_url: str
):
    # A long text waited for a full bucket, which short ones in other workers kept emptying.
    world = shop.world
    await world.provision(numbers=[number(AGENT, segments_per_second=PACE)])
    assert segments.count(LONG) == 8
    carrier, left = CarrierDouble(), list[tuple[float, str]]()

    def sent(outgoing: Outgoing) -> Taken:
        left.append((time.monotonic(), outgoing.text))
        return carrier.taken()

    carrier.on_send = sent
    shop.with_carrier(carrier)
    limiters = [RedisLimiter(redis_url, timeout=AMPLE) for _ in range(2)]
    shop.rt = replace(shop.rt, now=wiring.clock, steady=time.monotonic)
    texts = ["short"] * 12 + [LONG] + ["short"] * 20
    for n, words in enumerate(texts):
        user = Phone(f"+1415558{n:04}")
        await world.accept(words, user=user, agent_number=AGENT, now=wiring.clock())
    base = shop.rt

    async def all_sent() -> bool:
        return len(left) == len(texts)

    shop.rt = replace(base, pace=limiters[0])
    async with shop.working(concurrency=4):
        shop.rt = replace(base, pace=limiters[1])
        async with shop.working(concurrency=4):
            await shop.until(all_sent)
            await asyncio.sleep(0)
    for limiter in limiters:
        await limiter.close()

    units = [(at, segments.count(text)) for at, text in left]
    late = 0.25  # between the token and the carrier, on a busy machine
    for first in range(len(units)):
        for last in range(first, len(units)):
            window = units[last][0] - units[first][0] + late
            # A second's worth at once, and one text that was longer than what was left.
            assert sum(n for _, n in units[first : last + 1]) <= PACE * (1 + window) + 7
    place = [text for _, text in left].index(LONG)
    assert place <= 12 + 8  # those that had been claimed with it may be before it


async def test_next_to_nothing_is_claimed_in_vain(shop: Shop, redis_url: str):
    # A backlog of sixty on a slow number told of nine hundred claims, and of as many returns.
    world = shop.world
    await world.provision(numbers=[number(AGENT, segments_per_second=PACE)])
    carrier = CarrierDouble()
    shop.with_carrier(carrier)
    limiter = RedisLimiter(redis_url, timeout=AMPLE)
    shop.rt = replace(shop.rt, now=wiring.clock, steady=time.monotonic, pace=limiter)
    many = 3 * PACE
    for n in range(many):
        user = Phone(f"+1415558{n:04}")
        await world.accept(user=user, agent_number=AGENT, now=wiring.clock())

    async def all_sent() -> bool:
        return len(carrier.sent) == many

    async with shop.working(concurrency=32):
        await shop.until(all_sent)
    await limiter.close()
    async with transaction(world.db) as c:
        claims = await c.scalar(text("select count(*) from events where kind = 'message.sending'"))
    assert many <= claims <= many * 1.2
