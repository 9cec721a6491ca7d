"""A worker thinks no further of what a person has taken over, nor of what was ended."""

from dataclasses import replace

import pytest

from tests.support.running import Shop
from tests.worker.test_restart import HOURS, Slow, begin


@pytest.mark.parametrize("act", ["hand off", "end"])
async def test_a_thought_is_ended_when_somebody_takes_the_conversation_from_the_agent(
    shop: Shop, act: str
):
    engine = Slow()
    shop.rt = replace(shop.rt, poll=HOURS)  # so that it is told, and does not happen to look
    await begin(shop, engine)

    async with shop.working():
        await shop.until_listening()
        await engine.gate.reached.wait()
        (talk,) = await shop.world.talks()
        await (shop.world.hand_off if act == "hand off" else shop.world.end)(talk.id)

        async def ended() -> bool:
            return bool(engine.ended)

        await shop.until(ended)

    assert engine.ended == ["CancelledError"]
    assert [found.outcome for found in await shop.world.turns()] == ["dropped"]
    assert await shop.world.ours() == []


async def test_a_resumed_agent_is_asked_anew_and_answers_at_once(shop: Shop):
    engine = Slow()
    await begin(shop, engine)

    async with shop.working():
        await engine.gate.reached.wait()
        (talk,) = await shop.world.talks()
        await shop.world.hand_off(talk.id)
        await shop.world.hear("two")
        await shop.world.resume(talk.id, reply=True)
        await shop.until_said("To one and two")

    assert len(await shop.world.ours()) == 1
