"""What a turn used is counted, and what its engine wants kept is kept, if its answer counts."""

import asyncio
from datetime import date, timedelta

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import NOW, USER, hour, second
from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.core.budget import Spent
from textback.core.engine import Later, TurnFailed, TurnReply, Usage
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db.thinking import Thinking

USED = Usage(input_tokens=100, output_tokens=20, cost_usd=0.25)
TODAY = NOW.date()


async def begin(world: World, text: str = "Hello", *, at: float = 0) -> Thinking:
    await world.hear(text, now=second(at))
    (thinking,) = await world.claim_turns(now=second(at))
    return thinking


# --- State --------------------------------------------------------------------------------------


async def test_what_the_engine_wants_kept_it_is_told_with_the_next_turn(world: World):
    first = await begin(world)
    assert first.state == {}
    await world.answer(first, TurnReply(texts=["Hi"], state={"node": "menu", "tries": [1, 2]}))

    second_turn = await begin(world, "1", at=60)

    assert second_turn.state == {"node": "menu", "tries": [1, 2]}


async def test_without_a_word_about_it_the_state_stays_and_an_empty_one_replaces_it(world: World):
    first = await begin(world)
    await world.answer(first, TurnReply(texts=["Hi"], state={"node": "menu"}))
    again = await begin(world, "1", at=60)
    await world.answer(again, "Fine", now=second(60))
    assert await world.engine_state(first.conversation_id) == {"node": "menu"}

    last = await begin(world, "2", at=120)
    await world.answer(last, TurnReply(texts=["Bye"], state={}), now=second(120))

    assert await world.engine_state(first.conversation_id) == {}


@pytest.mark.parametrize("how", ["said more", "STOP", "lease lost"])
async def test_the_state_of_an_answer_that_does_not_count_is_forgotten(world: World, how: str):
    first = await begin(world)
    match how:
        case "said more":
            await world.hear("More", now=second(1))
        case "STOP":
            await world.hear("STOP", now=second(1))
        case _:
            await world.rescue_turns(now=first.lease_until)

    await world.answer(first, TurnReply(texts=["Hi"], state={"node": "menu"}), now=second(2))

    assert await world.engine_state(first.conversation_id) == {}


# --- Usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (TurnReply(texts=["Hi"], usage=USED), "answered"),
        (TurnReply(texts=[], usage=USED), "silent"),
        (TurnFailed("no answer", USED), "failed"),
        (TurnReply(texts=["x" * 4000] * 2, usage=USED), "failed"),
        (TurnReply(texts=[""], usage=USED), "failed"),
    ],
)
async def test_a_run_and_what_it_used_are_counted_however_it_ended(
    world: World, answer: TurnReply | TurnFailed, outcome: str
):
    thinking = await begin(world)

    assert await world.answer(thinking, answer) == outcome

    used = Spent(turns=1, tokens=120, cost_usd=0.25)
    assert await world.spent(thinking.conversation_id) == used
    assert await world.spent_on(TODAY) == used


async def test_what_was_thought_in_vain_cost_all_the_same(world: World):
    first = await begin(world)
    await world.hear("More", now=second(1))
    answer = TurnReply(texts=["Hi"], usage=USED)
    await world.answer(first, answer, now=second(2))
    (again,) = await world.claim_turns(now=second(2))
    await world.hear("STOP", now=second(3))
    await world.answer(again, answer, now=second(4))

    assert await world.spent(first.conversation_id) == Spent(turns=2, tokens=240, cost_usd=0.5)


async def test_a_run_that_others_went_on_without_cost_all_the_same(world: World):
    answer = TurnReply(texts=["Hi"], usage=USED)
    handed_off = await begin(world)
    await world.hand_off(handed_off.conversation_id, now=second(1))
    assert await world.answer(handed_off, answer, now=second(2)) is None
    await world.resume(handed_off.conversation_id, now=second(3))
    slow = await begin(world, "More", at=60)
    await world.rescue_turns(now=hour(1))
    (faster,) = await world.claim_turns(now=hour(1))
    await world.answer(faster, answer, now=hour(1))
    assert await world.answer(slow, answer, now=hour(1)) is None

    used = Spent(turns=3, tokens=360, cost_usd=0.75)
    assert await world.spent(handed_off.conversation_id) == used
    assert await world.spent_on(TODAY) == used


