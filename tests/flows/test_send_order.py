"""Which text is taken next, whoever takes it: in order for each pair of numbers, one at a time."""

import asyncio
import random
from datetime import datetime

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import AGENT, NEIGHBOUR, NOW, SECOND, USER, hour, second
from tests.support.doubles import (
    LATER,
    NEVER,
    NO_ANSWER,
    SLOW_DOWN,
    CarrierDouble,
    Listed,
    Sent,
)
from tests.support.world import World
from textback.core.message import Queued
from textback.core.phone import Phone
from textback.core.ports import NotFound, Outgoing, Taken
from textback.db import conversations


async def test_replies_are_taken_before_openers(world: World):
    for n in range(3):
        await world.accept(f"Opener {n}", user=Phone(f"+1415555020{n}"))
    await world.hear("Hello", user=USER, now=second(1))
    await world.think(now=second(1))

    (job,) = await world.claim(limit=1, now=second(2))

    assert job.message.text == "You said: Hello"


async def test_among_openers_the_oldest_is_taken_first(world: World):
    for n in range(4):
        await world.accept(f"Opener {n}", user=Phone(f"+1415555020{n}"), now=second(n))

    jobs = await world.claim(limit=3, now=second(5))

    assert [job.message.text for job in jobs] == ["Opener 0", "Opener 1", "Opener 2"]


async def test_of_one_pair_only_the_oldest_is_taken(world: World):
    await world.accept("One")
    await world.accept("Two", now=second(1))
    await world.accept("Elsewhere", user=NEIGHBOUR, now=second(2))

    jobs = await world.claim(now=second(3))

    assert [job.message.text for job in jobs] == ["One", "Elsewhere"]
    assert await world.claim(now=second(4)) == []


async def test_the_same_user_on_another_number_is_another_pair(world: World):
    await world.accept("One", agent_number=AGENT)
    await world.accept("Two", agent_number=SECOND)

    assert len(await world.claim()) == 2


async def test_a_reply_waits_for_the_opener_of_its_own_pair(world: World):
    await world.accept("Opener")
    await world.hear("Hello", now=second(1))
    await world.think(now=second(1))

    await world.send_all(now=second(2))

    assert world.carrier.texts == ["Opener", "You said: Hello"]


@pytest.mark.parametrize("trouble", [LATER, SLOW_DOWN, NO_ANSWER])
async def test_a_text_that_is_to_be_tried_or_settled_holds_back_those_behind_it(
    world: World, trouble: Sent
):
    await world.accept("One")
    await world.accept("Two")
    await world.send(carrier=CarrierDouble(trouble))

    assert await world.claim(now=second(0.5)) == []


async def test_a_final_failure_releases_the_texts_behind_it(world: World):
    await world.accept("One")
    await world.accept("Two")
    await world.send(carrier=CarrierDouble(NEVER))

    (job,) = await world.claim(now=second(1))

    assert job.message.text == "Two"


async def test_an_expired_text_releases_the_texts_behind_it(world: World):
    await world.accept("One")
    await world.accept("Two", now=hour(1))

    await world.claim(now=hour(4))
    (job,) = await world.claim(now=hour(4))

    assert job.message.text == "Two"


async def test_a_text_is_taken_while_its_conversation_is_locked(world: World):
    # It once waited for the lock, holding the text that the other side was about to drop: the
    # database broke the deadlock by refusing one of them, and that could be a STOP.
    accepted = await world.accept()

    async with world.transaction() as c:
        await conversations.lock(c, accepted.conversation_id)
        async with asyncio.timeout(60):
            assert len(await world.claim(now=second(1))) == 1


async def test_racing_workers_never_take_a_text_twice_nor_two_of_one_pair(world: World):
    users = [Phone(f"+1415555020{n}") for n in range(5)]
    accepted: dict[str, list[str]] = {user: [] for user in users}
    for n in range(6):
        for user in users:
            at = second(n)
            accepted[user].append((await world.accept(user=user, now=at)).message_id)
    taken: dict[str, list[str]] = {user: [] for user in users}

    async def worker(number: int) -> None:
        choice = random.Random(number)  # noqa: S311 - a die for the test
        for _ in range(200):
            if sum(map(len, taken.values())) == 30:
                return
            jobs = await world.claim(limit=choice.randint(1, 4), now=NOW.replace(minute=5))
            for job in jobs:
                m = job.message
                assert m.user_number not in under_way
                under_way.add(m.user_number)
                taken[m.user_number].append(m.id)
            for job in jobs:
                under_way.discard(job.message.user_number)
                await world.record(job, Taken(job.message.id), now=NOW.replace(minute=5))

    under_way = set[str]()
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(worker(number))

    assert taken == accepted


async def test_racing_a_stop_leaves_every_text_either_taken_or_suppressed(world: World):
    for n in range(10):
        at = second(60 * n)
        accepted = await world.accept(f"Text {n}", now=at)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.hear("STOP", now=at))
            claims = [group.create_task(world.claim(now=at)) for _ in range(3)]
        jobs = [job for claim in claims for job in claim.result()]
        own = [job for job in jobs if job.message.id == accepted.message_id]
        assert len(own) == (await world.state(accepted.message_id) == "sending")
        for job in jobs:
            await world.record(job, Taken(job.message.id), now=at)
        await world.send_all(now=at)
        await world.hear("START", now=at)
        await world.send_all(now=at)


