"""A worker sends the parts of an answer one after the other."""

from dataclasses import replace
from datetime import datetime

from tests.support.deployment import second
from tests.support.doubles import CarrierDouble, EngineDouble
from tests.support.running import FOREVER, Shop
from textback.core.engine import TurnReply
from textback.core.policy import Replies
from textback.core.ports import Outgoing, Taken

ANSWER = TurnReply(texts=["One", "Two", "Three"])
WAIT = Replies().part_wait.total_seconds()


async def test_each_part_goes_at_once_when_the_one_before_was_reported(shop: Shop):
    """The clock stands still, and nobody polls: it is the receipt that wakes the worker."""
    shop.rt = replace(shop.rt, poll=FOREVER)
    shop.with_engine(EngineDouble(ANSWER))

    async with shop.working():
        await shop.until_listening()
        await shop.world.hear("Hello")
        await shop.until_said("One", "Two", "Three")

    assert shop.carrier.texts == ["One", "Two", "Three"]


async def test_without_reports_each_part_goes_a_little_later(shop: Shop):
    carrier, left = CarrierDouble(), list[tuple[str, datetime]]()

    def take(outgoing: Outgoing) -> Taken:
        left.append((outgoing.text, shop.clock.now))
        return carrier.taken()

    carrier.on_send = take
    shop.with_carrier(carrier)
    shop.with_engine(EngineDouble(ANSWER))

    async with shop.working():
        await shop.world.hear("Hello")
        for n in range(3):

            async def is_sent(parts: int = n + 1) -> bool:
                return [t.state for t in await shop.world.ours()].count("sent") == parts

            await shop.until(is_sent)
            shop.clock.now = second((n + 1) * WAIT)

    assert left == [("One", second(0)), ("Two", second(WAIT)), ("Three", second(2 * WAIT))]
