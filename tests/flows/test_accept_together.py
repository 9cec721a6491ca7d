"""Sends that come at the same time are accepted in one transaction, and each has its own answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError

from tests.support.deployment import AGENT, GREETING, SECOND, USER, caller, second
from tests.support.stored import stored
from tests.support.world import World
from textback.core.commands import Accepted, Idempotency, SendText
from textback.core.errors import KeyReused, Refusal
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.core.template import Template
from textback.db import locks
from textback.db.book import Book
from textback.flows.accept import Accepting, send_text

USERS = [Phone(f"+1415555{n:04}") for n in range(200, 240)]
HELLO = SendText(user_number=USER, text="Hello", agent_number=AGENT)


class Crowd:
    """Callers who send at the same time, and how many were answered by one commit."""

    def __init__(self, world: World) -> None:
        self.batches: list[int] = []
        self._accepting = Accepting(world.db, Book(world.db), observe=self.batches.append)

    async def send(
        self, commands: Sequence[SendText], *, at: int = 0
    ) -> list[Accepted | Refusal | DBAPIError]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(each, at)) for each in commands]
        return [task.result() for task in tasks]

    async def _one(self, command: SendText, at: int) -> Accepted | Refusal | DBAPIError:
        try:
            return await self._accepting.send_text(caller(), command, now=second(at))
        except (Refusal, DBAPIError) as error:
            return error


def accepted(outcome: Accepted | Refusal | DBAPIError) -> Accepted:
    assert isinstance(outcome, Accepted)
    return outcome


async def test_a_crowd_is_accepted_in_few_commits_and_each_has_all_that_one_has(world: World):
    crowd = Crowd(world)
    done = await crowd.send([replace(HELLO, user_number=user) for user in USERS])
    assert sum(crowd.batches) == len(USERS)
    assert len(crowd.batches) <= len(USERS) / 4
    alone = await world.accept(user=Phone("+14155550299"), words="Hello")
    for user, outcome in zip(USERS, done, strict=True):
        one = accepted(outcome)
        assert one.message_id is not None
        assert one.agent_number == AGENT
        talk = await world.talk(one.conversation_id)
        assert (talk.state, talk.user_number, talk.agent_number) == ("opened", user, AGENT)
        text = await world.text(one.message_id)
        assert (text.state, text.text, text.segments) == ("queued", "Hello", 1)
    first = accepted(done[0])
    assert await world.events(first.conversation_id) == await world.events(alone.conversation_id)


async def is_of_one_statement(world: World, done: Accepted) -> bool:
    """Both rows have the same place in their transaction."""
    async with world.transaction() as c:
        found = await c.execute(
            sql(
                "select c.cmin = m.cmin and c.xmin = m.xmin from conversations c, messages m"
                " where c.id = :of and m.conversation_id = c.id"
            ),
            {"of": done.conversation_id},
        )
        return found.scalar_one()


async def test_both_ways_write_the_same(world: World):
    async with world.transaction() as c:
        await c.execute(
            sql(
                "insert into webhook_endpoints (id, account_id, url, format, state, created_at)"
                " select 'whe_' || id, id, 'https://a.example/', 'native', 'active', now()"
                " from accounts"
            )
        )
    asked = replace(
        HELLO,
        objective="Confirm it.",
        variables={"name": "Ana"},
        metadata={"order": "7"},
        extra={"own": [1]},
        reopens=False,
        dialect="bland",
        validity=timedelta(hours=2),
    )
    template = replace(
        HELLO, text=None, template=Template(content_sid="HX" + "0" * 32, variables={"1": "Ana"})
    )
    idle = replace(HELLO, idle=IdlePolicy(unanswered_after=timedelta(hours=3)))
    crowd = Crowd(world)
    for nth, command in enumerate([HELLO, asked, template, idle]):
        together, later = (
            replace(command, user_number=user) for user in USERS[2 * nth : 2 * nth + 2]
        )
        [done] = await crowd.send([together])
        alone = await send_text(world.db, caller(), later, now=second(0))
        written = await stored(world, accepted(done).conversation_id)
        assert await is_of_one_statement(world, accepted(done))
        assert not await is_of_one_statement(world, alone)
        assert written == await stored(world, alone.conversation_id)
        assert [len(written[table]) for table in ("messages", "events")] == [1, 2]
        assert len(written["webhook_deliveries"]) == 2


async def test_what_is_unusual_goes_alone_and_holds_up_nobody(world: World):
    await world.hear("STOP", user=USERS[0])
    before = await world.accept(user=USERS[1])
    crowd = Crowd(world)
    async with world.transaction() as c:
        await locks.pair(c, AGENT, USERS[2])  # somebody has to do with this one just now
        sending = asyncio.create_task(
            crowd.send([replace(HELLO, user_number=user) for user in USERS[:6]], at=5)
        )
        async with asyncio.timeout(60):
            while not all(  # noqa: ASYNC110 - of what is stored nobody is told
                [await world.talks(user=user) for user in USERS[3:6]]
            ):
                await asyncio.sleep(0.01)
        assert not await world.talks(user=USERS[2])
    out, again, held, *others = [accepted(each) for each in await sending]
    assert out.suppressed
    assert (await world.talk(before.conversation_id)).reason == "superseded"
    assert await world.events(before.conversation_id) == [
        "conversation.opened",
        "conversation.closed",
    ]
    for one in (again, held, *others):
        assert (await world.talk(one.conversation_id)).state == "opened"


async def test_a_key_is_used_once_however_many_ask_with_it_at_the_same_time(world: World):
    crowd = Crowd(world)
    key = Idempotency(route="r", key="k", fingerprint=b"1")
    same = replace(HELLO, idempotency=key)
    other = replace(HELLO, user_number=USERS[0], idempotency=replace(key, fingerprint=b"2"))
    repeated = await crowd.send([same, same, same])
    [reused] = await crowd.send([other])
    assert isinstance(reused, KeyReused)
    assert {accepted(each).conversation_id for each in repeated} == {
        accepted(repeated[0]).conversation_id
    }
    assert [accepted(each).replayed for each in repeated].count(False) == 1
    [late] = await crowd.send([same], at=9)
    assert accepted(late).replayed
    assert len(await world.talks(user=USER)) == 1


async def test_what_cannot_be_stored_is_the_error_of_who_sent_it_alone(world: World):
    crowd = Crowd(world)
    bad = replace(HELLO, user_number=USERS[0], text="No database holds a \0")
    failed, *others = await crowd.send(
        [bad, *(replace(HELLO, user_number=user) for user in USERS[1:5])]
    )
    assert isinstance(failed, DBAPIError)
    for one in others:
        assert (await world.talk(accepted(one).conversation_id)).state == "opened"


async def test_a_crowd_without_a_number_is_spread_over_those_there_are_and_each_user_keeps_theirs(
    world: World,
):
    crowd = Crowd(world)
    sends = [replace(HELLO, user_number=user, agent_number=None) for user in USERS]
    first = [accepted(each) for each in await crowd.send([*sends, *sends[:5]])]
    used = {one.agent_number for one in first}
    assert used == {AGENT, SECOND}
    again = [accepted(each) for each in await crowd.send(sends, at=5)]
    assert [one.agent_number for one in again] == [one.agent_number for one in first[: len(USERS)]]
    assert [one.agent_number for one in first[len(USERS) :]] == [
        one.agent_number for one in first[:5]
    ]
    assert sum(crowd.batches) > len(USERS)
    await world.hear("STOP", user=USERS[0], agent_number=SECOND, now=second(6))
    [out] = await crowd.send(sends[:1], at=7)
    assert accepted(out).suppressed


async def test_sends_to_one_user_are_accepted_one_after_the_other(world: World):
    crowd = Crowd(world)
    words = [f"Text {n}" for n in range(5)]
    done = await crowd.send([replace(HELLO, text=each) for each in words])
    assert crowd.batches == [1] * 5
    states = [(await world.talk(accepted(each).conversation_id)).state for each in done]
    assert sorted(states) == ["closed"] * 4 + ["opened"]
    texts = [text.text for text in await world.texts(user=USER)]
    assert sorted(texts) == words
    assert states.index("opened") == words.index(texts[-1])


@pytest.mark.parametrize("text", [None, "Later"])
async def test_who_gives_no_message_says_the_agents_greeting(world: World, text: str | None):
    crowd = Crowd(world)
    [one] = await crowd.send([replace(HELLO, text=text)])
    found = accepted(one)
    assert found.message_id is not None
    assert (await world.text(found.message_id)).text == (text or GREETING)
