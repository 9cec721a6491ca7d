"""After a restore: what may have been said in the time that was lost is not said again."""

from collections.abc import AsyncGenerator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows
from tests.support.deployment import NEIGHBOUR, USER, hour
from tests.support.world import World
from textback.flows import restored
from textback.flows.restored import Doubted


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision()
    yield made
    await made.close()


async def doubt(world: World, *, hours: float = 0, hand_off: bool = True) -> Doubted:
    return await restored.doubt(world.db, policy=world.policy, hand_off=hand_off, now=hour(hours))


async def states(engine: AsyncEngine) -> dict[str, str]:
    found = await rows(engine, "select user_number, state from conversations")
    return {str(row["user_number"]): str(row["state"]) for row in found}


async def test_an_answer_that_was_due_is_not_given_and_other_conversations_go_on(
    world: World, engine: AsyncEngine
) -> None:
    for user in (USER, NEIGHBOUR):
        await world.accept(user=user)
    await world.send_all()
    await world.hear("Hello?")

    assert await doubt(world) == Doubted(texts=0, handed_off=1, plans=0)
    assert await world.claim_turns(now=hour(1)) == []
    assert await states(engine) == {USER: "handed_off", NEIGHBOUR: "opened"}
    assert await doubt(world) == Doubted(texts=0, handed_off=0, plans=0)


async def test_a_deadline_that_passed_meanwhile_warns_nobody(
    world: World, engine: AsyncEngine
) -> None:
    await world.accept()
    await world.send_all()
    assert (await doubt(world, hours=99, hand_off=False)).handed_off == 0
    assert await states(engine) == {USER: "opened"}

    assert (await doubt(world, hours=99)).handed_off == 1
    before = len(await world.ours())
    await world.expire(now=hour(100))
    assert len(await world.ours()) == before
