"""Who erases a user dies at every point, and erases them again."""

from sqlalchemy import text

from tests.support.aftermath import user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import hour, key, second
from tests.support.doubles import CarrierDouble
from tests.support.world import World
from textback.flows import user_data


async def test_what_is_begun_is_finished_and_nobody_is_texted_meanwhile(
    world: World, doomed: World
):
    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        over = await world.accept("Zero", user=user, idempotency=key(f"a{n}", route=f"/{n}"))
        await world.send()
        await world.end(over.conversation_id)
        flying = await world.accept("One", user=user, now=second(1))
        (job,) = await world.claim(now=second(1))
        await world.say(flying.conversation_id, "Two", now=second(1))

        await mortal.run(user_data.erase_user(doomed.db, user, None, now=second(2)))
        done = await user_data.erase_user(world.db, user, None, now=second(3))
        assert len(done.in_the_way) == 1
        assert [talk.id for talk in await world.talks()] == [flying.conversation_id]
        await world.record(job, await world.hand_over(job, now=second(4)), now=second(4))
        carrier = CarrierDouble()
        await world.send_all(now=hour(1), carrier=carrier)
        assert carrier.sent == []

        assert (await user_data.erase_user(world.db, user, None, now=hour(1))).in_the_way == []
        assert await world.talks() == []
        async with world.transaction() as c:
            assert await c.scalar(text("select count(*) from idempotency_keys")) == 0

    await at_every_point(doomed.db, story, more_than=9)
