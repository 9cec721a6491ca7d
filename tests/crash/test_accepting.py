"""Who accepts a caller's text dies at every point; the caller asks again, and it is sent once."""

import pytest

from tests.support.aftermath import Aftermath, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import AGENT, HTTP, key, second
from tests.support.world import World
from textback.core.phone import Phone


@pytest.mark.parametrize("number", [AGENT, None])
async def test_a_text_is_accepted_once_under_its_key(
    world: World, doomed: World, number: Phone | None
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, name = user_of(n), key(f"key {n}")
        before = await world.accept("Before.", user=user)
        first = await mortal.run(
            doomed.accept("One.", user=user, agent_number=number, idempotency=name, now=second(1))
        )
        again = await world.accept(
            "One.", user=user, agent_number=number, idempotency=name, now=second(5)
        )
        if first is not None:
            assert again.message_id == first.message_id
        await others.go_on()
        await others.check(user, took=["Before.", "One."])
        assert (await world.talk(before.conversation_id)).reason == "superseded"
        assert [t.id for t in await world.live(user=user)] == [again.conversation_id]

    await at_every_point(doomed.db, story, more_than=15)


async def test_an_opener_is_promised_once_under_its_key(world: World, doomed: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, name = user_of(n), key(f"key {n}")
        await mortal.run(doomed.accept(None, user=user, idempotency=name))
        await world.accept(None, user=user, idempotency=name, now=second(5))
        await others.go_on()
        await others.check(user, took=["You said nothing."])

    await at_every_point(doomed.db, story, more_than=15)
