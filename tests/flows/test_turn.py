"""A user's texts are answered once, by an agent that may be slow, fail, or be run twice."""

import asyncio
from datetime import timedelta

import pytest

from tests.support.deployment import FALLBACK, NOW, USER, hour, second
from tests.support.doubles import OPTED_OUT, CarrierDouble, EngineDouble
from tests.support.world import World
from textback.core.engine import TurnFailed, TurnReply
from textback.db import conversations, turns, under_way
from textback.flows import turn

FAILED = TurnFailed("no usable answer")
QUEUE = {"while_thinking": "queue"}


async def test_the_agents_answer_is_queued_once(world: World):
    await world.accept()
    await world.hear("Hello", now=second(1))

    assert await world.think(now=second(1)) == ["answered"]
    assert await world.think(now=hour(1)) == []

    _, reply = await world.ours()
    assert (reply.kind, reply.text, reply.state) == ("reply", "You said: Hello", "queued")
    assert reply.due_at == second(1)


async def test_several_texts_of_an_answer_go_out_in_order(world: World):
    await world.hear("Hello")

    await world.think(engine=EngineDouble(TurnReply(texts=["One", "Two", "Three"])))
    for n in range(3):  # each waits for a receipt, or this long
        await world.send_all(now=second(5 * n))

    assert world.carrier.texts == ["One", "Two", "Three"]


async def test_an_agent_may_stay_silent(world: World):
    heard = await world.hear("hush")

    assert await world.think() == ["silent"]

    assert await world.ours() == []
    assert heard.conversation_id is not None
    assert (await world.talk(heard.conversation_id)).state == "engaged"


async def test_an_answer_restarts_the_idle_clock(world: World):
    heard = await world.hear("Hello")
    (thinking,) = await world.claim_turns()

    await world.answer(thinking, "Hi", now=second(20))

    assert heard.conversation_id is not None
    talk = await world.talk(heard.conversation_id)
    assert (talk.active_at, talk.deadline_at) == (second(20), hour(24 + 20 / 3600))


async def test_the_agent_is_told_who_asks_but_no_numbers(world: World):
    accepted = await world.accept()
    await world.hear("Hello", now=second(1))
    engine = EngineDouble("Hi")

    await world.think(now=second(1), engine=engine)

    (asked,) = engine.asked
    assert (asked.conversation_id, asked.agent_id, asked.project_id) == (
        accepted.conversation_id,
        "bookings",
        "reminders",
    )
    assert USER not in repr(asked)


async def test_the_transcript_holds_what_was_said_oldest_first(world: World):
    await world.accept("Your appointment is at 3pm.")
    await world.hear("Can I come later?", now=second(60))
    await world.think(now=second(60), engine=EngineDouble("When?"))
    await world.hear("At 5", now=second(120))
    engine = EngineDouble("Fine.")

    await world.think(now=second(120), engine=engine)

    assert [(said.role, said.text, said.at) for said in engine.asked[0].transcript] == [
        ("agent", "Your appointment is at 3pm.", NOW),
        ("user", "Can I come later?", second(60)),
        ("agent", "When?", second(60)),
        ("user", "At 5", second(120)),
    ]
    assert engine.asked[0].heard == "At 5"


async def test_keywords_and_their_confirmations_are_no_part_of_the_transcript(world: World):
    await world.accept("One")
    await world.hear("HELP", now=second(1))
    await world.hear("Hello", now=second(2))
    await world.hear("INFO", now=second(3))
    engine = EngineDouble("Hi")

    await world.think(now=second(3), engine=engine)

    assert [said.text for said in engine.asked[0].transcript] == ["One", "Hello"]
    assert engine.asked[0].heard == "Hello"


async def test_what_never_reached_the_user_is_no_part_of_the_transcript(world: World):
    await world.hear("Hello")
    await world.think(engine=EngineDouble(TurnReply(texts=["Refused", "Expired"])))
    await world.send(carrier=CarrierDouble(OPTED_OUT))
    await world.hear("START", now=second(1))
    await world.hear("Again", now=second(2))
    await world.think(now=second(2), engine=EngineDouble("Late"))
    await world.send_all(now=hour(5))
    await world.hear("Hello?", now=hour(5))
    engine = EngineDouble("Hi")

    await world.think(now=hour(5), engine=engine)

    assert [said.text for said in engine.asked[0].transcript] == ["Again", "Hello?"]


