"""Who accepts a caller's text dies at every point; the caller asks again, and it is there once.

That what is accepted is sent once is shown in `test_sending.py`.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.support import plans
from tests.support.aftermath import Aftermath, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import AGENT, HTTP, key, second
from tests.support.world import World
from textback.core.phone import Phone


@pytest.mark.parametrize("number", [AGENT, None])
async def test_a_text_is_accepted_once_under_its_key(
    world: World, doomed: World, number: Phone | None
):
    async def story(mortal: Mortal, n: int) -> None:
        user, name = user_of(n), key(f"key {n}")
        before = await world.accept("Before.", user=user)
        first = await mortal.run(
            doomed.accept("One.", user=user, agent_number=number, idempotency=name, now=second(1))
        )
        again = await world.accept(
            "One.", user=user, agent_number=number, idempotency=name, now=second(5)
        )
        assert first is None or again == replace(first, replayed=True)
        ours = await world.ours(user=user)
        assert [(t.text, t.state) for t in ours] == [("Before.", "queued"), ("One.", "queued")]
        assert ours[-1].id == again.message_id
        assert (await world.talk(before.conversation_id)).reason == "superseded"
        assert [t.id for t in await world.live(user=user)] == [again.conversation_id]
        assert await world.events(again.conversation_id) == ["conversation.opened"]
        await Aftermath(world).nothing_is_open()

    await at_every_point(doomed.db, story, more_than=14)


async def test_an_opener_is_promised_once_under_its_key(world: World, doomed: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})

    async def story(mortal: Mortal, n: int) -> None:
        user, name = user_of(n), key(f"key {n}")
        await mortal.run(doomed.accept(None, user=user, idempotency=name))
        again = await world.accept(None, user=user, idempotency=name, now=second(5))
        (promise,) = await world.ours(user=user)
        assert (promise.id, promise.state, promise.text) == (again.message_id, "queued", "")
        turns = [t for t in await world.turns() if t.conversation_id == again.conversation_id]
        assert [t.state for t in turns] == ["waiting"]
        await Aftermath(world).nothing_is_open()

    await at_every_point(doomed.db, story, more_than=12)


@pytest.mark.parametrize("words", ["More.", None])
async def test_a_send_that_goes_on_is_accepted_once_under_its_key(
    world: World, doomed: World, words: str | None
):
    async def story(mortal: Mortal, n: int) -> None:
        user, name = user_of(n), key(f"key {n}")
        more: Any = {"user_number": user, "text": words, "thread": "resume", "idempotency": name}
        opened = await world.accept("One.", user=user)
        first = await mortal.run(plans.send(doomed, **more, now=second(1)))
        again = await plans.send(world, **more, now=second(5))
        assert first is None or again == replace(first, replayed=True)
        assert (again.conversation_id, again.resumed) == (opened.conversation_id, True)
        said = [t.text for t in await world.ours(user=user)]
        assert said == (["One."] if words is None else ["One.", words])
        turns = [t for t in await world.turns() if t.conversation_id == opened.conversation_id]
        assert [t.state for t in turns] == (["waiting"] if words is None else [])
        await Aftermath(world).nothing_is_open()

    await at_every_point(doomed.db, story, more_than=3)
