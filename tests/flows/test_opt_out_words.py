"""STOP, START and HELP are confirmed once, by the carrier or by us; START ends what STOP began."""

import pytest

from tests.support.deployment import AGENT, NUMBERS, number, second
from tests.support.doubles import OPTED_OUT, CarrierDouble, EngineDouble
from tests.support.records import Text
from tests.support.world import World
from textback.core import optout
from textback.core.engine import TurnReply


async def notices(world: World) -> list[Text]:
    return [text for text in await world.ours() if text.kind == "notice"]


async def test_stop_is_confirmed_once(world: World):
    await world.hear("STOP")
    await world.hear("STOP", now=second(1))
    await world.send_all(now=second(2))

    assert world.carrier.texts == [optout.STOP_REPLY]


async def test_a_second_stop_does_not_take_the_confirmation_of_the_first_back(world: World):
    await world.hear("STOP")
    (confirmation,) = await notices(world)

    await world.hear("STOP", now=second(1))
    await world.send_all(now=second(2))

    assert await world.state(confirmation.id) == "sent"


async def test_stop_takes_back_a_confirmation_of_start_that_waits(world: World):
    await world.hear("STOP")
    await world.hear("START", now=second(1))
    await world.hear("STOP", now=second(2))
    await world.send_all(now=second(3))

    assert world.carrier.texts == [optout.STOP_REPLY]


@pytest.mark.parametrize("words", ["STOP", "START", "HELP"])
async def test_where_the_carrier_confirms_we_do_not(world: World, words: str):
    await world.provision(numbers=[number(AGENT, opt_out_replies="carrier"), *NUMBERS[1:]])

    await world.hear(words)

    assert await notices(world) == []


@pytest.mark.parametrize("kind", ["stop", "start", "help"])
async def test_what_the_carrier_says_it_answered_is_not_answered_again(world: World, kind: str):
    words = {"stop": "STOP", "start": "START", "help": "HELP"}[kind]

    heard = await world.hear(words, opt_out=kind)  # pyright: ignore[reportArgumentType]

    assert heard.outcome == "keyword"
    assert await notices(world) == []


async def test_words_that_only_the_carrier_takes_for_stop_opt_out(world: World):
    await world.accept()

    await world.hear("no more please", opt_out="stop", now=second(1))

    assert not await world.may_text()
    assert await world.think(now=second(2)) == []


async def test_help_is_answered_and_changes_nothing(world: World):
    accepted = await world.accept()

    await world.hear("Help", now=second(1))

    (notice,) = await notices(world)
    assert (notice.text, notice.state) == (optout.HELP_REPLY, "queued")
    assert await world.may_text()
    assert (await world.talk(accepted.conversation_id)).state == "engaged"
    assert await world.think(now=second(2)) == []


async def test_help_is_answered_also_while_opted_out(world: World):
    await world.hear("STOP")

    await world.hear("HELP", now=second(1))
    await world.send_all(now=second(2))

    assert world.carrier.texts == [optout.STOP_REPLY, optout.HELP_REPLY]


async def test_a_projects_own_words_count(world: World):
    await world.provision(
        project={"opt_out_words": {"stop": ["arrêt"], "start": ["encore"], "help": ["aide"]}}
    )

    await world.hear("ARRÊT!")
    assert not await world.may_text()
    await world.hear("aide", now=second(1))
    await world.hear("Encore", now=second(2))

    assert await world.may_text()
    assert [n.text for n in await notices(world)] == [
        optout.STOP_REPLY,
        optout.HELP_REPLY,
        optout.START_REPLY,
    ]


# --- START --------------------------------------------------------------------------------------


async def test_start_ends_the_opt_out_and_keeps_its_record(world: World):
    await world.hear("STOP")

    await world.hear("START", now=second(1))

    assert await world.may_text()
    (opt_out,) = await world.opt_outs()
    assert opt_out.opted_in_at == second(1)
    (notice,) = [n for n in await notices(world) if n.text == optout.START_REPLY]
    assert notice.state == "queued"


async def test_start_ends_an_opt_out_that_the_carrier_reported(world: World):
    await world.accept()
    await world.send(carrier=CarrierDouble(OPTED_OUT))

    await world.hear("START", now=second(1))

    assert await world.may_text()


async def test_after_start_the_agent_answers_again(world: World):
    await world.hear("STOP")
    await world.hear("START", now=second(1))

    await world.hear("Hello", now=second(2))

    assert await world.think(now=second(2)) == ["answered"]


async def test_start_does_not_bring_dropped_texts_back(world: World):
    accepted = await world.accept()
    await world.hear("STOP", now=second(1))

    await world.hear("START", now=second(2))
    await world.send_all(now=second(3))

    assert await world.state(accepted.message_id) == "suppressed"


async def test_yes_means_start_only_while_opted_out(world: World):
    await world.accept("Reply YES to confirm.")

    assert (await world.hear("YES", now=second(1))).outcome == "heard"
    await world.hear("STOP", now=second(2))
    assert (await world.hear("Yes", now=second(3))).outcome == "keyword"

    assert await world.may_text()
    assert (await world.hear("yes", now=second(4))).outcome == "heard"


async def test_one_may_opt_out_and_in_again_and_again(world: World):
    for n in range(3):
        await world.hear("STOP", now=second(2 * n))
        await world.hear("START", now=second(2 * n + 1))

    assert len(await world.opt_outs()) == 3
    assert await world.may_text()


# --- Between STOP and START ---------------------------------------------------------------------


async def test_what_an_opted_out_user_says_is_kept_without_an_answer(world: World):
    await world.hear("STOP")

    heard = await world.hear("Are you there?", now=second(1))

    assert (heard.outcome, heard.why) == ("unanswered", "opted_out")
    kept = (await world.texts())[-1]
    assert (kept.text, kept.kind, kept.note) == ("Are you there?", "unanswered", "opted_out")
    assert await world.think(now=second(2)) == []
    assert await world.live() == []


async def test_the_agent_never_hears_what_was_said_while_opted_out(world: World):
    await world.hear("STOP")
    await world.hear("Secret", now=second(1))
    await world.hear("START", now=second(2))
    await world.hear("Hello", now=second(3))
    engine = EngineDouble(TurnReply(texts=[]))

    await world.think(now=second(3), engine=engine)

    assert engine.asked[0].heard == "Hello"
    assert [said.text for said in engine.asked[0].transcript] == ["Hello"]