async def test_a_text_that_lands_while_the_agent_thinks_is_answered_by_a_second_turn(world: World):
    await world.provision(project=QUEUE)
    await world.hear("One")
    (first,) = await world.claim_turns()
    await world.hear("Two", now=second(1))
    await world.hear("Three", now=second(2))
    assert await world.claim_turns(now=second(3)) == []  # one thinks at a time

    await world.answer(first, "To one", now=second(4))
    (then,) = await world.claim_turns(now=second(4))
    await world.answer(then, "To two and three", now=second(5))

    assert (first.heard, then.heard) == ("One", "Two\nThree")
    assert [said.text for said in then.transcript] == ["One", "Two", "Three", "To one"]
    assert [text.text for text in await world.ours()] == ["To one", "To two and three"]
    assert await world.claim_turns(now=hour(1)) == []


async def test_a_turn_whose_worker_died_runs_again_and_answers_once(world: World):
    await world.hear("Hello")
    (lost,) = await world.claim_turns()

    assert await world.rescue_turns(now=lost.lease_until - (second(1) - NOW)) == 0
    assert await world.rescue_turns(now=lost.lease_until) == 1
    (again,) = await world.claim_turns(now=lost.lease_until)
    await world.answer(again, "Second run", now=lost.lease_until)

    assert (again.id, again.heard, again.attempts) == (lost.id, "Hello", 2)
    assert turn.request(again).turn_id == turn.request(lost).turn_id
    assert [text.text for text in await world.ours()] == ["Second run"]


async def test_a_worker_that_was_thought_dead_answers_too_late(world: World):
    await world.hear("Hello")
    (lost,) = await world.claim_turns()
    await world.rescue_turns(now=lost.lease_until)
    (again,) = await world.claim_turns(now=lost.lease_until)

    assert await world.answer(lost, "First run", now=lost.lease_until) is None
    assert await world.answer(again, "Second run", now=lost.lease_until) == "answered"
    assert await world.answer(again, "Second run", now=lost.lease_until) is None

    assert [text.text for text in await world.ours()] == ["Second run"]


async def test_the_lease_outlasts_the_engines_own_deadline(world: World):
    await world.hear("Hello")

    (thinking,) = await world.claim_turns()

    assert thinking.lease_until > NOW + world.engine.deadline + timedelta(seconds=1)


async def test_racing_workers_run_a_turn_once(world: World):
    for n in range(8):
        await world.hear(f"Text {n}")
        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(world.claim_turns()) for _ in range(6)]
        (thinking,) = [found for claim in claims for found in claim.result()]
        await world.answer(thinking, TurnReply(texts=[]))


async def test_a_turn_recorded_by_two_at_once_answers_once(world: World):
    await world.hear("Hello")
    (thinking,) = await world.claim_turns()

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(world.answer(thinking, "Hi")) for _ in range(5)]

    assert sorted(str(answer.result()) for answer in answers) == ["None"] * 4 + ["answered"]
    assert len(await world.ours()) == 1


async def test_texts_that_race_with_the_agent_are_each_heard_exactly_once(world: World):
    limits = {"per_sender": {"requests": 1000, "per_seconds": 1}}
    await world.provision(project={"inbound_limits": limits, **QUEUE})
    heard = list[str]()
    texts = [f"Text {n}" for n in range(40)]

    async def user() -> None:
        for text in texts:
            await world.hear(text)

    async def agent() -> None:
        while len(heard) < len(texts):
            for thinking in await world.claim_turns():
                heard.extend(thinking.heard.split("\n"))
                await asyncio.sleep(0)
                await world.answer(thinking, TurnReply(texts=()))

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(user())
        for _ in range(3):
            group.create_task(agent())

    assert heard == texts


async def test_a_text_that_comes_while_a_turn_is_rescued_is_kept(world: World):
    # Both made the waiting turn of the conversation, and it was the text that was refused.
    await world.hear("One")
    (lost,) = await world.claim_turns()

    async with asyncio.TaskGroup() as group:
        async with world.transaction() as c:
            assert await under_way.leases_run_out(c, now=lost.lease_until, limit=10) == 1
            hears = group.create_task(world.hear("Two", now=lost.lease_until))
            await world.blocked(1)
        assert (await hears).outcome == "heard"

    (again,) = await world.claim_turns(now=lost.lease_until)
    assert again.heard == "One\nTwo"