async def test_an_answer_that_is_recorded_again_is_counted_once(world: World):
    thinking = await begin(world)
    answer = TurnReply(texts=["Hi"], usage=USED)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(world.answer(thinking, answer))

    assert (await world.spent(thinking.conversation_id)).turns == 1


async def test_a_turn_that_no_engine_was_asked_for_is_not_counted(world: World):
    thinking = await begin(world)
    for n in range(1, 6):
        await world.rescue_turns(now=hour(n))
        (thinking,) = await world.claim_turns(now=hour(n))
        assert thinking.attempts == n + 1
    await world.rescue_turns(now=hour(7))

    await world.think(now=hour(7), engine=EngineDouble("Hi"))

    assert await world.spent(thinking.conversation_id) == Spent()


async def test_a_day_is_the_projects_own(world: World):
    await world.provision(project={"timezone": "Pacific/Kiritimati"})  # 14 hours ahead
    thinking = await begin(world)

    await world.answer(thinking, TurnReply(texts=["Hi"], usage=USED), now=hour(2))

    assert await world.spent_on(TODAY) == Spent()
    assert (await world.spent_on(TODAY + timedelta(days=1))).tokens == 120


async def test_users_at_once_do_not_lose_what_they_used(world: World):
    users = [Phone(f"+1415556{n:04}") for n in range(20)]
    for user in users:
        await world.hear("Hello", user=user)
    due = await world.claim_turns()

    async with asyncio.TaskGroup() as group:
        for thinking in due:
            group.create_task(world.answer(thinking, TurnReply(texts=["Hi"], usage=USED)))

    assert await world.spent_on(TODAY) == Spent(turns=20, tokens=2400, cost_usd=5.0)


# --- Budgets ------------------------------------------------------------------------------------

TURNS_2 = {"budgets": {"conversation": {"turns": 2}}}
DAY_1 = {"budgets": {"day": {"turns": 1}}}
FALLBACK = "Sorry, please text us again."


async def talk(world: World, times: int, *, user: Phone = USER) -> ConversationId:
    """The user says something, and the agent answers, so many times, a minute apart."""
    heard = None
    for n in range(times):
        heard = await world.hear(f"Text {n}", user=user, now=second(60 * n))
        await world.think(now=second(60 * n), engine=EngineDouble(f"Answer {n}"))
    assert heard is not None
    assert heard.conversation_id is not None
    return heard.conversation_id


async def said(world: World) -> list[str]:
    return [text.text for text in await world.ours()]


async def test_a_conversation_that_used_up_its_budget_is_closed_with_the_fallback(world: World):
    await world.provision(project=TURNS_2)
    conversation = await talk(world, 2)
    await world.hear("One more", now=second(120))
    engine = EngineDouble("Not to be said")

    assert await world.think(now=second(120), engine=engine) == ["failed"]

    assert engine.asked == []
    assert await said(world) == ["Answer 0", "Answer 1", FALLBACK]
    found = await world.talk(conversation)
    assert (found.state, found.reason) == ("closed", "budget")
    told = await world.told(conversation)
    assert told[-2:] == [
        ("budget.reached", {"scope": "conversation", "what": "turns", "limit": 2}),
        ("conversation.closed", {"reason": "budget"}),
    ]
    assert (await world.spent(conversation)).turns == 2


async def test_who_texts_after_that_begins_a_new_conversation(world: World):
    await world.provision(project=TURNS_2)
    await talk(world, 3)

    await world.hear("Hello again", now=hour(1))
    await world.think(now=hour(1), engine=EngineDouble("Hello."))

    assert (await said(world))[-1] == "Hello."


async def test_a_text_that_comes_while_a_budget_is_found_used_up_changes_nothing(world: World):
    await world.provision(project=TURNS_2)
    conversation = await talk(world, 2)
    await world.hear("One more", now=second(120))
    (due,) = await world.claim_turns(now=second(120))
    await world.hear("And another", now=second(121))

    assert await world.answer(due, TurnFailed("not asked"), now=second(122)) == "failed"

    assert (await said(world)).count(FALLBACK) == 1
    assert (await world.talk(conversation)).state == "closed"
    assert await world.claim_turns(now=hour(1)) == []


