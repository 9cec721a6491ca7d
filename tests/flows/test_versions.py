"""Live conversations can be moved to another version of their agent, and no turn notices."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.deployment import NEIGHBOUR, SCRIPTED, USER, minute, second
from tests.support.world import World
from textback.core.engine import Later
from textback.core.errors import UnknownAgent
from textback.core.ids import AccountId, AgentId
from textback.core.phone import Phone
from textback.db import tables
from textback.db import thinking as thinking_rows
from textback.flows import versions
from textback.flows.versions import Moved

BOOKINGS = AgentId("bookings")
OTHER: dict[str, Any] = SCRIPTED | {"default": "Otherwise: {text}"}
REMOTE = {"kind": "http", "url": "http://127.0.0.1:9/turn", "timeout_seconds": 50}


def flow(*nodes: str) -> dict[str, Any]:
    return {
        "kind": "flow",
        "nodes": [{"id": n, "say": n, "then": nodes[0], "entry": True} for n in nodes],
    }


async def version_of(world: World, user: Phone = USER) -> tuple[int, dict[str, Any]]:
    """Of the user's live conversation: the version, and what its engine keeps."""
    t = tables.conversations
    query = select(t.c.agent_version, t.c.engine_state).where(
        t.c.user_number == user, t.c.state != "closed"
    )
    async with world.transaction() as c:
        row = (await c.execute(query)).one()
    return row.agent_version, row.engine_state


async def keep(world: World, state: dict[str, Any]) -> None:
    async with world.transaction() as c:
        await c.execute(update(tables.conversations).values(engine_state=state))


async def move(world: World, to: Any = "production", **more: Any) -> Moved:
    return await versions.move(world.db, BOOKINGS, to, **more)


async def test_a_conversation_stays_on_its_version_until_it_is_moved(world: World):
    await world.accept()
    await world.provision(agent={"engine": OTHER})
    await world.accept(user=NEIGHBOUR)
    assert ((await version_of(world))[0], (await version_of(world, NEIGHBOUR))[0]) == (1, 2)

    assert await move(world) == Moved(to=2, moved=1, began_anew=0, left=0)

    assert (await version_of(world))[0] == 2
    assert await move(world) == Moved(to=2, moved=0, began_anew=0, left=0)


async def test_only_those_of_one_version_can_be_moved_and_back(world: World):
    await world.accept()
    await world.provision(agent={"engine": OTHER})
    await world.accept(user=NEIGHBOUR)
    await world.provision(agent={"engine": SCRIPTED | {"default": "Third"}})

    assert (await move(world, from_=2)).moved == 1
    assert ((await version_of(world))[0], (await version_of(world, NEIGHBOUR))[0]) == (1, 3)

    assert (await move(world, 1)).moved == 1
    assert (await version_of(world, NEIGHBOUR))[0] == 1


async def test_closed_conversations_keep_the_version_they_were_held_with(world: World):
    first = await world.accept()
    await world.accept(now=second(1))
    await world.provision(agent={"engine": OTHER})

    assert (await move(world)).moved == 1

    t = tables.conversations
    async with world.transaction() as c:
        query = select(t.c.agent_version).where(t.c.id == first.conversation_id)
        assert await c.scalar(query) == 1


async def test_many_are_moved_in_more_than_one_transaction(world: World):
    for n in range(8):
        await world.accept(user=Phone(f"+1415555012{n}"))
    await world.provision(agent={"engine": OTHER})

    assert await move(world, at_once=3) == Moved(to=2, moved=8, began_anew=0, left=0)


# --- Turns ----------------------------------------------------------------------------------------


async def test_a_turn_that_an_engine_has_is_left_and_its_answer_counts(world: World):
    await world.accept()
    await world.hear("Hello", now=second(1))
    await world.provision(agent={"engine": OTHER})
    (thinking,) = await world.claim_turns(now=second(2))

    assert await move(world) == Moved(to=2, moved=0, began_anew=0, left=1)
    assert thinking.agent_version == (await version_of(world))[0] == 1

    assert await world.answer(thinking, "By the old version.", now=second(3)) == "answered"
    assert await move(world) == Moved(to=2, moved=1, began_anew=0, left=0)
    await world.hear("And now?", now=second(4))
    (then,) = await world.claim_turns(now=second(5))
    assert then.agent_version == 2


async def test_a_turn_whose_answer_is_to_be_posted_is_left_too(world: World):
    await world.provision(agent={"engine": REMOTE})
    await world.accept("Hello")
    await world.hear("Hello", now=second(1))
    (thinking,) = await world.claim_turns(now=second(2))
    later = Later(within=minute(9) - minute(0))
    assert await world.answer(thinking, later, now=second(3)) == "awaiting"
    await world.provision(agent={"engine": OTHER})

    assert await move(world) == Moved(to=3, moved=0, began_anew=0, left=1)


async def test_a_turn_that_waits_is_answered_by_the_new_version(world: World):
    await world.accept()
    await world.hear("Hello", now=second(1))
    await world.provision(agent={"engine": REMOTE})

    assert (await move(world)).moved == 1

    (thinking,) = await world.claim_turns(now=second(2))
    assert thinking.agent_version == 2