@pytest.mark.parametrize("way", ["given back", "rescued"])
async def test_a_turn_that_comes_back_while_a_text_comes_in_joins_its_turn(world: World, way: str):
    heard = await world.hear("One")
    assert heard.conversation_id is not None
    (held,) = await world.claim_turns()

    async with asyncio.TaskGroup() as group, world.transaction() as c:
        await conversations.lock(c, heard.conversation_id)
        await turns.text_came(
            c,
            heard.conversation_id,
            while_thinking="queue",
            now=held.lease_until,
            delay=timedelta(0),
        )
        if way == "rescued":
            assert await world.rescue_turns(now=held.lease_until) == 0  # next time, then
        else:
            group.create_task(turn.give_back(world.db, held, due_at=second(2)))
            await world.blocked(1)
    await world.rescue_turns(now=held.lease_until)

    assert sorted(found.state for found in await world.turns()) == ["ended", "waiting"]


@pytest.mark.parametrize("how", ["opted_out", "agent_ended"])
async def test_an_answer_to_a_conversation_that_closed_meanwhile_is_dropped(world: World, how: str):
    heard = await world.hear("Hello")
    (thinking,) = await world.claim_turns()
    match how:
        case "opted_out":
            await world.hear("STOP", now=second(1))
        case _:
            await world.rescue_turns(now=thinking.lease_until)
            (again,) = await world.claim_turns(now=thinking.lease_until)
            await world.answer(again, TurnReply(texts=[], end_conversation=True))
            assert await world.answer(thinking, "Too late") is None
            return

    assert await world.answer(thinking, "Too late", now=second(2)) == "dropped"

    assert "Too late" not in [text.text for text in await world.texts()]
    assert heard.conversation_id is not None
    assert (await world.talk(heard.conversation_id)).reason == how
    assert "turn.dropped" in await world.events(heard.conversation_id)


@pytest.mark.parametrize("thinking", [True, False])
async def test_a_question_is_answered_although_a_newer_send_took_over(
    world: World, *, thinking: bool
):
    # The new send dropped it: the user had asked something and never heard of it.
    heard = await world.hear("When are you open?")
    claimed = await world.claim_turns() if thinking else []
    newer = await world.accept("Your order is here.", now=second(1))

    (held,) = claimed or await world.claim_turns(now=second(2))
    reply = TurnReply(texts=["From 8 to 5."], end_conversation=True)
    assert await world.answer(held, reply, now=second(2)) == "answered"
    await world.send_all(now=second(3))

    assert held.heard == "When are you open?"
    assert world.carrier.texts == ["Your order is here.", "From 8 to 5."]
    assert held.conversation_id == heard.conversation_id
    assert (await world.talk(held.conversation_id)).reason == "superseded"
    assert [talk.id for talk in await world.live()] == [newer.conversation_id]
    assert await world.claim_turns(now=hour(1)) == []


@pytest.mark.parametrize("thinking", [True, False])
async def test_who_asked_was_texted_anew_and_said_stop_is_not_answered(
    world: World, *, thinking: bool
):
    heard = await world.hear("When are you open?")
    claimed = await world.claim_turns() if thinking else []
    await world.accept("Your order is here.", now=second(1))
    await world.hear("STOP", now=second(2))

    (held,) = claimed or await world.claim_turns(now=second(3))
    assert await world.answer(held, "From 8 to 5.", now=second(3)) == "dropped"

    assert "From 8 to 5." not in [text.text for text in await world.ours()]
    assert heard.conversation_id is not None
    assert (await world.events(heard.conversation_id))[-1] == "turn.dropped"


async def test_a_waiting_turn_that_stop_drops_is_told(world: World):
    heard = await world.hear("Hello")
    await world.hear("STOP", now=second(1))

    assert heard.conversation_id is not None
    assert "turn.dropped" in await world.events(heard.conversation_id)
    assert await world.claim_turns(now=hour(1)) == []


async def test_an_agent_that_ends_the_conversation_still_has_its_last_word(world: World):
    heard = await world.hear("bye")

    await world.think(now=second(1))
    await world.send_all(now=second(1))

    assert world.carrier.texts == ["Bye."]
    assert heard.conversation_id is not None
    talk = await world.talk(heard.conversation_id)
    assert (talk.state, talk.reason) == ("closed", "agent_ended")


