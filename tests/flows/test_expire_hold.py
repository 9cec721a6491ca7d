"""Time ends no conversation over a silence in which a reply may have been lost, or is coming in."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from tests.support.deployment import AGENT, NEIGHBOUR, NUMBERS, SECOND, USER, hour, minute
from tests.support.doubles import CarrierDouble
from tests.support.world import World
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.core.ports import Inbound
from textback.db import locks
from textback.db.session import transaction
from textback.flows import expire
from textback.flows.expire import Hold

DAY = hour(24)
SAME_ID = text(
    "insert into messages (id, carrier_message_id, conversation_id, project_id, carrier_id,"
    " agent_number, user_number, direction, state, kind, text, created_at) select 'other', :sid,"
    " conversation_id, project_id, carrier_id, agent_number, user_number, direction, state, kind,"
    " text, created_at from messages where direction = 'inbound' limit 1"
)


async def engaged(
    world: World, *, user: Phone = USER, agent_number: Phone = AGENT
) -> ConversationId:
    heard = await world.hear("Hello", user=user, agent_number=agent_number)
    await world.think()
    assert heard.conversation_id is not None
    return heard.conversation_id


async def swept(world: World, number: Phone, until: datetime) -> None:
    async with transaction(world.db) as c:
        await c.execute(
            text("update numbers set swept_until = :until where number = :number"),
            {"until": until, "number": number},
        )


def hold(at: datetime, *, over_if_due_by: datetime | None = None) -> Hold:
    """As a worker holds that sweeps each minute."""
    return Hold(swept_since=at - timedelta(minutes=3.5), over_if_due_by=over_if_due_by)


async def test_a_conversation_is_not_warned_before_its_number_was_swept(world: World):
    conversation = await engaged(world)
    now = DAY + timedelta(hours=9)

    assert await world.expire(now=now, hold=hold(now)) == 0
    assert (await world.talk(conversation)).state == "engaged"

    await world.sweep(now=now, carrier=CarrierDouble())
    assert await world.expire(now=now, hold=hold(now)) == 1
    assert (await world.talk(conversation)).state == "warned"


async def test_a_reply_that_was_lost_while_we_were_down_keeps_the_conversation_open(world: World):
    conversation = await engaged(world)
    carrier = CarrierDouble()
    carrier.in_list.append(
        Inbound(
            carrier_message_id="SM1",
            agent_number=AGENT,
            user_number=USER,
            text="I am still here",
            said_at=hour(23),
        )
    )
    now = hour(30)  # we were down from before the reply until after the deadline

    assert await world.expire(now=now, hold=hold(now)) == 0
    await world.sweep(now=now, carrier=carrier)
    assert await world.expire(now=now, hold=hold(now)) == 0

    talk = await world.talk(conversation)
    assert (talk.state, talk.active_at) == ("engaged", now)


async def test_only_conversations_of_that_number_wait(world: World):
    behind = await engaged(world)
    free = await engaged(world, agent_number=SECOND)
    now = DAY
    await swept(world, SECOND, now - timedelta(minutes=1))
    await swept(world, AGENT, now - timedelta(minutes=4))

    assert await world.expire(now=now, hold=hold(now), limit=1) == 1

    assert (await world.talk(free)).state == "warned"
    assert (await world.talk(behind)).state == "engaged"


async def test_a_number_that_was_removed_holds_nothing(world: World):
    conversation = await engaged(world)
    await world.provision(numbers=NUMBERS[1:], prune=True)
    assert await world.expire(now=DAY, hold=hold(DAY)) == 1
    assert (await world.talk(conversation)).state == "warned"


async def test_a_carrier_that_cannot_be_asked_does_not_hold_for_ever(world: World):
    conversation = await engaged(world)
    an_hour = timedelta(hours=1)

    now = DAY + timedelta(minutes=59)
    assert await world.expire(now=now, hold=hold(now, over_if_due_by=now - an_hour)) == 0
    now = DAY + an_hour
    assert await world.expire(now=now, hold=hold(now, over_if_due_by=now - an_hour)) == 1
    assert (await world.talk(conversation)).state == "warned"


async def test_what_is_held_does_not_keep_the_worker_busy(world: World):
    """The next deadline is one that is to come, or the loop would not rest until the sweep."""
    await engaged(world)
    now = DAY + timedelta(hours=9)
    assert await expire.expire_due(world.db, limit=10, now=now, hold=hold(now)) == (0, None)
    await world.hear("Hello", user=NEIGHBOUR, now=now)
    assert await expire.expire_due(world.db, limit=10, now=now, hold=hold(now)) == (
        0,
        now + timedelta(hours=24),
    )


async def test_a_reply_that_is_being_taken_in_at_the_deadline_keeps_it_open(world: World):
    conversation = await engaged(world)
    await world.expire(now=DAY)  # warned; the close is ten minutes later
    now = DAY + timedelta(minutes=10)
    async with asyncio.TaskGroup() as group:
        async with world.db.connect() as c:
            # So that the reply stops where it has its pair and its conversation: at a text of the
            # same id, which is not committed.
            await c.execute(SAME_ID, {"sid": "IN-same"})
            reply = group.create_task(world.hear("Wait", sid="IN-same", now=now))
            await world.blocked(1)
            assert await world.expire(now=now) == 0
            assert not reply.done()
            await c.rollback()
        assert (await reply).conversation_id == conversation
    assert await world.expire(now=now) == 0
    assert (await world.talk(conversation)).state == "engaged"
    assert [t.kind for t in await world.ours()].count("closing") == 0


async def test_a_close_that_was_first_is_followed_by_a_new_conversation(world: World):
    conversation = await engaged(world)
    await world.expire(now=DAY)
    now = DAY + timedelta(minutes=10)
    async with asyncio.TaskGroup() as group:
        async with world.transaction() as c:
            await c.execute(text("lock table events in share mode"))
            closing = group.create_task(world.expire(now=now))
            await world.blocked(1)  # it has the pair, and waits to write its event
            reply = group.create_task(world.hear("Wait", now=now))
            await world.blocked(2)
        assert await closing == 1
        assert (await reply).conversation_id != conversation
    assert (await world.talk(conversation)).state == "closed"
    assert [live.state for live in await world.live()] == ["engaged"]


@pytest.mark.parametrize("seed", range(3))
async def test_replies_and_deadlines_that_race_have_one_winner_each(world: World, seed: int):
    users = [Phone(f"+1415555{seed}{n:03}") for n in range(12)]
    talks = [await engaged(world, user=user) for user in users]
    await world.expire(now=DAY)
    now = DAY + timedelta(minutes=10)

    async with asyncio.TaskGroup() as group:
        expiries = [group.create_task(world.expire(now=now, limit=3)) for _ in range(4)]
        replies = [group.create_task(world.hear("Wait", user=user, now=now)) for user in users]
    assert sum(task.result() for task in expiries) <= len(users)

    for user, conversation, reply in zip(users, talks, replies, strict=True):
        was = await world.talk(conversation)
        kinds = [t.kind for t in await world.ours(user=user)]
        if reply.result().conversation_id == conversation:
            assert was.state == "engaged"
            assert "closing" not in kinds
        else:
            assert (was.state, was.reason) == ("closed", "idle")
            assert kinds.count("closing") == 1


async def test_a_pair_that_somebody_has_is_not_waited_for(world: World):
    await engaged(world)
    other = await engaged(world, user=NEIGHBOUR)
    async with world.transaction() as c:
        await locks.pair(c, AGENT, USER)
        assert await world.expire(now=DAY) == 1
        assert (await world.talk(other)).state == "warned"
    assert await world.expire(now=minute(24 * 60 + 1)) == 1
