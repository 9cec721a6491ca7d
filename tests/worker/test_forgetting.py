"""A worker forgets what projects do not keep, piece after piece, and rests in between."""

from datetime import timedelta
from itertools import count

from prometheus_client import REGISTRY

from tests.support.deployment import NOW
from tests.support.plans import user
from tests.support.running import Shop
from textback.worker.forgetting import REST, Forgetting

LATER = NOW + timedelta(days=8)


def forgotten(what: str) -> float:
    return REGISTRY.get_sample_value("textback_forgotten_total", {"what": what}) or 0


async def close_some(shop: Shop, how_many: int) -> None:
    await shop.world.provision(project={"retention_days": 7})
    for n in range(how_many):
        accepted = await shop.world.accept(user=user(n))
        await shop.world.send_all()
        await shop.world.end(accepted.conversation_id)


async def test_what_is_past_its_time_goes_while_a_worker_runs(shop: Shop) -> None:
    await close_some(shop, 3)
    before = forgotten("conversations"), forgotten("texts")
    shop.clock.now = LATER

    async def is_gone() -> bool:
        return await shop.world.talks() == []

    async with shop.working():
        await shop.until(is_gone)
        await shop.until(_counted(before))


def _counted(before: tuple[float, float]):
    async def is_counted() -> bool:
        now = forgotten("conversations"), forgotten("texts")
        return (now[0] - before[0], now[1] - before[1]) == (3, 3)

    return is_counted


async def test_after_each_piece_it_rests_three_times_as_long_as_that_took(shop: Shop) -> None:
    await close_some(shop, 3)
    shop.clock.now = LATER
    ticks = count()
    worker = Forgetting(shop.rt, clock=lambda: float(next(ticks)), at_once=2)
    rested = LATER + timedelta(seconds=REST)
    assert [await worker.step(1) for _ in range(3)] == [((), rested), ((), None), ((), None)]
    assert await shop.world.talks() == []