async def test_an_agent_may_end_a_conversation_without_a_word(world: World):
    await world.hear("Hello")

    await world.think(engine=EngineDouble(TurnReply(texts=[], end_conversation=True)))

    assert await world.live() == []


async def test_a_text_that_lands_while_the_agent_ends_the_conversation_is_answered(world: World):
    # It was kept in a conversation that had ended, and nobody answered it.
    await world.provision(project=QUEUE)
    await world.hear("bye")
    (thinking,) = await world.claim_turns()
    await world.hear("One more thing", now=second(1))

    await world.answer(thinking, TurnReply(texts=["Bye."], end_conversation=True), now=second(2))
    await world.think(now=second(3))

    assert [text.text for text in await world.ours()] == ["Bye.", "You said: One more thing"]


# --- Engines that fail ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense", [TurnReply(texts=[""]), TurnReply(texts=["\ud800"]), TurnReply(texts=["x"] * 11)]
)
async def test_when_the_engine_talks_nonsense_the_fallback_is_sent_once(
    world: World, nonsense: TurnReply
):
    await world.hear("Hello")

    assert await world.think(engine=EngineDouble(nonsense)) == ["failed"]
    assert await world.think(now=hour(1), engine=EngineDouble(nonsense)) == []

    assert [text.text for text in await world.ours()] == [FALLBACK]


async def test_when_the_engine_fails_the_fallback_is_sent_once(world: World):
    heard = await world.hear("Hello")

    assert await world.think(engine=EngineDouble(FAILED)) == ["failed"]
    assert await world.think(now=hour(1), engine=EngineDouble(FAILED)) == []

    (reply,) = await world.ours()
    assert (reply.kind, reply.text) == ("reply", FALLBACK)
    assert heard.conversation_id is not None
    assert "turn.failed" in await world.events(heard.conversation_id)
    assert (await world.talk(heard.conversation_id)).state == "engaged"


async def test_without_a_fallback_a_failure_says_nothing(world: World):
    heard = await world.hear("Hello")

    assert await world.think(engine=EngineDouble(FAILED), fallback=None) == ["failed"]

    assert await world.ours() == []
    assert heard.conversation_id is not None
    assert "turn.failed" in await world.events(heard.conversation_id)


async def test_what_a_failed_turn_heard_is_not_heard_again(world: World):
    await world.hear("One")
    await world.think(engine=EngineDouble(FAILED))
    await world.hear("Two", now=second(60))
    engine = EngineDouble("Hi")

    await world.think(now=second(60), engine=engine)

    assert engine.asked[0].heard == "Two"


# --- Workers that stop ------------------------------------------------------------------------


async def test_a_turn_given_back_runs_again_at_once_and_costs_no_attempt(world: World):
    await world.hear("Hello")
    (held,) = await world.claim_turns()

    await turn.give_back(world.db, held, due_at=second(1))
    (again,) = await world.claim_turns(now=second(1))

    assert (again.id, again.heard, again.attempts) == (held.id, "Hello", 1)
    assert await world.answer(held, "Too late", now=second(2)) is None
    assert await world.answer(again, "Hi", now=second(2)) == "answered"


async def test_a_turn_given_back_after_its_lease_leaves_the_next_workers_alone(world: World):
    await world.hear("Hello")
    (held,) = await world.claim_turns()
    await world.rescue_turns(now=held.lease_until)
    (again,) = await world.claim_turns(now=held.lease_until)

    await turn.give_back(world.db, held, due_at=held.lease_until)

    assert await world.answer(again, "Hi", now=held.lease_until) == "answered"


@pytest.mark.parametrize("way", ["given back", "rescued"])
async def test_a_turn_that_comes_back_joins_the_one_that_waits(world: World, way: str):
    await world.provision(project=QUEUE)
    await world.hear("One")
    (held,) = await world.claim_turns()
    await world.hear("Two", now=second(1))

    if way == "rescued":
        await world.rescue_turns(now=held.lease_until)
    else:
        await turn.give_back(world.db, held, due_at=second(2))

    (again,) = await world.claim_turns(now=held.lease_until)
    assert again.heard == "One\nTwo"
    assert await world.answer(again, "Hi", now=held.lease_until) == "answered"
    assert await world.claim_turns(now=hour(1)) == []
    assert {found.outcome for found in await world.turns()} == {"merged", "answered"}