async def test_an_opener_is_written_by_the_version_that_it_was_promised_of(world: World):
    await world.provision(agent={"greeting": None, "engine": REMOTE})
    promised = await world.accept(None)
    await world.provision(agent={"engine": SCRIPTED})  # which cannot open

    assert await move(world) == Moved(to=1, moved=0, began_anew=0, left=1)
    (opening,) = await world.claim_turns(now=second(1))
    assert opening.agent_version == 2
    await world.answer(opening, "Good morning!", now=second(2))

    assert await move(world) == Moved(to=1, moved=1, began_anew=0, left=0)
    assert (await world.text(promised.message_id)).text == "Good morning!"


async def test_a_turn_that_is_just_being_claimed_is_of_one_version_throughout(world: World):
    await world.accept()
    await world.hear("Hello", now=second(1))
    await world.provision(agent={"engine": OTHER})

    for n in range(20):
        now = minute(5 * n + 1)
        async with asyncio.TaskGroup() as group:
            claim = group.create_task(world.claim_turns(now=now))
            moving = group.create_task(move(world, 2 if n % 2 == 0 else 1))
        # Passed over by one or the other, it is there for the next.
        (thinking,) = claim.result() or await world.claim_turns(now=now)
        assert moving.result().moved + moving.result().left in {0, 1}
        assert thinking.agent_version == (await version_of(world))[0]
        await world.answer(thinking, f"Answer {n}", now=now)
        await world.hear(f"More {n}", now=now)


async def test_moving_waits_for_a_claim_that_is_not_committed_and_leaves_its_turn(world: World):
    await world.accept()
    await world.hear("Hello", now=second(1))
    await world.provision(agent={"engine": OTHER})

    async with asyncio.TaskGroup() as group, world.transaction() as c:
        (begun,) = await thinking_rows.claim(c, now=second(2), lease=world.policy.lease, limit=10)
        moving = group.create_task(move(world))
        await world.blocked(1)

    assert moving.result() == Moved(to=2, moved=0, began_anew=0, left=1)
    assert begun.agent_version == (await version_of(world))[0] == 1


async def test_who_is_being_talked_to_elsewhere_is_passed_over_and_nobody_waits(world: World):
    await world.accept()
    await world.accept(user=NEIGHBOUR)
    await world.provision(agent={"engine": OTHER})
    t = tables.conversations
    async with world.transaction() as c:
        await c.execute(select(t.c.id).where(t.c.user_number == USER).with_for_update())
        async with asyncio.timeout(10):
            assert await move(world) == Moved(to=2, moved=1, began_anew=0, left=1)
    assert await move(world) == Moved(to=2, moved=1, began_anew=0, left=0)


# --- What the engine kept -------------------------------------------------------------------------


async def test_what_the_engine_kept_stays_with_an_engine_of_the_same_kind(world: World):
    await world.accept()
    await keep(world, {"summary": "so far"})
    await world.provision(agent={"engine": OTHER})

    assert (await move(world)).began_anew == 0

    assert await version_of(world) == (2, {"summary": "so far"})


async def test_an_engine_of_another_kind_begins_anew(world: World):
    await world.accept()
    await keep(world, {"summary": "so far"})
    await world.provision(agent={"engine": REMOTE})

    assert await move(world) == Moved(to=2, moved=1, began_anew=1, left=0)

    assert await version_of(world) == (2, {})


@pytest.mark.parametrize(("node", "began_anew"), [("ask", 0), ("gone", 1)])
async def test_a_flow_goes_on_at_its_node_if_that_is_still_there(
    world: World, node: str, began_anew: int
):
    await world.provision(agent={"engine": flow("start", "ask", "gone")})
    await world.accept()
    state = {"node": node, "variables": {"day": "Monday"}}
    await keep(world, state)
    await world.provision(agent={"engine": flow("start", "ask", "new")})

    assert (await move(world)).began_anew == began_anew

    assert (await version_of(world))[1] == state  # the flow itself knows what to make of it


# --- Who and where to -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "to", "more", "sentence"),
    [
        ("nobody", "production", {}, 'There is no agent "nobody".'),
        ("book\x00ings", "production", {}, 'There is no agent "book\x00ings".'),
        ("bookings", "draft", {}, 'Agent "bookings" has no draft.'),
        ("bookings", 7, {}, 'Agent "bookings" has no version 7.'),
        ("bookings", 0, {}, 'Agent "bookings" has no version 0.'),
        ("bookings", 2**40, {}, f'Agent "bookings" has no version {2**40}.'),
        ("bookings", 1, {"from_": 7}, 'Agent "bookings" has no version 7.'),
        ("bookings", 1, {"account": AccountId("globex")}, 'There is no agent "bookings".'),
    ],
)
async def test_what_is_not_there_is_said(
    world: World, agent: str, to: Any, more: Any, sentence: str
):
    with pytest.raises(UnknownAgent) as refused:
        await versions.move(world.db, AgentId(agent), to, **more)
    assert refused.value.sentence == sentence
