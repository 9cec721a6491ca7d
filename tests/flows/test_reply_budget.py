"""Two machines that answer each other fall silent, and a person never notices any of it."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import (
    AGENT,
    GREETING,
    NEIGHBOUR,
    NOW,
    SECOND,
    USER,
    hour,
    minute,
    second,
)
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core import loops
from textback.core.engine import TurnReply
from textback.core.ids import ConversationId
from textback.core.phone import Phone

BUDGET: Final = {"replies": 3, "per_seconds": 3600}
BY_HAND: Final = {"reply_budget": BUDGET, "while_thinking": "queue"}


async def chat(world: World, *, texts: int, begin: datetime = NOW, user: Phone = USER) -> datetime:
    """So many texts of the user's, a minute apart, each answered; gives when the last was said."""
    at = begin
    for n in range(texts):
        at = begin + timedelta(minutes=n)
        await world.hear(f"Text {n} at {at}", user=user, now=at)
        await world.think(now=at)
    return at


async def spent(world: World, **project: object) -> ConversationId:
    """A conversation whose budget of three replies is used up, and has paused at minute 3."""
    await world.provision(project=BY_HAND | project)
    await chat(world, texts=3)
    heard = await world.hear("One too many", now=minute(3))
    assert (heard.outcome, heard.why) == ("unanswered", "reply_budget")
    assert heard.conversation_id is not None
    return heard.conversation_id


async def test_beyond_the_budget_a_conversation_pauses_for_as_long_as_the_budgets_span(
    world: World,
):
    conversation = await spent(world)

    talk = await world.talk(conversation)
    assert (talk.state, talk.paused_until) == ("paused", minute(63))
    assert talk.deadline_at == minute(63)
    *_, (kind, data) = await world.told(conversation)
    assert kind == "conversation.paused"
    assert data == {"reason": "reply_budget", "until": minute(63).isoformat()}
    kept = (await world.texts())[-1]
    assert (kept.text, kept.kind, kept.note) == ("One too many", "unanswered", "reply_budget")
    assert await world.waiting() == []


async def test_by_default_thirty_replies_an_hour_are_given(world: World):
    at = await chat(world, texts=30)
    assert len(await world.ours()) == 30

    assert (await world.hear("More", now=at + timedelta(minutes=1))).why == "reply_budget"


async def test_replies_an_hour_ago_do_not_count(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=3)

    assert (await world.hear("Hello again", now=hour(1))).outcome == "heard"


async def test_what_is_said_to_a_paused_conversation_is_kept_and_starts_no_turn(world: World):
    conversation = await spent(world)

    heard = await world.hear("Hello?", now=minute(30))

    assert (heard.outcome, heard.why) == ("unanswered", "paused")
    assert heard.conversation_id == conversation
    talk = await world.talk(conversation)
    assert (talk.state, talk.paused_until, talk.active_at) == ("paused", minute(63), minute(30))
    assert (await world.texts())[-1].note == "paused"
    assert await world.think(now=minute(31)) == []


async def test_a_pause_that_is_over_leaves_unanswered_what_was_said_in_it(world: World):
    conversation = await spent(world)
    await world.hear("Hello?", now=minute(30))

    assert await world.expire(now=minute(63) - timedelta(microseconds=1)) == 0
    assert await world.expire(now=minute(63)) == 1

    assert (await world.talk(conversation)).state == "engaged"
    assert (await world.events(conversation))[-1] == "conversation.resumed"
    assert await world.think(now=minute(64)) == []
    engine = EngineDouble("Yes")
    await world.hear("Are you there?", now=minute(64))
    assert await world.think(now=minute(64), engine=engine) == ["answered"]
    (asked,) = engine.asked
    assert asked.heard == "Are you there?"
    assert [said.text for said in asked.transcript][-3:] == [
        "One too many",
        "Hello?",
        "Are you there?",
    ]


async def test_after_a_pause_the_whole_budget_is_there_again(world: World):
    await spent(world)
    await world.expire(now=minute(63))

    at = await chat(world, texts=3, begin=minute(64))

    assert len(await world.ours()) == 6
    assert (await world.hear("More", now=at + timedelta(minutes=1))).why == "reply_budget"


async def test_any_number_of_workers_resume_once(world: World):
    conversation = await spent(world)

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.expire(now=hour(2))) for _ in range(8)]

    assert sum(run.result() for run in runs) == 1
    assert (await world.events(conversation)).count("conversation.resumed") == 1


