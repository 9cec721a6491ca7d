"""What is due at the same time is opened together; the unusual goes alone and stops no other."""

import asyncio

from structlog.testing import capture_logs

from tests.support.deployment import ACME, AGENT, GREETING, HTTP, NOW, SECOND, hour, number
from tests.support.plans import (
    batch_turns,
    create,
    id_of,
    plan_of,
    progress,
    send,
    singles,
    take_turn,
    told,
    user,
)
from tests.support.world import World
from textback.core.batch import Row
from textback.core.commands import AgentChoice
from textback.core.phone import Phone
from textback.db import locks
from textback.flows import due
from textback.flows.due import Turn

DUE = hour(1)


async def commits(world: World, *users: Phone) -> int:
    """By how many the texts of these users were stored."""
    async with world.transaction() as c:
        found = await c.exec_driver_sql(
            "select count(distinct xmin::text) from messages where user_number = any($1)"
            " and text <> 'Before.'",
            (list(users),),
        )
        return int(found.scalar_one())


async def test_of_a_mixed_turn_the_usual_ones_share_a_commit_and_each_has_its_own_fate(
    world: World,
):
    before = await world.accept("Before.", user=user(2))
    gone_on = await world.accept("Before.", user=user(5))
    await world.hear("STOP", user=user(3))
    plain = await send(world, user_number=user(1), send_at=DUE)
    anew = await send(world, user_number=user(2), send_at=DUE)
    out = await send(world, user_number=user(3), send_at=DUE)
    gone = await send(world, user_number=user(4), send_at=DUE, agent_number=SECOND)
    resumed = await send(world, user_number=user(5), send_at=DUE, thread="resume")
    late = await send(world, user_number=user(6), send_at=NOW.replace(microsecond=1))
    greeting = await send(world, user_number=user(7), send_at=DUE, text=None)
    once = await send(world, user_number=user(1), text="And once more.", send_at=DUE)
    await world.provision(numbers=[number(AGENT)], prune=True)

    assert sorted(await singles(world, now=hour(4.5))) == ["accepted"] * 6 + ["refused"] * 2

    assert await commits(world, user(2), user(7)) == 1
    assert [t.text for t in await world.texts(user=user(1))] == [
        "See you at 3pm.",
        "And once more.",
    ]
    assert (await world.talk(plain.conversation_id)).reason == "superseded"
    assert (await world.talk(before.conversation_id)).reason == "superseded"
    for each in (anew, greeting, once):
        assert (await world.talk(each.conversation_id)).state == "opened"
        assert (await plan_of(world, each)).state == "accepted"
    assert (await world.text(id_of(greeting))).text == GREETING
    assert await world.events(anew.conversation_id) == ["conversation.opened"]
    assert await world.state(id_of(out)) == "suppressed"
    assert (await plan_of(world, resumed)).conversation_id == gone_on.conversation_id
    refused = [data for kind, data in await told(world) if kind == "send.refused"]
    assert {(data["id"], data["problem"]) for data in refused} == {
        (id_of(gone), "NumberNotProvisioned"),
        (id_of(late), "Expired"),
    }
    assert await singles(world, now=hour(4.5)) == []


async def test_who_is_in_somebody_elses_hands_holds_up_nobody_of_the_turn(world: World):
    users = [user(n) for n in range(5)]
    made = await create(world, users, text="Hi.")
    (turn,), _ = await due.claim_batches(world.db, limit=1, now=NOW)
    async with world.transaction() as c:
        await locks.pair(c, AGENT, users[0])
        sending = asyncio.create_task(take_turn(world, turn, now=NOW))
        await world.blocked(1)
        assert await progress(world, made.batch.id, now=NOW) == {
            "planned": 1,
            "accepted": 4,
            "queued": 4,
        }
    assert await sending == ["accepted"] * 5


async def test_rows_without_a_number_keep_the_one_that_their_user_knows(world: World):
    known = [user(n) for n in range(4)]
    for each in known:
        await world.accept("Before.", user=each, agent_number=SECOND)
    others = [user(n) for n in range(10, 20)]
    await create(world, [*known, *others], text="Hi.", agent_number=None)
    assert await batch_turns(world, now=NOW) == [["accepted"] * 14]
    assert await commits(world, *known, *others) == 1
    for each in known:
        assert {text.agent_number for text in await world.texts(user=each)} == {SECOND}
    used = [text.agent_number for each in others for text in await world.texts(user=each)]
    assert set(used) == {AGENT, SECOND}


async def test_a_turn_is_longer_where_rows_go_together(world: World):
    await create(world, [user(n) for n in range(due.TURN + 3)], text="Hi.")
    assert [len(turn) for turn in await batch_turns(world, now=NOW)] == [due.TURN]
    assert [len(turn) for turn in await batch_turns(world, now=NOW)] == [3]

    await world.provision(agent={"greeting": None, "engine": HTTP})
    await create(world, [user(n) for n in range(due.ALONE + 2)], text=None)
    assert [len(turn) for turn in await batch_turns(world, now=NOW)] == [due.ALONE]
    assert [len(turn) for turn in await batch_turns(world, now=NOW)] == [2]


async def test_what_cannot_be_read_or_stored_stops_no_other(world: World):
    """A plan may have been written by a release that knew other commands."""
    strange = await send(world, user_number=user(1), send_at=DUE)
    unstorable = await send(world, user_number=user(2), send_at=DUE)
    good = [await send(world, user_number=user(n), send_at=DUE) for n in range(3, 6)]
    taken = await world.accept("Somebody has this id.", user=user(9))
    async with world.transaction() as c:
        for column, value, plan in (
            ("command", "'{}'", strange),
            ("conversation_id", f"'{taken.conversation_id}'", unstorable),
        ):
            await c.exec_driver_sql(
                f"update planned_sends set {column} = {value} where id = '{id_of(plan)}'"  # noqa: S608
            )

    with capture_logs():
        assert await singles(world, now=DUE) == ["failed", "failed", *["accepted"] * 3]

    for each in good:
        assert await world.state(id_of(each)) == "queued"
    # What failed once holds back nobody again: it is tried alone.
    later = [await send(world, user_number=user(n), send_at=DUE) for n in range(6, 8)]
    at = hour(1.1)
    with capture_logs() as logged:
        assert await singles(world, now=at) == ["accepted", "accepted", "failed", "failed"]
    assert [each["event"] for each in logged] == ["plan.failed"] * 2
    assert await commits(world, user(6), user(7)) == 1
    for each in later:
        assert (await plan_of(world, each)).state == "accepted"


async def test_a_batch_whose_agent_is_gone_is_refused_row_by_row_in_one_turn(world: World):
    made = await create(
        world, [Row(to=user(n)) for n in range(15)], text="Hi.", agent=AgentChoice(version=1)
    )
    async with world.transaction() as c:
        await c.exec_driver_sql(
            "update batches set command = jsonb_set(command, '{agent,version}', '99')"
        )
    assert await batch_turns(world, now=NOW) == [["refused"] * 15]
    told_of = [data for kind, data in await told(world) if kind == "send.refused"]
    assert sorted(data["row"] for data in told_of) == list(range(1, 16))
    assert {(data["problem"], data["batch_id"]) for data in told_of} == {
        ("UnknownAgent", made.batch.id)
    }
    assert await take_turn(world, Turn(account_id=ACME, batch_id=None), now=NOW) == []
