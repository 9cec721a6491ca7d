"""What users text is kept once, and leads to one answer."""

import asyncio

import pytest

from tests.support.deployment import (
    AGENT,
    GREETING,
    NEIGHBOUR,
    NUMBERS,
    OTHER_CARRIER,
    SECOND,
    USER,
    hour,
    number,
    second,
)
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.engine import TurnReply

PHOTO = {"url": "https://media.example/1", "content_type": "image/jpeg"}


async def test_a_reply_joins_the_live_conversation_and_a_turn_is_due(world: World):
    accepted = await world.accept()

    heard = await world.hear("Can I come later?", sid="IN1", now=second(60))

    assert (heard.outcome, heard.conversation_id) == ("heard", accepted.conversation_id)
    text = (await world.texts())[-1]
    assert (text.id, text.direction, text.kind) == (heard.message_id, "inbound", "text")
    assert (text.text, text.carrier_message_id) == ("Can I come later?", "IN1")
    talk = await world.talk(accepted.conversation_id)
    assert (talk.state, talk.active_at, talk.deadline_at) == (
        "engaged",
        second(60),
        hour(24 + 1 / 60),
    )
    (turn,) = await world.waiting()
    assert (turn.conversation_id, turn.due_at) == (accepted.conversation_id, second(60))


async def test_a_reply_is_told_as_events(world: World):
    accepted = await world.accept()

    heard = await world.hear("Hello", now=second(1))

    assert heard.message_id is not None
    assert await world.events(heard.message_id) == ["message.received"]
    assert (await world.events(accepted.conversation_id))[-1] == "conversation.engaged"


async def test_a_reply_goes_to_the_newest_conversation(world: World):
    await world.accept("One")
    newest = await world.accept("Two", now=second(1))

    heard = await world.hear("Which?", now=second(2))

    assert heard.conversation_id == newest.conversation_id


async def test_a_reply_goes_to_the_conversation_of_its_own_number(world: World):
    first = await world.accept(agent_number=AGENT)
    await world.accept(agent_number=SECOND, now=second(1))

    heard = await world.hear("Hello", agent_number=AGENT, now=second(2))

    assert heard.conversation_id == first.conversation_id


async def test_a_repeated_webhook_changes_nothing(world: World):
    await world.hear("Hello", sid="IN1")

    again = await world.hear("Hello", sid="IN1", now=second(30))

    assert again.outcome == "duplicate"
    assert len(await world.texts()) == 1
    assert len(await world.turns()) == 1


@pytest.mark.parametrize("words", ["Hello", "STOP", "HELP"])
async def test_a_webhook_repeated_all_at_once_is_heard_once(world: World, words: str):
    await world.accept()

    async with asyncio.TaskGroup() as group:
        hears = [group.create_task(world.hear(words, sid="IN1", now=second(1))) for _ in range(10)]
    outcomes = [hear.result().outcome for hear in hears]

    assert outcomes.count("duplicate") == 9
    assert sum(text.direction == "inbound" for text in await world.texts()) == 1


async def test_a_webhook_repeated_after_the_conversation_closed_opens_nothing(world: World):
    await world.hear("Hello", sid="IN1")
    await world.hear("STOP", now=second(1))
    await world.hear("START", now=second(2))

    assert (await world.hear("Hello", sid="IN1", now=second(3))).outcome == "duplicate"

    assert await world.live() == []


async def test_the_same_id_from_another_carrier_account_is_another_text(world: World):
    await world.provision(numbers=[number(AGENT), number(SECOND, carrier=OTHER_CARRIER)])
    await world.hear("Hello", sid="IN1")

    heard = await world.hear("Hello", sid="IN1", agent_number=SECOND, carrier_id=OTHER_CARRIER)

    assert heard.outcome == "heard"


@pytest.mark.parametrize("to", ["+14155550177", "", "not a number", "rcs:agent"])
async def test_a_text_to_a_number_that_is_not_ours_is_not_stored(world: World, to: str):
    heard = await world.hear("Hello", agent_number=to)

    assert heard.outcome == "unknown_number"
    assert await world.talks() == []


async def test_a_text_to_a_number_that_was_removed_is_not_stored(world: World):
    await world.provision(numbers=[number(SECOND)], prune=True)

    assert (await world.hear("Hello", agent_number=AGENT)).outcome == "unknown_number"


async def test_one_carrier_account_cannot_speak_for_a_number_of_another(world: World):
    heard = await world.hear("STOP", carrier_id=OTHER_CARRIER)

    assert heard.outcome == "unknown_number"
    assert await world.may_text()


@pytest.mark.parametrize("who", ["12345", "BANK", "", "whatsapp:4155550111", "+1"])
async def test_a_sender_that_cannot_be_texted_is_not_stored(world: World, who: str):
    heard = await world.hear("Your code is 1234", user=who)

    assert heard.outcome == "unroutable"
    assert await world.talks() == []


async def test_an_unknown_users_text_opens_a_conversation_that_the_agent_answers(world: World):
    heard = await world.hear("Hello?", user=NEIGHBOUR)

    (talk,) = await world.talks()
    assert (talk.id, talk.state, talk.connector_id) == (heard.conversation_id, "engaged", None)
    assert await world.think() == ["answered"]
    await world.send_all()
    assert world.carrier.texts == ["You said: Hello?"]