async def test_nobody_is_warned_in_a_pause_and_after_it_the_silence_begins_anew(world: World):
    inactivity = {"warn_after_seconds": 60, "close_after_seconds": 60}
    conversation = await spent(world, inactivity=inactivity)

    assert await world.expire(now=minute(30)) == 0
    await world.expire(now=minute(63))
    assert await world.expire(now=minute(63)) == 0

    talk = await world.talk(conversation)
    assert (talk.state, talk.deadline_at) == ("engaged", minute(64))
    assert [text.kind for text in await world.ours()] == ["reply"] * 3


async def test_a_pause_outlives_a_change_of_the_projects_times(world: World):
    # The deadlines of all conversations are computed anew; without one it would pause for ever.
    conversation = await spent(world)

    await world.provision(project=BY_HAND | {"inactivity": {"warn_after_seconds": 60}})

    assert (await world.talk(conversation)).deadline_at == minute(63)


async def test_a_turn_that_waited_when_the_pause_began_is_still_answered(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=2)
    await world.hear("Third", now=minute(2))
    (thinking,) = await world.claim_turns(now=minute(2))
    await world.hear("Fourth", now=minute(2))
    await world.answer(thinking, "Third answer", now=minute(2))

    kept = await world.hear("Fifth", now=minute(3))
    assert kept.why == "reply_budget"
    engine = EngineDouble("Fourth answer")
    assert await world.think(now=minute(4), engine=engine) == ["answered"]

    assert kept.conversation_id is not None
    talk = await world.talk(kept.conversation_id)
    assert (talk.state, talk.paused_until) == ("paused", minute(63))
    assert [text.text for text in await world.ours()][-2:] == ["Third answer", "Fourth answer"]
    assert engine.asked[0].heard == "Fourth"


async def test_an_agent_may_take_its_leave_in_a_pause(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=2)
    await world.hear("Third", now=minute(2))
    (thinking,) = await world.claim_turns(now=minute(2))
    await world.hear("Fourth", now=minute(2))
    await world.answer(thinking, "Third answer", now=minute(2))
    await world.hear("Fifth", now=minute(3))
    (thinking,) = await world.claim_turns(now=minute(3))

    await world.answer(thinking, TurnReply(texts=["Bye"], end_conversation=True), now=minute(3))

    (talk,) = await world.talks()
    assert (talk.state, talk.reason, talk.paused_until) == ("closed", "agent_ended", None)


async def test_the_budget_is_of_the_pair_and_not_of_one_conversation(world: World):
    await spent(world)
    accepted = await world.accept("A new offer", now=minute(10))

    heard = await world.hear("Tell me", now=minute(11))

    assert (heard.conversation_id, heard.why) == (accepted.conversation_id, "reply_budget")
    assert [talk.state for talk in await world.talks()] == ["closed", "paused"]


async def test_one_user_does_not_use_up_the_budget_of_another(world: World):
    await spent(world)

    heard = await world.hear("Hello", user=NEIGHBOUR, now=minute(4))
    other = await world.hear("Hello", agent_number=SECOND, now=minute(4))

    assert [heard.outcome, other.outcome] == ["heard", "heard"]


async def test_a_new_send_takes_over_from_a_paused_conversation(world: World):
    conversation = await spent(world)

    accepted = await world.accept("A new offer", now=minute(10))
    await world.send_all(now=minute(10))

    talk = await world.talk(conversation)
    assert (talk.state, talk.reason, talk.paused_until) == ("closed", "superseded", None)
    assert await world.state(accepted.message_id) == "sent"


async def test_openers_and_warnings_are_no_replies(world: World):
    await world.provision(
        project=BY_HAND | {"inactivity": {"warn_after_seconds": 1, "close_after_seconds": 1}}
    )
    for n in range(5):
        await world.accept("Hello?", now=minute(n))
    await world.hear("Yes", now=minute(5))
    await world.think(now=minute(5))
    await world.expire(now=minute(6))
    await world.expire(now=minute(7))

    assert (await world.hear("Well", now=minute(8))).outcome == "heard"


async def test_what_never_left_does_not_count(world: World):
    await world.provision(project=BY_HAND | {"validity_seconds": 60})
    await chat(world, texts=3)
    await world.send_all(now=minute(10))
    assert [text.state for text in await world.ours()] == ["suppressed"] * 3

    assert (await world.hear("Anybody?", now=minute(11))).outcome == "heard"


