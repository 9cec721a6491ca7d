"""Texts over the limits are kept without an answer (PolyAI 1.6, D14)."""

import asyncio
from datetime import datetime

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import AGENT, CARRIER, NEIGHBOUR, SECOND, USER, second
from tests.support.doubles import EngineDouble
from tests.support.rows_read import rows_read
from tests.support.world import World
from textback.core.engine import TurnReply
from textback.core.ids import ProjectId, new_message_id
from textback.core.phone import Phone
from textback.core.throttle import Lately
from textback.db import inbound


async def test_the_eleventh_text_within_a_minute_is_kept_without_an_answer(world: World):
    outcomes = [(await world.hear(f"Text {n}", now=second(n))).outcome for n in range(11)]

    assert outcomes == ["heard"] * 10 + ["unanswered"]
    kept = (await world.texts())[-1]
    assert (kept.text, kept.kind, kept.note) == ("Text 10", "unanswered", "rate_limit")


async def test_after_a_minute_the_sender_is_answered_again(world: World):
    for n in range(10):
        await world.hear(f"Text {n}", now=second(n))

    assert (await world.hear("Now?", now=second(59))).outcome == "unanswered"
    assert (await world.hear("And now?", now=second(61))).outcome == "heard"


async def test_what_is_over_the_limit_stays_in_the_conversation_but_is_not_answered(world: World):
    for n in range(11):
        await world.hear(f"Text {n}", now=second(n))
    engine = EngineDouble(TurnReply(texts=[]))

    await world.think(now=second(11), engine=engine)

    (asked,) = engine.asked
    assert asked.heard == "\n".join(f"Text {n}" for n in range(10))
    (live,) = await world.live()
    assert live.active_at == second(10)


async def test_one_sender_does_not_use_up_the_limit_of_another(world: World):
    for n in range(11):
        await world.hear(f"Text {n}", now=second(n))

    assert (await world.hear("Hello", user=NEIGHBOUR, now=second(11))).outcome == "heard"
    assert (await world.hear("Hello", agent_number=SECOND, now=second(11))).outcome == "heard"


@pytest.mark.parametrize("words", ["STOP", "HELP", "START"])
async def test_keywords_are_heard_over_the_limit(world: World, words: str):
    for n in range(12):
        await world.hear(f"Text {n}", now=second(n))

    assert (await world.hear(words, now=second(12))).outcome == "keyword"


async def test_keywords_do_not_count(world: World):
    for n in range(12):
        await world.hear("HELP", now=second(n))

    assert (await world.hear("Hello", now=second(12))).outcome == "heard"


async def test_the_same_words_five_times_block_the_sender_for_ten_minutes(world: World):
    whys = [(await world.hear("Buy now", now=second(40 * n))).why for n in range(5)]

    assert whys == [None] * 4 + ["abuse_block"]
    assert (await world.hear("Something else", now=second(161))).why == "abuse_block"
    assert (await world.hear("Something else", now=second(160 + 599))).why == "abuse_block"
    assert (await world.hear("Sorry", now=second(160 + 600))).outcome == "heard"


async def test_pictures_without_words_are_no_repetition(world: World):
    photo = {"url": "https://media.example/1", "content_type": "image/jpeg"}

    outcomes = [(await world.hear("", media=[photo], now=second(20 * n))).outcome for n in range(6)]

    assert outcomes == ["heard"] * 6


async def test_a_blocked_sender_can_opt_out(world: World):
    for n in range(6):
        await world.hear("Buy now", now=second(n))

    await world.hear("STOP", now=second(7))

    assert not await world.may_text()


async def test_a_projects_texts_are_limited_over_all_its_users(world: World):
    await world.provision(
        project={"inbound_limits": {"per_project": {"requests": 3, "per_seconds": 60}}}
    )
    users = [Phone(f"+1415555020{n}") for n in range(4)]

    whys = [(await world.hear("Hello", user=user)).why for user in users]

    assert whys == [None] * 3 + ["project_limit"]
    assert (await world.hear("Hello", user=USER, now=second(60))).outcome == "heard"


