"""A conversation is handed to a person and back, at every point of an agent's turn."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from tests.support.deployment import HTTP, USER, hour, minute, second
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.engine import TurnReply
from textback.core.errors import BadRequest, UnknownConversation, WrongState
from textback.core.ids import AccountId, ConversationId
from textback.db import reads
from textback.flows.hand import MAX_REASON
from textback.flows.say import Who

CALLER = Who("caller", AccountId("acme"))
LIMITS: Mapping[str, object] = {
    "inbound_limits": {
        "per_sender": {"requests": 2, "per_seconds": 60},
        "repeats": {"count": 2, "within_seconds": 300, "block_seconds": 600},
    }
}


async def engaged(world: World) -> ConversationId:
    """The user said "Hello", and got an answer."""
    heard = await world.hear("Hello")
    await world.think()
    assert heard.conversation_id is not None
    return heard.conversation_id


async def handed_off(world: World) -> ConversationId:
    conversation = await engaged(world)
    await world.hand_off(conversation, now=second(5))
    return conversation


# --- Handing over -------------------------------------------------------------------------------


async def test_a_conversation_that_was_handed_off_says_why_and_by_whom(world: World):
    conversation = await engaged(world)

    done = await world.hand_off(
        conversation, "a refund", who=CALLER, metadata={"ticket": 7}, now=second(5)
    )

    assert done.changed
    assert (await world.talk(conversation)).state == "handed_off"
    (*_, told) = await world.told(conversation)
    assert told == (
        "conversation.handed_off",
        {"reason": "a refund", "by": "caller", "metadata": {"ticket": 7}},
    )


async def test_one_that_a_person_has_already_stays_as_it_is(world: World):
    conversation = await engaged(world)
    await world.hand_off(conversation, "the first reason", now=second(5))

    again = await world.hand_off(conversation, "the second reason", now=second(6))

    assert not again.changed
    told = await world.told(conversation)
    assert [data for kind, data in told if kind == "conversation.handed_off"] == [
        {"reason": "the first reason", "by": "operator"}
    ]


async def test_an_opener_that_is_queued_still_goes_out(world: World):
    accepted = await world.accept("Is 3pm good?")

    await world.hand_off(accepted.conversation_id)
    await world.send_all()

    assert world.carrier.texts == ["Is 3pm good?"]


async def test_a_question_that_waits_for_the_agent_is_left_to_the_person(world: World):
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None

    await world.hand_off(heard.conversation_id, now=second(1))

    assert await world.think(now=minute(5)) == []
    assert [turn.outcome for turn in await world.turns()] == ["dropped"]
    assert (await world.events(heard.conversation_id))[-2:] == [
        "conversation.handed_off",
        "turn.dropped",
    ]


async def test_what_the_agent_was_thinking_of_is_not_said(world: World):
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None
    (thinking,) = await world.claim_turns()
    await world.hand_off(heard.conversation_id, now=second(1))

    await world.answer(thinking, "Too late", now=second(2))

    assert await world.ours() == []
    assert (await world.talk(heard.conversation_id)).state == "handed_off"


async def test_what_the_agent_thought_of_before_is_not_said_after_it_was_resumed_either(
    world: World,
):
    # It answers a question that the person has answered by then.
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None
    (thinking,) = await world.claim_turns()
    await world.hand_off(heard.conversation_id, now=second(1))
    await world.say(heard.conversation_id, "Bob here.", now=second(2))
    await world.resume(heard.conversation_id, now=second(3))

    await world.answer(thinking, "Too late", now=second(4))

    assert [text.text for text in await world.ours()] == ["Bob here."]
    assert await world.think(now=minute(5)) == []


async def test_a_worker_that_dies_over_a_turn_that_was_dropped_leaves_nothing_behind(world: World):
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None
    await world.claim_turns()
    await world.hand_off(heard.conversation_id, now=second(1))

    assert await world.rescue_turns(now=hour(1)) == 0
    assert await world.think(now=hour(1)) == []


@pytest.mark.parametrize("thinks", [False, True])
async def test_an_opener_that_the_agent_was_to_write_holds_back_no_person(
    world: World, *, thinks: bool
):
    # A text without words is never due, and what comes after it to the same user waits for it.
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)
    if thinks:
        await world.claim_turns()

    await world.hand_off(promised.conversation_id, now=second(1))
    await world.say(promised.conversation_id, "Bob here.", now=second(2))
    await world.send_all(now=second(3))

    assert world.carrier.texts == ["Bob here."]
    text = await world.text(promised.message_id)
    assert (text.state, text.drop_reason) == ("suppressed", "cancelled")


async def test_no_time_runs_while_a_person_has_it(world: World):
    conversation = await handed_off(world)
    assert (await world.talk(conversation)).deadline_at is None

    assert await world.expire(now=hour(1000)) == 0

    assert (await world.talk(conversation)).state == "handed_off"


async def test_a_warned_conversation_that_is_handed_off_is_not_closed(world: World):
    conversation = await engaged(world)
    await world.expire(now=hour(24))
    assert (await world.talk(conversation)).state == "warned"

    await world.hand_off(conversation, now=hour(24.1))

    assert await world.expire(now=hour(48)) == 0


async def test_what_is_over_cannot_be_handed_off(world: World):
    conversation = await engaged(world)
    await world.end(conversation, now=second(5))

    with pytest.raises(WrongState, match=r"is closed \(operator\): there is nothing to hand over"):
        await world.hand_off(conversation, now=second(6))


@pytest.mark.parametrize("why", ["", "  ", "a\0b", "x" * (MAX_REASON + 1), "\ud800"])
async def test_a_reason_that_cannot_be_kept_is_refused(world: World, why: str):
    conversation = await engaged(world)

    with pytest.raises(BadRequest, match="A reason has 1 to 500 characters"):
        await world.hand_off(conversation, why)
    with pytest.raises(BadRequest, match="A reason has 1 to 500 characters"):
        await world.end(conversation, why)


async def test_another_accounts_conversation_is_not_there(world: World):
    conversation = await handed_off(world)
    stranger = Who("caller", AccountId("globex"))

    for act in (
        world.hand_off(conversation, who=stranger),
        world.say(conversation, who=stranger),
        world.resume(conversation, who=stranger),
        world.end(conversation, who=stranger),
    ):
        with pytest.raises(UnknownConversation):
            await act

    assert (await world.talk(conversation)).state == "handed_off"
    assert len(await world.ours()) == 1


# --- By the agent -------------------------------------------------------------------------------

TAKEN_OVER = TurnReply(texts=["One moment, I get somebody."], hand_off="the user is angry")


async def test_an_agent_says_its_last_text_and_hands_over(world: World):
    heard = await world.hear("Give me a human")
    assert heard.conversation_id is not None

    assert await world.think(engine=EngineDouble(TAKEN_OVER)) == ["answered"]
    await world.send_all(now=second(1))

    assert world.carrier.texts == ["One moment, I get somebody."]
    talk = await world.talk(heard.conversation_id)
    assert (talk.state, talk.deadline_at) == ("handed_off", None)
    assert (await world.told(heard.conversation_id))[-1] == (
        "conversation.handed_off",
        {"reason": "the user is angry", "by": "agent"},
    )


async def test_an_agent_may_hand_over_without_a_word(world: World):
    heard = await world.hear("Give me a human")
    assert heard.conversation_id is not None

    silent = TurnReply(texts=[], hand_off="the user is angry")
    assert await world.think(engine=EngineDouble(silent)) == ["silent"]

    assert (await world.talk(heard.conversation_id)).state == "handed_off"


async def test_who_hands_over_does_not_end(world: World):
    heard = await world.hear("Give me a human")
    assert heard.conversation_id is not None
    both = TurnReply(texts=["Bye."], hand_off="the user is angry", end_conversation=True)

    await world.think(engine=EngineDouble(both))

    assert (await world.talk(heard.conversation_id)).state == "handed_off"


async def test_what_the_user_said_while_the_agent_thought_is_left_to_the_person(world: World):
    await world.provision(project={"while_thinking": "queue"})
    heard = await world.hear("Give me a human")
    assert heard.conversation_id is not None
    (thinking,) = await world.claim_turns()
    await world.hear("Now!", now=second(1))

    await world.answer(thinking, TAKEN_OVER, now=second(2))

    assert await world.waiting() == []
    assert await world.think(now=minute(5)) == []
    assert [text.text for text in await world.texts()][:2] == ["Give me a human", "Now!"]


async def test_an_agent_that_is_to_open_may_hand_over_instead(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)

    await world.think(engine=EngineDouble(TurnReply(texts=[], hand_off="it is too hard")))

    assert (await world.talk(promised.conversation_id)).state == "handed_off"
    assert (await world.text(promised.message_id)).error_code == "agent_failed"
    await world.say(promised.conversation_id, now=second(5))
    await world.send_all(now=second(6))
    assert world.carrier.texts == ["Bob here, how can I help?"]


async def test_an_agent_that_opens_and_hands_over_says_its_opener(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})
    promised = await world.accept(None)

    await world.think(engine=EngineDouble(TAKEN_OVER))
    await world.send_all(now=second(1))

    assert world.carrier.texts == ["One moment, I get somebody."]
    assert (await world.talk(promised.conversation_id)).state == "handed_off"


async def test_an_agent_whose_conversation_was_superseded_hands_nothing_over(world: World):
    await world.hear("Give me a human")
    (thinking,) = await world.claim_turns()
    newer = await world.accept("Something else.", now=second(1))

    await world.answer(thinking, TAKEN_OVER, now=second(2))

    assert [talk.state for talk in await world.talks()] == ["closed", "opened"]
    assert [talk.id for talk in await world.live()] == [newer.conversation_id]


# --- What the user says meanwhile ---------------------------------------------------------------


async def test_what_the_user_says_is_kept_and_announced_for_the_person(world: World):
    conversation = await handed_off(world)

    heard = await world.hear("Is anybody there?", now=second(10))

    assert (heard.outcome, heard.why) == ("unanswered", "handed_off")
    assert heard.conversation_id == conversation
    (told,) = [e for e in await reads.events_after(world.db, 0) if e.message_id == heard.message_id]
    assert (told.kind, told.data) == ("message.received", {"note": "handed_off"})
    assert await world.think(now=minute(5)) == []
    assert (await world.talk(conversation)).active_at == second(10)


async def test_limits_that_spare_agents_do_not_hide_a_text_from_a_person(world: World):
    await world.provision(project=LIMITS)
    await handed_off(world)

    for n in range(5):
        heard = await world.hear("Hello?", now=second(10 + n))
        assert heard.why == "handed_off"


async def test_the_agents_reply_budget_does_not_pause_what_a_person_has(world: World):
    await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
    conversation = await handed_off(world)

    assert (await world.hear("Hello?", now=second(10))).why == "handed_off"
    assert (await world.talk(conversation)).state == "handed_off"


async def test_stop_closes_what_a_person_has_and_is_confirmed(world: World):
    conversation = await handed_off(world)
    await world.send_all(now=second(6))
    await world.say(conversation, "Bob here.", now=second(7))

    await world.hear("STOP", now=second(8))
    await world.send_all(now=second(9))

    talk = await world.talk(conversation)
    assert (talk.state, talk.reason) == ("closed", "opted_out")
    ours = await world.ours()
    assert [(text.kind, text.state) for text in ours[1:]] == [
        ("person", "suppressed"),
        ("notice", "sent"),
    ]


async def test_help_is_answered_while_a_person_has_it(world: World):
    conversation = await handed_off(world)

    await world.hear("HELP", now=second(8))
    await world.send_all(now=second(9))

    assert [text.kind for text in await world.ours()] == ["reply", "notice"]
    assert (await world.talk(conversation)).state == "handed_off"


async def test_a_lost_text_that_is_found_later_is_kept_for_the_person(world: World):
    await handed_off(world)

    heard = await world.hear("Hello?", said_at=second(10), now=minute(5))

    assert (heard.outcome, heard.why) == ("unanswered", "handed_off")


async def test_a_new_send_closes_what_a_person_has(world: World):
    conversation = await handed_off(world)

    newer = await world.accept("Something else.", now=minute(1))

    talk = await world.talk(conversation)
    assert (talk.state, talk.reason) == ("closed", "superseded")
    assert [live.id for live in await world.live(user=USER)] == [newer.conversation_id]


# --- Going on -----------------------------------------------------------------------------------


async def test_a_resumed_agent_waits_for_the_user_and_answers_only_what_is_new(world: World):
    conversation = await handed_off(world)
    await world.hear("What does it cost?", now=second(10))
    await world.say(conversation, "10 dollars.", now=second(20))
    await world.hear("And in euros?", now=second(30))

    done = await world.resume(conversation, now=minute(1))

    assert (done.answers, done.message_id) == (0, None)
    assert await world.think(now=minute(5)) == []
    talk = await world.talk(conversation)
    assert (talk.state, talk.deadline_at) == ("engaged", minute(1) + timedelta(hours=24))
    await world.hear("Thanks", now=minute(6))
    engine = EngineDouble("Welcome.")
    await world.think(now=minute(6), engine=engine)
    (asked,) = engine.asked
    assert asked.heard == "Thanks"
    assert [(said.role, said.text) for said in asked.transcript] == [
        ("user", "Hello"),
        ("agent", "You said: Hello"),
        ("user", "What does it cost?"),
        ("person", "10 dollars."),
        ("user", "And in euros?"),
        ("user", "Thanks"),
    ]


async def test_a_resumed_agent_may_begin_with_a_message(world: World):
    conversation = await handed_off(world)
    await world.hear("What does it cost?", now=second(10))

    done = await world.resume(conversation, message="I am back.", now=minute(1))
    await world.send_all(now=minute(1))

    assert world.carrier.texts[-1] == "I am back."
    assert done.message_id is not None
    assert (await world.text(done.message_id)).kind == "reply"
    assert await world.think(now=minute(5)) == []
    await world.hear("Good", now=minute(6))
    engine = EngineDouble("Yes.")
    await world.think(now=minute(6), engine=engine)
    assert engine.asked[0].heard == "Good"


async def test_a_resumed_agent_may_answer_what_the_person_left_open(world: World):
    conversation = await handed_off(world)
    await world.hear("What does it cost?", now=second(10))
    await world.say(conversation, "10 dollars.", now=second(20))
    await world.hear("And in euros?", now=second(30))
    await world.hear("And in yen?", now=second(31))

    done = await world.resume(conversation, reply=True, now=minute(1))

    assert done.answers == 2
    engine = EngineDouble("9 euros.")
    assert await world.think(now=minute(1), engine=engine) == ["answered"]
    assert engine.asked[0].heard == "And in euros?\nAnd in yen?"


async def test_an_agent_that_is_to_reply_to_nothing_goes_on_by_itself(world: World):
    conversation = await handed_off(world)
    await world.say(conversation, "10 dollars.", now=second(20))

    done = await world.resume(conversation, reply=True, now=minute(1))

    assert done.answers == 0
    engine = EngineDouble("Anything else?")
    assert await world.think(now=minute(1), engine=engine) == ["answered"]
    assert engine.asked[0].heard == ""


async def test_a_question_from_before_the_hand_off_is_answered_too_if_nobody_did(world: World):
    await engaged(world)
    heard = await world.hear("What does it cost?", now=second(10))
    assert heard.conversation_id is not None
    await world.hand_off(heard.conversation_id, now=second(10))

    done = await world.resume(heard.conversation_id, reply=True, now=minute(1))

    assert done.answers == 1
    engine = EngineDouble("10 dollars.")
    await world.think(now=minute(1), engine=engine)
    assert engine.asked[0].heard == "What does it cost?"


async def test_a_persons_text_that_failed_has_answered_nothing(world: World):
    conversation = await handed_off(world)
    await world.send_all(now=second(6))
    await world.hear("What does it cost?", now=second(10))
    said = await world.say(conversation, "10 dollars.", now=second(20))
    await world.send_all(now=second(21))
    sid = (await world.text(said.message_id)).carrier_message_id
    assert sid is not None
    await world.receipt("failed", sid=sid, error_code="30003", now=second(22))

    assert (await world.resume(conversation, reply=True, now=minute(1))).answers == 1


async def test_what_a_pause_kept_before_the_hand_off_can_be_answered_too(world: World):
    await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
    conversation = await engaged(world)
    assert (await world.hear("One more", now=second(10))).why == "reply_budget"
    await world.hand_off(conversation, now=second(20))
    await world.hear("Hello?", now=second(30))

    assert (await world.resume(conversation, reply=True, now=minute(1))).answers == 2

    engine = EngineDouble("Here.")
    await world.think(now=minute(1), engine=engine)
    assert engine.asked[0].heard == "One more\nHello?"


async def test_a_paused_agent_that_is_given_a_message_owes_no_answers(world: World):
    await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
    conversation = await engaged(world)
    await world.hear("One more", now=second(10))

    done = await world.resume(conversation, message="I am back.", now=second(20))

    assert done.answers == 0
    assert await world.think(now=minute(5)) == []


async def test_a_paused_agent_may_be_told_to_go_on_with_nothing_open(world: World):
    await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
    conversation = await engaged(world)
    await world.hear("One more", now=second(10))
    await world.hear("HELP", now=second(11))

    assert (await world.resume(conversation, reply=True, now=second(20))).answers == 1
    assert await world.think(now=minute(1)) == ["answered"]


async def test_a_message_and_a_reply_are_one_too_many(world: World):
    conversation = await handed_off(world)

    with pytest.raises(BadRequest, match="but not both"):
        await world.resume(conversation, message="I am back.", reply=True)


@pytest.mark.parametrize("message", ["", " ", "x" * 1601, "a\0"])
async def test_a_message_that_cannot_be_sent_leaves_it_with_the_person(world: World, message: str):
    conversation = await handed_off(world)

    with pytest.raises(BadRequest, match="A text has 1 to 1600 characters"):
        await world.resume(conversation, message=message)

    assert (await world.talk(conversation)).state == "handed_off"


async def test_the_record_says_who_resumed_it(world: World):
    conversation = await handed_off(world)

    await world.resume(conversation, who=CALLER, now=minute(1))

    assert (await world.told(conversation))[-1] == ("conversation.resumed", {"by": "caller"})


async def test_it_can_be_handed_over_again_and_again(world: World):
    conversation = await handed_off(world)
    for n in range(1, 4):
        assert (await world.resume(conversation, now=minute(n))).changed
        assert (await world.hand_off(conversation, now=minute(n + 0.5))).changed

    told = await world.events(conversation)
    assert told.count("conversation.handed_off") == 4
    assert told.count("conversation.resumed") == 3


# --- The end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["opened", "engaged", "handed_off"])
async def test_an_operator_ends_it_without_a_word(world: World, state: str):
    if state == "opened":
        conversation = (await world.accept()).conversation_id
    else:
        conversation = await (engaged if state == "engaged" else handed_off)(world)
    said = len(await world.ours())

    done = await world.end(conversation, "settled by phone", who=CALLER, now=minute(1))

    assert done.changed
    talk = await world.talk(conversation)
    assert (talk.state, talk.reason) == ("closed", "operator")
    assert (await world.told(conversation))[-1] == (
        "conversation.closed",
        {"reason": "operator", "by": "caller", "why": "settled by phone"},
    )
    assert len(await world.ours()) == said


async def test_what_the_agent_was_about_to_say_is_not_said_after_the_end(world: World):
    await world.provision(project={"while_thinking": "queue"})
    heard = await world.hear("Hello")
    assert heard.conversation_id is not None
    (thinking,) = await world.claim_turns()
    await world.hear("Hello?", now=second(1))

    await world.end(heard.conversation_id, now=second(2))
    await world.answer(thinking, "Too late", now=second(3))

    assert await world.think(now=minute(5)) == []
    assert await world.ours() == []


async def test_what_is_over_stays_as_it_is(world: World):
    conversation = await engaged(world)
    await world.hear("STOP", now=second(5))

    done = await world.end(conversation, now=second(6))

    assert not done.changed
    assert (await world.talk(conversation)).reason == "opted_out"


async def test_who_texts_after_the_end_begins_anew(world: World):
    conversation = await handed_off(world)
    await world.end(conversation, now=minute(1))

    heard = await world.hear("Hello", now=minute(2))

    assert heard.outcome == "heard"
    assert heard.conversation_id != conversation
