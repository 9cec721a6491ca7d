"""A worker whose every text is answered at once, by a machine, falls silent."""

from datetime import timedelta

from tests.support.doubles import CarrierDouble, EngineDouble
from tests.support.running import Shop
from textback.core.ports import Outgoing, Taken


async def test_a_machine_that_answers_everything_gets_its_budget_of_replies_and_no_more(shop: Shop):
    world, clock, carrier = shop.world, shop.clock, CarrierDouble()

    async def machine(outgoing: Outgoing) -> Taken:
        clock.now += timedelta(seconds=7)
        await world.hear(f"You said: {outgoing.text} {len(carrier.sent)}", now=clock.now)
        return carrier.taken()

    await world.provision(project={"reply_budget": {"replies": 6, "per_seconds": 3600}})
    carrier.on_send = machine
    shop.with_carrier(carrier)
    shop.with_engine(EngineDouble("Interesting, tell me more."))

    async def silent() -> bool:
        clock.now += timedelta(seconds=1)  # time goes on, or a breather would never end
        return [talk.state for talk in await world.talks()] == ["paused"]

    async with shop.working():
        await world.hear("Hello", now=clock.now)
        await shop.until(silent)
        (talk,) = await world.talks()
        assert talk.paused_until is not None
        clock.now = talk.paused_until

        async def resumed() -> bool:
            return [talk.state for talk in await world.talks()] == ["engaged"]

        await shop.until(resumed)

    assert len(carrier.sent) == 6
    assert {turn.state for turn in await world.turns()} == {"ended"}