async def test_an_unknown_user_may_be_greeted_first(world: World):
    await world.provision(project={"unknown_user": "greet"})

    await world.hear("Hello?")
    assert await world.think() == []
    await world.hear("Are you open today?", now=second(30))
    engine = EngineDouble("Yes.")
    await world.think(now=second(30), engine=engine)

    assert [text.text for text in await world.ours()] == [GREETING, "Yes."]
    assert engine.asked[0].heard == "Are you open today?"
    assert [said.text for said in engine.asked[0].transcript] == [
        "Hello?",
        GREETING,
        "Are you open today?",
    ]


async def test_without_a_greeting_the_agent_answers_an_unknown_user(world: World):
    await world.provision(project={"unknown_user": "greet"}, agent={"greeting": None})

    await world.hear("Hello?")

    assert await world.think() == ["answered"]


async def test_who_was_texted_by_us_is_not_greeted(world: World):
    await world.provision(project={"unknown_user": "greet"})
    await world.accept()

    await world.hear("Hello?", now=second(1))

    assert await world.think(now=second(1)) == ["answered"]


async def test_unknown_users_may_be_ignored(world: World):
    await world.provision(project={"unknown_user": "ignore"})

    heard = await world.hear("Hello?")

    assert (heard.outcome, heard.why) == ("unanswered", "unknown_user")
    (text,) = await world.texts()
    assert (text.kind, text.note, text.text) == ("unanswered", "unknown_user", "Hello?")
    (talk,) = await world.talks()
    assert (talk.state, talk.reason) == ("closed", "ignored")
    assert await world.turns() == []


@pytest.mark.parametrize("before", ["Hello?", "HELP", "START"])
async def test_an_ignored_user_stays_ignored(world: World, before: str):
    # The first text made the user a known one, and the second was answered.
    await world.provision(project={"unknown_user": "ignore"})
    await world.hear(before)

    heard = await world.hear("Anybody there?", now=second(60))

    assert (heard.outcome, heard.why) == ("unanswered", "unknown_user")
    assert await world.turns() == []
    assert len(await world.talks()) == 1


async def test_an_ignored_user_is_answered_once_we_have_texted_them(world: World):
    await world.provision(project={"unknown_user": "ignore"})
    await world.hear("Hello?")
    await world.accept(now=second(1))

    assert (await world.hear("Hello!", now=second(2))).outcome == "heard"


async def test_who_comes_back_after_a_conversation_ended_opens_a_new_one(world: World):
    await world.provision(project={"unknown_user": "ignore"})
    first = await world.accept()
    await world.expire(now=hour(25))

    heard = await world.hear("I am back", now=hour(26))

    assert heard.outcome == "heard"
    assert heard.conversation_id != first.conversation_id
    (live,) = await world.live()
    assert (live.id, live.state) == (heard.conversation_id, "engaged")


async def test_concurrent_first_texts_open_one_conversation(world: World):
    async with asyncio.TaskGroup() as group:
        for n in range(8):
            group.create_task(world.hear(f"Text {n}"))

    assert len(await world.talks()) == 1
    assert len(await world.waiting()) == 1


async def test_several_quick_texts_are_answered_by_one_turn(world: World):
    await world.provision(project={"reply_delay_seconds": 2})
    for n, words in enumerate(["Hello", "I have a question", "Are you open?"]):
        await world.hear(words, now=second(1.5 * n))
    engine = EngineDouble("Yes.")

    assert await world.think(now=second(4.9), engine=engine) == []
    assert await world.think(now=second(5), engine=engine) == ["answered"]

    (asked,) = engine.asked
    assert asked.heard == "Hello\nI have a question\nAre you open?"
    assert [text.text for text in await world.ours()] == ["Yes."]


async def test_a_user_who_never_stops_typing_is_answered_after_half_a_minute(world: World):
    await world.provision(
        project={
            "reply_delay_seconds": 10,
            "inbound_limits": {"per_sender": {"requests": 100, "per_seconds": 60}},
        }
    )
    for n in range(6):
        await world.hear(f"Text {n}", now=second(5 * n))

    (turn,) = await world.waiting()
    assert turn.due_at == second(30)


async def test_a_reply_to_a_warned_conversation_keeps_it_open(world: World):
    await world.hear("Hello")
    await world.think()
    await world.expire(now=hour(24))

    heard = await world.hear("Yes, wait", now=hour(24.1))

    assert heard.conversation_id is not None
    talk = await world.talk(heard.conversation_id)
    assert (talk.state, talk.deadline_at) == ("engaged", hour(48.1))
    assert await world.expire(now=hour(24.2)) == 0


async def test_a_picture_without_words_is_kept_and_reaches_the_agent(world: World):
    await world.accept()

    heard = await world.hear("", media=[PHOTO], now=second(1))
    engine = EngineDouble(TurnReply(texts=["Nice."]))
    await world.think(now=second(1), engine=engine)

    assert heard.outcome == "heard"
    (asked,) = engine.asked
    assert [(said.role, said.text, list(said.media)) for said in asked.transcript] == [
        ("agent", "Your appointment is at 3pm.", []),
        ("user", "", [PHOTO]),
    ]
    assert [text.text for text in await world.ours()][-1] == "Nice."


async def test_texts_of_any_length_and_script_are_kept_as_they_came(world: World):
    words = " \n".join(["žluťoučký кůň 🐎", "x" * 1600, "\u200b"])

    await world.hear(words)

    assert (await world.texts())[0].text == words


async def test_a_text_to_a_short_code_is_heard(world: World):
    await world.provision(numbers=[*NUMBERS, number("55555")])

    assert (await world.hear("Hello", agent_number="55555", user=USER)).outcome == "heard"