async def test_a_text_found_later_counts_against_the_budget_of_now(world: World):
    conversation = await spent(world)
    await world.expire(now=minute(63))
    await chat(world, texts=3, begin=minute(64))

    heard = await world.hear("Sent long before", now=minute(67), said_at=minute(40))

    assert heard.why == "reply_budget"
    assert (await world.talk(conversation)).paused_until == minute(127)


# Keywords


async def test_stop_works_in_a_pause_and_is_confirmed(world: World):
    conversation = await spent(world)

    await world.hear("STOP", now=minute(10))

    assert not await world.may_text()
    talk = await world.talk(conversation)
    assert (talk.state, talk.reason, talk.paused_until) == ("closed", "opted_out", None)
    assert [text.kind for text in await world.ours()][-1] == "notice"


async def test_over_the_budget_keywords_take_effect_but_are_not_confirmed(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=2)
    await world.send_all(now=minute(2))
    await world.hear("STOP", now=minute(2))
    notices = len(await world.ours())

    await world.hear("START", now=minute(3))
    await world.hear("HELP", now=minute(4))

    assert await world.may_text()
    assert len(await world.ours()) == notices


async def test_help_in_a_pause_is_kept_as_a_keyword_and_not_confirmed(world: World):
    conversation = await spent(world)
    said = len(await world.ours())

    assert (await world.hear("HELP", now=minute(10))).outcome == "keyword"

    assert len(await world.ours()) == said
    assert (await world.talk(conversation)).state == "paused"


async def test_machines_that_ask_for_help_are_confirmed_within_the_budget(world: World):
    for n in range(200):
        await world.hear("HELP", now=second(10 * n))

    assert len(await world.ours()) == 30


async def test_stop_is_confirmed_whatever_else_was_said(world: World):
    for n in range(40):
        await world.hear("HELP", now=second(n))

    await world.hear("STOP", now=second(60))
    await world.hear("STOP", now=second(61))

    assert [text.kind for text in await world.ours()] == ["notice"] * 31


# Breathers


async def test_quick_replies_are_followed_by_a_breather(world: World):
    for n in range(loops.IN_A_ROW):
        await world.hear(f"Text {n}", now=second(7 * n))
        assert await world.think(now=second(7 * n)) == ["answered"]
    last = 7 * (loops.IN_A_ROW - 1)

    await world.hear("And?", now=second(last + 7))
    await world.hear("And now?", now=second(last + 20))

    assert await world.think(now=second(last) + loops.QUICK - timedelta(microseconds=1)) == []
    engine = EngineDouble("Now.")
    assert await world.think(now=second(last) + loops.QUICK, engine=engine) == ["answered"]
    assert engine.asked[0].heard == "And?\nAnd now?"


async def test_a_confirmation_waits_for_the_breather_too(world: World):
    for n in range(loops.IN_A_ROW):
        await world.hear(f"Text {n}", now=second(7 * n))
        await world.think(now=second(7 * n))
    last = 7 * (loops.IN_A_ROW - 1)

    await world.hear("HELP", now=second(last + 7))

    assert (await world.ours())[-1].due_at == second(last) + loops.QUICK


# Loops


class Echo:
    """Two numbers of ours that text each other: what one says is what the other hears."""

    def __init__(self, world: World, *, every: timedelta) -> None:
        self.world, self.every = world, every
        self.carried = list[tuple[datetime, str, str]]()

    async def run(self, *, until: datetime, say: Callable[[int], str]) -> None:
        now = NOW
        await self.world.hear("Hello", user=AGENT, agent_number=SECOND, now=now)
        while now < until:
            now += self.every
            await self.world.expire(now=now)
            for thinking in await self.world.claim_turns(now=now):
                await self.world.answer(thinking, say(len(self.carried)), now=now)
            for text in await self.world.send(now=now):
                assert text.text
                self.carried.append((now, text.agent_number, text.text))
                await self.world.hear(
                    text.text, user=text.agent_number, agent_number=text.user_number, now=now
                )


@pytest.mark.parametrize("seconds", [7, 20, 40])
async def test_two_agents_of_ours_that_text_each_other_fall_silent(world: World, seconds: int):
    echo = Echo(world, every=timedelta(seconds=seconds))

    await echo.run(until=hour(1), say=lambda n: f"Interesting, tell me more. {n}")

    assert len(echo.carried) == 60  # thirty each
    # The first to be over its budget pauses; the other one waits for an answer in vain.
    assert sorted(talk.state for talk in await world.live()) == ["engaged", "paused"]
    for number in (AGENT, SECOND):
        times = [at for at, by, _ in echo.carried if by == number]
        assert longest_row(times) < 15