async def test_a_days_budget_pauses_who_texts_until_midnight(world: World):
    await world.provision(project=DAY_1)
    conversation = await talk(world, 2)
    await world.hear("Hello?", now=second(200))

    assert await said(world) == ["Answer 0", FALLBACK]
    found = await world.talk(conversation)
    assert (found.state, found.paused_until) == ("paused", hour(15))
    until = hour(15).isoformat()
    assert (await world.told(conversation))[-2:] == [
        ("budget.reached", {"scope": "day", "what": "turns", "limit": 1}),
        ("conversation.paused", {"reason": "budget", "until": until}),
    ]
    assert await world.claim_turns(now=hour(1)) == []

    await world.expire(now=hour(15))
    await world.hear("Good morning", now=hour(16))
    await world.think(now=hour(16), engine=EngineDouble("Good morning."))
    assert (await said(world))[-1] == "Good morning."


async def test_a_days_budget_is_told_once_and_each_pause_on_its_own(world: World):
    await world.provision(project=DAY_1)
    users = [Phone(f"+1415556{n:04}") for n in range(3)]
    paused = list[str]()
    await talk(world, 1)
    for user in users:
        conversation = await talk(world, 1, user=user)
        paused += [kind for kind, _ in await world.told(conversation)]

    assert paused.count("budget.reached") == 1
    assert paused.count("conversation.paused") == 3


async def test_days_end_at_midnight_where_the_project_is(world: World):
    await world.provision(project={**DAY_1, "timezone": "America/Havana"})
    conversation = await talk(world, 2)

    # 00:00 there.
    assert (await world.talk(conversation)).paused_until == hour(20)


async def test_an_opener_over_a_budget_fails_and_says_nothing(world: World):
    http = {"kind": "http", "url": "http://127.0.0.1:9/turn"}
    await world.provision(agent={"greeting": None, "engine": http}, project=DAY_1)
    await talk(world, 1)
    promised = await world.accept(None, user=Phone("+14155560001"), now=second(60))
    engine = EngineDouble("Not to be said")

    await world.think(now=second(60), engine=engine)

    assert engine.asked == []
    assert (await world.text(promised.message_id)).error_code == "agent_failed"
    assert (await world.talk(promised.conversation_id)).reason == "agent_failed"


async def test_texts_that_waited_for_their_own_turn_get_no_second_apology(world: World):
    await world.provision(project={**DAY_1, "while_thinking": "queue"})
    await talk(world, 1)
    await world.hear("Two", now=second(60))
    (due,) = await world.claim_turns(now=second(60))
    await world.hear("Three", now=second(61))

    await world.answer(due, TurnFailed("not asked"), now=second(62))
    await world.think(now=second(63), engine=EngineDouble("Not to be said"))

    assert await said(world) == ["Answer 0", FALLBACK]


@pytest.mark.parametrize(
    ("budget", "limit"), [({"tokens": 120}, "tokens"), ({"cost_usd": 0.25}, "cost_usd")]
)
async def test_tokens_and_money_are_budgets_as_well(world: World, budget: object, limit: str):
    await world.provision(project={"budgets": {"conversation": budget}})
    first = await begin(world)
    await world.answer(first, TurnReply(texts=["Hi"], usage=USED))

    again = await begin(world, "More", at=60)

    assert again.reached is not None
    assert again.reached.what == limit


async def test_an_answer_that_comes_later_is_a_run_from_the_moment_it_is_awaited(world: World):
    await world.provision(project=TURNS_2)
    first = await begin(world)
    await world.answer(first, Later(within=timedelta(minutes=1)))
    await world.hear("More", now=second(1))  # it runs again
    (again,) = await world.claim_turns(now=second(1))

    assert (await world.spent(first.conversation_id)).turns == 1
    assert again.reached is None


async def test_a_zone_that_is_not_known_here_lets_turns_run(world: World):
    await world.provision(project=DAY_1)
    async with world.transaction() as c:
        await c.execute(
            sql('update projects set policy = policy || \'{"timezone": "Mars/Olympus"}\'')
        )

    thinking = await begin(world)

    assert await world.answer(thinking, "Hi") == "answered"
    assert (await world.spent_on(date(2026, 3, 2))).turns == 1