async def test_an_unknown_user_over_the_limit_is_greeted_when_it_is_over(world: World):
    await world.provision(
        project={
            "unknown_user": "greet",
            "inbound_limits": {"per_project": {"requests": 1, "per_seconds": 60}},
        }
    )
    await world.hear("Hello", user=NEIGHBOUR)
    await world.hear("Hello", user=USER)
    assert await world.ours(user=USER) == []

    await world.hear("Hello?", user=USER, now=second(120))

    assert [text.text for text in await world.ours(user=USER)] == ["Hello, how can I help?"]


async def test_a_limit_of_hundreds_is_counted_to_its_end(world: World):
    # The count ended at 200: a larger limit was none.
    plenty = {"requests": 1000, "per_seconds": 60}
    limits = {"per_sender": {"requests": 201, "per_seconds": 60}, "per_project": plenty}
    await world.provision(project={"inbound_limits": limits})
    heard = await world.hear("Text 0")
    assert heard.conversation_id is not None
    async with world.transaction() as c:
        for n in range(1, 201):
            await inbound.add(
                c,
                message_id=new_message_id(second(1)),
                conversation_id=heard.conversation_id,
                project_id=ProjectId("reminders"),
                carrier_id=CARRIER,
                carrier_message_id=f"SM{n}",
                agent_number=AGENT,
                user_number=USER,
                kind="text",
                text=f"Text {n}",
                media=[],
                note=None,
                at=second(1),
                now=second(1),
            )

    assert (await world.hear("One more", now=second(30))).why == "rate_limit"


async def test_twenty_texts_of_one_sender_at_once_get_exactly_ten_answered(world: World):
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.hear(f"Text {n}")) for n in range(20)]

    whys = sorted(str(run.result().why) for run in runs)
    assert whys == ["None"] * 10 + ["rate_limit"] * 10


async def test_the_same_words_at_once_are_counted_one_after_the_other(world: World):
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.hear("Buy now")) for _ in range(8)]

    whys = sorted(str(run.result().why) for run in runs)
    assert whys == ["None"] * 4 + ["abuse_block"] * 4


async def test_a_projects_limit_is_exceeded_only_by_texts_that_are_taken_in_at_the_same_moment(
    world: World,
):
    # One lock for all of a project's users would be exact, and would make them wait for each other.
    limits = {"per_project": {"requests": 20, "per_seconds": 60}}
    await world.provision(project={"inbound_limits": limits})
    at_once = 10  # connections to the database
    users = [Phone(f"+1415555{n:04}") for n in range(60)]

    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(world.hear("Hello", user=user)) for user in users]

    answered = sum(run.result().outcome == "heard" for run in runs)
    assert 20 <= answered < 20 + at_once
    assert (await world.hear("Hello", now=second(1))).why == "project_limit"


async def said_before(world: World, many: int) -> None:
    """So many texts of others that the project answered."""
    heard = await world.hear("Hello", user=NEIGHBOUR)
    assert heard.conversation_id is not None
    async with world.transaction() as c:
        await c.execute(
            sql(
                "insert into messages (id, conversation_id, user_number, carrier_message_id,"
                " direction, kind, text, state, created_at, project_id, carrier_id, agent_number)"
                " select 'said_' || n, conversation_id, '+1212555' || 1000 + n, 'SX' || n,"
                " direction, kind, text, state, created_at, project_id, carrier_id, agent_number"
                " from messages, generate_series(2, :many) n where direction = 'inbound'"
            ),
            {"many": many},
        )


async def test_a_process_that_does_not_count_each_text_keeps_a_large_limit(world: World):
    limits = {"per_project": {"requests": 220, "per_seconds": 60}}
    await world.provision(project={"inbound_limits": limits})
    await said_before(world, 210)
    users = [Phone(f"+1415555{n:04}") for n in range(15)]

    lately = Lately()
    whys = [(await world.hear("Hello", user=user, lately=lately)).why for user in users]

    assert whys == [None] * 10 + ["project_limit"] * 5


