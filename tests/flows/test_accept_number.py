"""Which number a user is texted from when the caller names none (D10 to D12)."""

import asyncio

import pytest

from tests.support.deployment import AGENT, DEV, NEIGHBOUR, SECOND, caller, number, second
from tests.support.world import World
from textback.core.commands import Caller
from textback.core.errors import NoNumber
from textback.core.phone import Phone

BRITISH = Phone("+447700900123")
BRITON = Phone("+447700900456")


async def picked(world: World, user: Phone, *, at: float = 0, by: Caller | None = None) -> Phone:
    accepted = await world.accept(user=user, agent_number=None, by=by, now=second(at))
    return (await world.talk(accepted.conversation_id)).agent_number


async def test_a_user_is_texted_from_the_number_they_know(world: World):
    await world.accept(agent_number=SECOND, user=NEIGHBOUR)
    for n in range(3):  # which makes it the busier one
        await world.accept(agent_number=SECOND, user=Phone(f"+1415555020{n}"))

    assert await picked(world, NEIGHBOUR, at=1) == SECOND


async def test_the_number_a_user_knows_is_the_last_one_they_were_texted_from(world: World):
    await world.accept(agent_number=SECOND, user=NEIGHBOUR)
    await world.accept(agent_number=AGENT, user=NEIGHBOUR, now=second(1))

    assert await picked(world, NEIGHBOUR, at=2) == AGENT


async def test_who_wrote_to_us_first_is_texted_from_the_number_they_wrote_to(world: World):
    await world.hear("Hello", agent_number=SECOND, user=NEIGHBOUR)

    assert await picked(world, NEIGHBOUR, at=1) == SECOND


async def test_a_known_number_of_another_environment_is_not_picked(world: World):
    await world.accept(agent_number=DEV, user=NEIGHBOUR)

    assert await picked(world, NEIGHBOUR, at=1) in {AGENT, SECOND}


async def test_a_known_number_that_was_removed_is_not_picked(world: World):
    await world.accept(agent_number=SECOND, user=NEIGHBOUR)
    await world.provision(numbers=[number(AGENT)], prune=True)

    assert await picked(world, NEIGHBOUR, at=1) == AGENT


async def test_a_number_of_the_users_country_is_preferred(world: World):
    await world.provision(numbers=[number(AGENT), number(BRITISH)])

    assert await picked(world, BRITON) == BRITISH
    assert await picked(world, NEIGHBOUR) == AGENT


async def test_the_number_with_the_least_to_send_is_picked(world: World):
    await world.accept(agent_number=AGENT, user=Phone("+14155550201"))
    await world.accept(agent_number=AGENT, user=Phone("+14155550202"))
    await world.accept(agent_number=SECOND, user=Phone("+14155550203"))

    assert await picked(world, NEIGHBOUR, at=1) == SECOND


async def test_a_faster_number_counts_as_less_loaded(world: World):
    await world.provision(
        numbers=[number(AGENT, segments_per_second=10), number(SECOND, segments_per_second=1)]
    )
    for n in range(5):
        await world.accept(agent_number=AGENT, user=Phone(f"+1415555020{n}"))
    await world.accept(agent_number=SECOND, user=Phone("+14155550209"))

    assert await picked(world, NEIGHBOUR, at=1) == AGENT


async def test_idle_numbers_take_turns(world: World):
    users = [Phone(f"+1415555020{n}") for n in range(4)]
    used = list[Phone]()
    for n, user in enumerate(users):
        used.append(await picked(world, user, at=n))
        await world.send_all(now=second(n))

    assert used[:2] == used[2:]
    assert set(used) == {AGENT, SECOND}


async def test_only_numbers_of_the_callers_environment_are_picked(world: World):
    assert await picked(world, NEIGHBOUR, by=caller("dev")) == DEV


async def test_an_environment_without_numbers_has_none_to_pick(world: World):
    with pytest.raises(NoNumber):
        await world.accept(agent_number=None, by=caller("sandbox"))

    assert await world.talks() == []


async def test_concurrent_texts_to_a_new_user_all_come_from_one_number(world: World):
    async with asyncio.TaskGroup() as group:
        sends = [group.create_task(picked(world, NEIGHBOUR)) for _ in range(8)]

    assert len({send.result() for send in sends}) == 1
    assert len(await world.live()) == 1
