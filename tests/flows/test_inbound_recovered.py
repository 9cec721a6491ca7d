"""Texts that were found only later count as what they were when the user said them."""

import asyncio
from datetime import datetime

import pytest

from tests.support.deployment import AGENT, CARRIER, GREETING, USER, hour, minute, second
from tests.support.world import World
from textback.core.ports import Inbound
from textback.flows import inbound

FOUND = hour(6)


async def recover(
    world: World, words: str, *, said_at: datetime, sid: str | None = None, now: datetime = FOUND
) -> inbound.Heard:
    said = Inbound(
        carrier_message_id=sid or f"{words} {said_at}",
        agent_number=AGENT,
        user_number=USER,
        text=words,
        said_at=said_at,
    )
    return await inbound.hear(world.db, CARRIER, said, now=now)


async def test_a_recovered_text_is_stored_as_of_when_it_was_said_and_answered_now(world: World):
    await world.accept()

    heard = await recover(world, "Can I come later?", said_at=minute(1))

    assert heard.outcome == "heard"
    text = (await world.texts())[-1]
    assert (text.created_at, text.note) == (minute(1), "recovered")
    (turn,) = await world.waiting()
    assert turn.due_at == FOUND


async def test_a_stop_that_was_said_before_a_start_has_no_effect(world: World):
    await world.accept()
    await world.hear("STOP", now=minute(1))
    await world.hear("START", now=minute(10))

    heard = await recover(world, "STOP", said_at=minute(5))

    assert (heard.outcome, heard.why) == ("unanswered", "outdated")
    assert await world.may_text()


async def test_a_stop_before_a_start_has_no_effect_though_nobody_knew_of_it_at_the_start(
    world: World,
):
    await world.accept()
    await world.hear("START", now=minute(10))

    heard = await recover(world, "STOP", said_at=minute(5))

    assert (heard.outcome, heard.why) == ("unanswered", "outdated")
    assert await world.may_text()


async def test_a_start_that_was_said_before_a_stop_has_no_effect(world: World):
    await world.accept()
    await world.hear("STOP", now=minute(10))

    heard = await recover(world, "START", said_at=minute(5))

    assert (heard.outcome, heard.why) == ("unanswered", "outdated")
    assert not await world.may_text()


async def test_a_stop_after_a_start_counts(world: World):
    await world.accept()
    await world.hear("STOP", now=minute(1))
    await world.hear("START", now=minute(2))

    assert (await recover(world, "STOP", said_at=minute(5))).outcome == "keyword"

    assert not await world.may_text()
    assert (await world.opt_outs())[-1].opted_out_at == minute(5)


async def test_a_start_after_a_stop_counts(world: World):
    await world.accept()
    await world.hear("STOP", now=minute(1))

    assert (await recover(world, "START", said_at=minute(5))).outcome == "keyword"

    assert await world.may_text()


@pytest.mark.parametrize(
    ("words", "may_text"), [(["STOP", "START"], True), (["START", "STOP"], False)]
)
async def test_of_two_keywords_that_were_both_lost_the_later_counts(
    world: World, words: list[str], *, may_text: bool
):
    # Each was noted as of when it was found, so the first one outdated the second.
    await world.accept()
    if words[0] == "START":
        await world.hear("STOP", now=minute(1))

    for at, word in enumerate(words, start=2):
        assert (await recover(world, word, said_at=minute(at))).outcome == "keyword"

    assert await world.may_text() == may_text


async def test_when_it_cannot_be_told_which_came_last_the_stop_counts(world: World):
    """The carrier's clock is not ours, and it writes whole seconds."""
    await world.accept()
    await world.hear("STOP", now=minute(1))
    await world.hear("START", now=second(5 * 60 + 20))

    assert (await recover(world, "STOP", said_at=minute(5))).outcome == "keyword"
    assert not await world.may_text()


async def test_a_stop_that_was_lost_and_then_told_by_the_carrier_is_confirmed_by_nobody(
    world: World,
):
    await world.accept()
    await world.hear("STOP", now=minute(10))
    ours = len(await world.ours())

    await recover(world, "STOP", said_at=minute(5))

    assert len(await world.ours()) == ours
    assert not await world.may_text()


async def test_a_flood_of_the_outage_is_throttled_as_when_it_was_said(world: World):
    """Ten texts in three hours are no flood, though they are found within a second."""
    await world.accept()
    outcomes = [
        (await recover(world, f"Text {n}", said_at=minute(20 * n))).outcome for n in range(1, 11)
    ]
    assert set(outcomes) == {"heard"}


async def test_a_flood_is_one_also_when_it_is_found_later(world: World):
    await world.accept()
    heard = [await recover(world, f"Text {n}", said_at=second(60 + n)) for n in range(12)]
    assert heard[0].outcome == "heard"
    assert (heard[-1].outcome, heard[-1].why) == ("unanswered", "rate_limit")


async def test_what_was_found_does_not_count_against_who_texts_now(world: World):
    await world.accept()
    for n in range(10):
        await recover(world, f"Text {n}", said_at=second(60 + n))
    assert (await world.hear("Hello?", now=FOUND)).outcome == "heard"


async def test_a_text_to_a_closed_conversation_opens_another(world: World):
    accepted = await world.accept()
    await world.expire(now=hour(200))

    heard = await recover(world, "Yes", said_at=hour(1), now=hour(201))

    assert heard.outcome == "heard"
    assert heard.conversation_id != accepted.conversation_id
    (live,) = await world.live()
    assert (live.id, live.state) == (heard.conversation_id, "engaged")


async def test_of_a_user_nobody_knows_the_text_is_treated_as_the_project_says(world: World):
    await world.provision(project={"unknown_user": "ignore"})
    heard = await recover(world, "Hello", said_at=hour(1))
    assert (heard.outcome, heard.why) == ("unanswered", "unknown_user")

    await world.provision(project={"unknown_user": "greet"})
    heard = await recover(world, "Hello again", said_at=hour(2))
    assert heard.outcome == "heard"
    assert [text.text for text in await world.ours()] == [GREETING]


async def test_a_text_from_the_future_was_said_now(world: World):
    await recover(world, "Hello", said_at=hour(7))
    (text,) = await world.texts()
    assert text.created_at == FOUND


async def test_webhook_and_sweep_at_once_store_it_once(world: World):
    await world.accept()
    async with asyncio.TaskGroup() as group:
        found = [
            group.create_task(recover(world, "Yes", said_at=minute(1), sid="SM1")),
            group.create_task(world.hear("Yes", sid="SM1", now=FOUND)),
            group.create_task(recover(world, "Yes", said_at=minute(1), sid="SM1")),
        ]
    assert sorted(task.result().outcome for task in found) == ["duplicate", "duplicate", "heard"]
    assert [text.text for text in await world.texts() if text.direction == "inbound"] == ["Yes"]