class Network:
    """A carrier and a network that treats every request as it likes, and knows the truth."""

    def __init__(self, choice: random.Random) -> None:
        self.carrier = CarrierDouble()
        self.carrier.on_send, self.carrier.on_look_up = self.send, self.look_up
        self.arrived: list[tuple[Outgoing, str]] = []
        self._choice = choice

    def chance(self, probability: float) -> bool:
        return self._choice.random() < probability

    def arrived_at(self, user: Phone) -> list[str]:
        return [outgoing.text for outgoing, _ in self.arrived if outgoing.user_number == user]

    async def send(self, outgoing: Outgoing) -> Sent:
        await asyncio.sleep(self._choice.random() / 200)
        fate = self._choice.random()
        if fate < 0.15:
            return NO_ANSWER
        if fate < 0.25:
            return SLOW_DOWN
        if fate < 0.35:
            return LATER
        taken = self.carrier.taken()
        self.arrived.append((outgoing, taken.carrier_message_id))
        return NO_ANSWER if fate < 0.6 else taken

    async def look_up(self, outgoing: Outgoing) -> Listed:
        _, known = self.carrier.asked[-1]
        if self.chance(0.2):
            return NO_ANSWER
        for had, sid in self.arrived:
            if (had.user_number, had.text) == (outgoing.user_number, outgoing.text) and (
                sid not in known
            ):
                return Taken(sid)
        return NotFound()


async def work(world: World, network: Network, *, now: datetime) -> None:
    """What a worker does at one moment; sometimes it dies before it has recorded an outcome."""
    for job in await world.claim(limit=3, now=now):
        outcome = await world.hand_over(job, carrier=network.carrier, now=now)
        if not network.chance(0.1):
            await world.record(job, outcome, now=now)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_on_a_bad_network_with_dying_workers_every_text_arrives_once_and_in_order(
    world: World, seed: int
):
    network = Network(random.Random(seed))  # noqa: S311 - a die for the test
    users = [Phone(f"+1415555020{n}") for n in range(4)]
    texts = ["Come in.", "Come soon.", "Come in.", "Come now."]
    for n, text in enumerate(texts):
        for user in users:
            await world.accept(text, user=user, now=second(n / 100))

    step = 0
    while await left(world):
        now = second(1 + 20 * step)
        assert now < hour(4)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(work(world, network, now=now))
            group.create_task(world.rescue(now=now))
            group.create_task(world.settle(now=now, carrier=network.carrier))
        step += 1

    assert [network.arrived_at(user) for user in users] == [texts] * 4


async def left(world: World) -> int:
    async with world.transaction() as c:
        pending = sql("select count(*) from messages where state <> 'sent'")
        return await c.scalar(pending) or 0


async def test_a_snoozed_text_is_queued_as_it_was(world: World):
    await world.accept()

    (after,) = await world.send(carrier=CarrierDouble(SLOW_DOWN))

    assert isinstance(after, Queued)
    assert (await world.text(after.id)).expires_at == hour(4)


async def test_a_text_that_was_put_off_keeps_its_place(world: World):
    # It was behind all that came meanwhile: the one that probed a carrier at the beginning of an
    # hour's outage was sent last.
    await world.accept("First")
    await world.send(carrier=CarrierDouble(SLOW_DOWN))
    for n in range(3):
        await world.accept(f"Then {n}", user=Phone(f"+1415555020{n}"), now=second(1))

    await world.send_all(now=second(60))

    assert world.carrier.texts == ["First", "Then 0", "Then 1", "Then 2"]


async def test_a_new_text_is_due_at_once_though_the_clock_that_wrote_it_is_ahead(world: World):
    await world.accept(now=second(90))

    assert len(await world.claim(now=second(0))) == 1


async def test_a_text_that_was_put_off_waits_for_its_time(world: World):
    await world.accept()
    await world.send(carrier=CarrierDouble(SLOW_DOWN))

    assert await world.claim(now=second(6)) == []
    assert len(await world.claim(now=second(7))) == 1


async def test_thousands_of_texts_to_one_user_hold_up_nobody_else(world: World):
    # What was looked at grew with the square of what one pair had in the queue: with ten thousand
    # no claim ended in time, and nothing was sent to anybody.
    await world.accept("One", user=NEIGHBOUR)
    many = sql(
        "insert into messages (id, conversation_id, project_id, carrier_id, agent_number,"
        " user_number, direction, kind, text, state, created_at, expires_at, priority, due_at)"
        " select 'msg_' || n, conversation_id, project_id, carrier_id, agent_number, user_number,"
        " direction, kind, 'More', state, created_at, expires_at, priority, due_at"
        " from messages, generate_series(1, 20000) n"
    )
    async with world.transaction() as c:
        await c.execute(many)
        await c.execute(sql("analyze messages"))
    await world.accept("Elsewhere")

    jobs = await world.claim()

    assert [job.message.text for job in jobs] == ["One", "Elsewhere"]
