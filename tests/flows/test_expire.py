"""What time alone does to a conversation: warn, then close; each once, whoever is at it."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.deployment import HTTP, NEIGHBOUR, NOW, USER, hour, minute, second
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.engine import TurnReply
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.flows import expire

DEFAULT = IdlePolicy()
SILENCE = TurnReply(texts=())


async def engaged(world: World, *, user: Phone = USER) -> ConversationId:
    """A conversation in which the user has said something, at the start of the test."""
    heard = await world.hear("Hello", user=user)
    await world.think()
    await world.send_all()
    assert heard.conversation_id is not None
    return heard.conversation_id


async def said(world: World, kind: str, *, user: Phone = USER) -> list[str]:
    return [text.text for text in await world.ours(user=user) if text.kind == kind]


async def test_an_engaged_conversation_is_warned_after_a_day(world: World):
    conversation = await engaged(world)

    assert await world.expire(now=hour(24) - timedelta(milliseconds=1)) == 0
    assert await world.expire(now=hour(24)) == 1

    talk = await world.talk(conversation)
    assert (talk.state, talk.deadline_at) == ("warned", hour(24) + timedelta(minutes=10))
    assert await said(world, "warning") == [DEFAULT.warning]
    assert (await world.events(conversation))[-1] == "conversation.warned"


async def test_a_warned_conversation_is_closed_ten_minutes_later_with_a_text(world: World):
    conversation = await engaged(world)
    await world.expire(now=hour(24))

    assert await world.expire(now=hour(24) + timedelta(minutes=9)) == 0
    assert await world.expire(now=hour(24) + timedelta(minutes=10)) == 1
    assert await world.expire(now=hour(48)) == 0

    talk = await world.talk(conversation)
    assert (talk.state, talk.reason, talk.deadline_at) == ("closed", "idle", None)
    assert await said(world, "closing") == [DEFAULT.closing]
    assert (await world.events(conversation))[-1] == "conversation.closed"


async def test_warning_and_closing_text_go_out_in_order(world: World):
    await engaged(world)
    await world.expire(now=hour(24))
    await world.expire(now=hour(24.5))

    await world.send_all(now=hour(24.5))

    assert world.carrier.texts == ["You said: Hello", DEFAULT.warning, DEFAULT.closing]


async def test_texts_and_lengths_are_the_projects_own(world: World):
    inactivity = {
        "warn_after_seconds": 1.5,
        "close_after_seconds": 0.5,
        "warning": "Still there?",
        "closing": None,
    }
    await world.provision(project={"inactivity": inactivity})
    conversation = await engaged(world)

    await world.expire(now=second(1.5))
    await world.expire(now=second(2))

    assert await said(world, "warning") == ["Still there?"]
    assert await said(world, "closing") == []
    assert (await world.talk(conversation)).reason == "idle"


async def test_a_project_may_never_warn(world: World):
    await world.provision(project={"inactivity": {"warn_after_seconds": None}})
    conversation = await engaged(world)

    assert await world.expire(now=hour(24 * 365)) == 0

    assert (await world.talk(conversation)).state == "engaged"


async def test_a_conversation_nobody_answered_is_closed_without_a_word(world: World):
    accepted = await world.accept()
    await world.send_all()

    assert await world.expire(now=hour(24)) == 0
    assert await world.expire(now=hour(24) + timedelta(minutes=10)) == 1

    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "unanswered")
    assert [text.kind for text in await world.ours()] == ["opener"]


@pytest.mark.parametrize("who", ["user", "agent"])
async def test_any_text_restarts_the_clock(world: World, who: str):
    conversation = await engaged(world)
    await world.hear("And then?", now=hour(12))
    at = hour(12)
    if who == "agent":
        (thinking,) = await world.claim_turns(now=at)
        at += timedelta(seconds=30)
        await world.answer(thinking, "Then we meet.", now=at)
    else:
        await world.think(now=at + timedelta(seconds=2), engine=EngineDouble(SILENCE))

    assert await world.expire(now=at + timedelta(hours=24, milliseconds=-1)) == 0
    assert await world.expire(now=at + timedelta(hours=24)) == 1

    assert (await world.talk(conversation)).state == "warned"


async def test_a_reply_to_the_warning_starts_a_new_day(world: World):
    conversation = await engaged(world)
    await world.expire(now=hour(24))
    await world.hear("Yes", now=hour(24) + timedelta(minutes=9))
    await world.think(now=hour(24) + timedelta(minutes=10), engine=EngineDouble(SILENCE))

    assert await world.expire(now=hour(48)) == 0
    assert await world.expire(now=hour(48) + timedelta(minutes=9)) == 1

    assert (await world.talk(conversation)).state == "warned"
    assert await said(world, "warning") == [DEFAULT.warning] * 2


async def test_any_number_of_workers_warn_once(world: World):
    conversation = await engaged(world)

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.expire(now=hour(24))) for _ in range(8)]

    assert sum(run.result() for run in runs) == 1
    assert await said(world, "warning") == [DEFAULT.warning]
    assert (await world.events(conversation)).count("conversation.warned") == 1


async def test_any_number_of_workers_close_once(world: World):
    users = [Phone(f"+1415555020{n}") for n in range(5)]
    for user in users:
        await engaged(world, user=user)
    await world.expire(now=hour(24))

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.expire(now=hour(25), limit=2)) for _ in range(8)]
    done = sum(run.result() for run in runs)
    while some := await world.expire(now=hour(25)):
        done += some

    assert done == 5
    assert await world.live() == []
    assert [await said(world, "closing", user=user) for user in users] == [[DEFAULT.closing]] * 5


async def test_a_deadline_missed_while_everything_was_down_is_done_one_step_at_a_time(
    world: World,
):
    conversation = await engaged(world)

    await world.expire(now=hour(100))

    talk = await world.talk(conversation)
    assert (talk.state, talk.deadline_at) == ("warned", hour(100) + timedelta(minutes=10))
    assert await world.expire(now=hour(100)) == 0
    await world.hear("Yes", now=hour(100) + timedelta(minutes=5))
    assert (await world.talk(conversation)).state == "engaged"


async def test_many_missed_deadlines_are_done_in_portions(world: World):
    for n in range(5):
        await engaged(world, user=Phone(f"+1415555020{n}"))

    portions = [await world.expire(now=hour(100), limit=2) for _ in range(4)]

    assert portions == [2, 2, 1, 0]


async def test_when_nothing_is_due_the_worker_learns_the_next_deadline(world: World):
    await engaged(world)
    await world.accept(user=NEIGHBOUR)

    assert await expire.expire_due(world.db, limit=10, now=second(1)) == (0, hour(24))


async def test_longer_lengths_given_meanwhile_count(world: World):
    conversation = await engaged(world)
    await world.provision(project={"inactivity": {"warn_after_seconds": 48 * 3600}})

    await world.expire(now=hour(24))

    talk = await world.talk(conversation)
    assert (talk.state, talk.deadline_at) == ("engaged", hour(48))
    assert await said(world, "warning") == []


async def test_shorter_lengths_given_meanwhile_count(world: World):
    conversation = await engaged(world)
    await world.provision(project={"inactivity": {"warn_after_seconds": 60}})

    await world.expire(now=minute(1))

    assert (await world.talk(conversation)).state == "warned"


async def test_new_words_given_meanwhile_count(world: World):
    await engaged(world)
    await world.provision(project={"inactivity": {"warning": "Hello?", "closing": "Bye then."}})

    await world.expire(now=hour(24))
    await world.expire(now=hour(25))

    assert (await said(world, "warning"), await said(world, "closing")) == (
        ["Hello?"],
        ["Bye then."],
    )


async def test_a_reply_that_races_with_the_warning_leaves_one_of_the_two_first(world: World):
    for n in range(10):
        user = Phone(f"+1415555020{n}")
        conversation = await engaged(world, user=user)
        async with asyncio.TaskGroup() as group:
            group.create_task(world.expire(now=hour(24)))
            heard = group.create_task(world.hear("Wait", user=user, now=hour(24)))

        assert heard.result().conversation_id == conversation
        talk = await world.talk(conversation)
        assert (talk.state, talk.deadline_at) == ("engaged", hour(48))
        assert len(await said(world, "warning", user=user)) <= 1


async def test_a_reply_that_races_with_the_close_is_never_lost(world: World):
    for n in range(10):
        user = Phone(f"+1415555020{n}")
        conversation = await engaged(world, user=user)
        await world.expire(now=hour(24))
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(world.expire(now=hour(25))) for _ in range(2)]
            heard = group.create_task(world.hear("Wait", user=user, now=hour(25)))

        closed = sum(run.result() for run in runs)
        talk = await world.talk(conversation)
        assert (talk.state == "closed") == (closed == 1)
        assert (heard.result().conversation_id != conversation) == (closed == 1)
        assert len(await said(world, "closing", user=user)) == closed
        assert await world.think(now=hour(25)) == ["answered"]
        await world.hear("STOP", user=user, now=hour(25))


async def test_nobody_is_warned_while_the_agent_has_yet_to_answer(world: World):
    # With short times and a busy machine "Are you still there?" came before the answer.
    await world.hear("Hello")
    await world.expire(now=hour(24))
    await world.expire(now=hour(25))

    assert await world.think(now=hour(25)) == ["answered"]

    await world.expire(now=hour(48))
    assert await said(world, "warning") == []
    await world.expire(now=hour(49))
    assert await said(world, "warning") == [DEFAULT.warning]


async def test_an_opener_that_is_still_to_be_written_keeps_its_conversation_open(world: World):
    # Nobody can have left unanswered what was never said: the opener was dropped as cancelled.
    inactivity = {"warn_after_seconds": 2, "close_after_seconds": 1}
    await world.provision(
        agent={"greeting": None, "engine": HTTP}, project={"inactivity": inactivity}
    )
    promised = await world.accept(None)
    (slow,) = await world.claim_turns()

    await world.expire(now=second(3))
    await world.answer(slow, "Good morning.", now=second(5))
    await world.send_all(now=second(5))

    assert await world.state(promised.message_id) == "sent"
    talk = await world.talk(promised.conversation_id)
    assert (talk.state, talk.deadline_at) == ("opened", second(8))
    await world.expire(now=second(8))
    assert (await world.talk(promised.conversation_id)).reason == "unanswered"


async def test_closing_texts_of_a_number_still_reach_who_opens_anew(world: World):
    await engaged(world)
    await world.expire(now=hour(24))
    await world.expire(now=hour(25))
    accepted = await world.accept("New offer", now=hour(25))

    await world.send_all(now=hour(25))

    assert world.carrier.texts[-3:] == [DEFAULT.warning, DEFAULT.closing, "New offer"]
    (live,) = await world.live()
    assert live.id == accepted.conversation_id


async def test_a_conversation_in_which_only_keywords_were_said_is_engaged(world: World):
    await world.accept()
    await world.hear("HELP", now=NOW)

    await world.expire(now=hour(24))

    assert await said(world, "warning") == [DEFAULT.warning]


async def test_time_does_nothing_to_who_opted_out(world: World):
    await engaged(world)
    await world.hear("STOP", now=second(1))

    assert await world.expire(now=hour(100)) == 0

    assert await said(world, "warning") == []
    assert await world.think(now=hour(100), engine=EngineDouble("Hello?")) == []