async def test_two_agents_that_say_the_same_again_and_again_fall_silent_at_once(world: World):
    echo = Echo(world, every=timedelta(seconds=10))

    await echo.run(until=hour(1), say=lambda _: "Sorry, I did not get that.")

    assert len(echo.carried) == 9


async def test_two_agents_without_a_pause_for_thought_fall_silent_within_a_minute(world: World):
    echo = Echo(world, every=timedelta(seconds=1))

    await echo.run(until=minute(5), say=lambda n: f"Answer {n}")

    assert len(echo.carried) == 20
    assert echo.carried[-1][0] < minute(1)


async def test_a_talk_between_machines_does_not_begin_again_by_itself(world: World):
    echo = Echo(world, every=timedelta(seconds=20))

    await echo.run(until=hour(5), say=lambda n: f"Answer {n}")

    assert len(echo.carried) == 60
    assert {talk.state for talk in await world.live()} == {"engaged"}


def longest_row(times: list[datetime]) -> int:
    """As Twilio counts it."""
    row = most = 0
    for i, at in enumerate(times):
        row = row + 1 if i and at - times[i - 1] < timedelta(seconds=30) else 1
        most = max(most, row)
    return most


# Unknown users


@pytest.mark.parametrize("unknown_user", ["greet", "ignore"])
async def test_who_is_unknown_is_treated_as_ever(world: World, unknown_user: str):
    project: Mapping[str, object] = BY_HAND | {"unknown_user": unknown_user}
    await world.provision(project=project)

    await world.hear("Hello")

    expected = [GREETING] if unknown_user == "greet" else []
    assert [text.text for text in await world.ours()] == expected


# Together


async def test_texts_that_come_together_pause_a_conversation_once(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=3)

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.hear(f"Now {n}", now=minute(3))) for n in range(8)]

    whys = sorted(str(run.result().why) for run in runs)
    assert whys == ["paused"] * 7 + ["reply_budget"]
    assert [run.result().outcome for run in runs] == ["unanswered"] * 8
    (talk,) = await world.talks()
    assert (await world.events(talk.id)).count("conversation.paused") == 1


# Floods


async def flood(world: World, *, until: datetime, texts: int) -> None:
    """So many texts more that the user said by then, all without an answer."""
    async with world.transaction() as c:
        await c.execute(
            sql(
                "insert into messages (id, conversation_id, user_number, carrier_message_id,"
                " direction, kind, text, state, created_at, project_id, carrier_id, agent_number)"
                " select 'kept_' || n, conversation_id, user_number, 'SK' || n, direction,"
                " 'unanswered', 'More ' || n, state, cast(:until as timestamptz),"
                " project_id, carrier_id, agent_number"
                " from generate_series(1, :texts) n, (select * from messages"
                " where direction = 'inbound' order by seq limit 1) as said"
            ),
            {"texts": texts, "until": until},
        )


async def test_a_flood_does_not_hide_the_replies_before_it(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=3)
    await flood(world, until=minute(4), texts=500)

    assert (await world.hear("And now?", now=minute(30))).why == "reply_budget"


async def test_a_flood_does_not_hide_that_keywords_were_confirmed(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=3)
    await flood(world, until=minute(4), texts=500)
    said = len(await world.ours())

    assert (await world.hear("HELP", now=minute(30))).outcome == "keyword"

    assert len(await world.ours()) == said


async def test_who_says_more_than_is_looked_at_is_no_person(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=1)
    await flood(world, until=minute(4), texts=5000)

    assert (await world.hear("And now?", now=minute(30))).why == "reply_budget"
    await world.expire(now=minute(90))
    assert (await world.hear("And now?", now=minute(91))).outcome == "heard"


async def test_an_operator_may_resume_after_a_flood(world: World):
    await world.provision(project=BY_HAND)
    await chat(world, texts=1)
    await flood(world, until=minute(4), texts=5000)
    heard = await world.hear("And now?", now=minute(30))
    assert heard.conversation_id is not None
    await world.resume(heard.conversation_id, now=minute(31))

    assert (await world.hear("Thank you", now=minute(32))).outcome == "heard"