async def test_how_much_a_project_heard_is_not_counted_for_each_text(world: World):
    limits = {"per_project": {"requests": 10_000, "per_seconds": 60}}
    await world.provision(project={"inbound_limits": limits})
    await said_before(world, 3000)
    lately = Lately()

    async def read() -> int:
        async with world.db.connect() as c:
            return await rows_read(c, "messages")

    before = await read()
    await world.hear("Hello", lately=lately)
    counted = await read()
    await world.hear("Hello again", lately=lately)

    assert counted - before >= 3000
    assert await read() - counted < 100


async def kept_since(world: World, many: int, *, since: datetime, until: datetime) -> None:
    """So many texts more that the user said in that time, each another, all without an answer."""
    async with world.transaction() as c:
        await c.execute(
            sql(
                "insert into messages (id, conversation_id, user_number, carrier_message_id,"
                " direction, kind, text, state, created_at, project_id, carrier_id, agent_number)"
                " select 'kept_' || n, conversation_id, user_number, 'SK' || n, direction,"
                " 'unanswered', 'More ' || n, state,"
                " cast(:since as timestamptz) + cast(:apart as interval) * n,"
                " project_id, carrier_id, agent_number"
                " from generate_series(1, :many) n, (select * from messages"
                " where direction = 'inbound' order by seq limit 1) as said"
            ),
            {"many": many, "since": since, "apart": (until - since) / many},
        )


async def test_a_flood_gets_no_more_answers_than_a_few_texts(world: World):
    for n in range(10):
        await world.hear(f"Text {n}", now=second(n))
    await kept_since(world, 400, since=second(10), until=second(30))

    assert (await world.hear("And now?", now=second(31))).why == "rate_limit"
    assert (await world.hear("And now?", now=second(91))).outcome == "heard"


async def test_who_floods_is_not_answered_before_it_is_over(world: World):
    # What was answered in that minute is too far back to be counted.
    await world.hear("Hello")
    await kept_since(world, 400, since=second(61), until=second(100))

    assert (await world.hear("And now?", now=second(101))).why == "rate_limit"
    assert (await world.hear("And now?", now=second(161))).outcome == "heard"


async def test_a_block_does_not_end_by_what_is_said_in_it(world: World):
    for n in range(5):
        await world.hear("Buy now", now=second(n))
    await kept_since(world, 500, since=second(5), until=second(600))

    assert (await world.hear("Sorry", now=second(4 + 599))).why == "abuse_block"
    assert (await world.hear("Sorry", now=second(4 + 600))).outcome == "heard"


async def test_texts_that_overtake_each_other_are_counted_all_the_same(world: World):
    # Many webhooks at once: whose turn it is to be stored is not who came first.
    whys = [(await world.hear(f"Text {n}", now=second(1 - n / 1000))).why for n in range(12)]

    assert whys == [None] * 10 + ["rate_limit"] * 2


async def test_the_same_words_that_overtake_each_other_are_repetitions(world: World):
    whys = [(await world.hear("Buy now", now=second(1 - n / 1000))).why for n in range(6)]

    assert whys == [None] * 4 + ["abuse_block"] * 2


async def test_texts_of_several_users_that_overtake_each_other_count_for_the_project(world: World):
    limits = {"per_project": {"requests": 3, "per_seconds": 60}}
    await world.provision(project={"inbound_limits": limits})
    users = [Phone(f"+1415555020{n}") for n in range(5)]

    whys = [
        (await world.hear("Hello", user=user, now=second(1 - n / 1000))).why
        for n, user in enumerate(users)
    ]

    assert whys == [None] * 3 + ["project_limit"] * 2


async def test_a_text_found_late_is_not_limited_by_what_was_said_after_it(world: World):
    for n in range(10):
        await world.hear(f"Text {n}", now=second(n))

    assert (await world.hear("Hello", said_at=second(-1), now=second(40))).outcome == "heard"
