"""Conversations that are over, and what is made of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from sqlalchemy import select, text

from tests.support.deployment import HTTP, NEIGHBOUR, NOW, USER, caller, minute, second
from tests.support.world import World
from textback.core.analysis import Analysing
from textback.core.commands import SendText
from textback.core.engine import Analysis, AnalysisSettings, Possible, TurnFailed, Usage
from textback.core.ids import AgentId, ConversationId
from textback.db.tables import conversations, usage_days
from textback.flows import accept, analyse

ANALYSIS: Final = {"outcomes": [{"name": "booked", "description": "A time was agreed."}]}
AGENT: Final = {"engine": HTTP, "analysis": ANALYSIS}
MARGIN: Final = timedelta(seconds=30)
LEASE: Final = timedelta(seconds=10) + MARGIN
"""The engine's own deadline, and the margin."""
USED: Final = Usage(input_tokens=90, output_tokens=10, cost_usd=0.25)


@pytest.fixture
async def analysing(world: World) -> World:
    """A deployment whose agent wants an analysis."""
    await world.provision(agent=AGENT)
    return world


async def claim(
    world: World, *, now: datetime = NOW, limit: int = 9, besides: str | None = None
) -> list[Analysing]:
    due, _ = await analyse.claim(
        world.db,
        margin=MARGIN,
        limit=limit,
        except_agents=[] if besides is None else [AgentId(besides)],
        now=now,
    )
    return due


async def talked(world: World, *, now: datetime = NOW) -> ConversationId:
    """A conversation in which the user asked, the agent took its leave, and that is over."""
    heard = await world.hear("3pm?", now=now)
    (thinking,) = await world.claim_turns(now=now)
    await world.answer(thinking, "Done.", now=now)
    await world.hear("STOP", now=now)
    assert heard.conversation_id is not None
    return heard.conversation_id


async def kept(world: World, conversation_id: ConversationId) -> dict[str, Any]:
    t = conversations.c
    columns = (t.analysis, t.analysis_due_at, t.analysis_attempts, t.tokens_used, t.cost_usd)
    async with world.transaction() as c:
        found = await c.execute(select(*columns).where(t.id == conversation_id))
        return dict(found.mappings().one())


async def test_an_analysis_is_told_all_that_was_said_and_what_is_wanted(analysing: World) -> None:
    command = SendText(
        user_number=USER,
        text="Is 3pm good?",
        agent_number=None,
        idempotency=None,
        objective="Fill the slot.",
        variables={"name": "Jane"},
        metadata={"order": 7},
    )
    accepted = await accept.send_text(analysing.db, caller(), command, now=NOW)
    await analysing.hear("Yes", now=second(1))
    (thinking,) = await analysing.claim_turns(now=second(1))
    await analysing.answer(thinking, "Great.", now=second(2))
    await analysing.send_all(now=second(2))
    await analysing.hear("STOP", now=second(3))
    (held,) = await claim(analysing, now=second(4))
    asked = held.request
    assert asked.conversation_id == accepted.conversation_id
    assert [(said.role, said.text) for said in asked.transcript] == [
        ("agent", "Is 3pm good?"),
        ("user", "Yes"),
        ("agent", "Great."),
    ]
    assert (asked.ended, asked.objective) == ("opted_out", "Fill the slot.")
    assert (asked.variables, asked.metadata) == ({"name": "Jane"}, {"order": 7})
    assert asked.wanted == AnalysisSettings(outcomes=[Possible("booked", "A time was agreed.")])
    assert (asked.now, asked.timezone, asked.state) == (second(4), "UTC", {})


async def test_a_conversation_that_the_user_never_joined_is_not_analysed(analysing: World) -> None:
    await analysing.accept()
    await analysing.accept(now=second(1))  # closes the first
    assert await claim(analysing, now=minute(1)) == []


async def test_an_agent_that_wants_no_analysis_gets_none(world: World) -> None:
    await talked(world)
    assert await claim(world, now=minute(1)) == []


async def test_the_version_that_the_conversation_began_with_decides(analysing: World) -> None:
    await analysing.hear("Hello")
    await analysing.provision(agent={"engine": HTTP})
    await analysing.hear("STOP")
    await analysing.hear("Hello", user=NEIGHBOUR)
    await analysing.hear("STOP", user=NEIGHBOUR)
    (held,) = await claim(analysing)
    assert (held.agent_version, held.request.wanted.summary) == (1 + 1, True)


async def test_who_is_still_to_be_answered_is_analysed_after_that(analysing: World) -> None:
    """A newer send has closed the conversation, and the user's question was not dropped."""
    await analysing.hear("3pm?")
    await analysing.accept(now=second(1))
    assert await claim(analysing, now=second(2)) == []
    (thinking,) = await analysing.claim_turns(now=second(3))
    assert await claim(analysing, now=second(4)) == []
    await analysing.answer(thinking, "Yes.", now=second(5))
    (held,) = await claim(analysing, now=second(6))
    assert [said.text for said in held.request.transcript] == ["3pm?", "Yes."]


async def test_what_was_found_is_kept_with_its_event_and_its_cost(analysing: World) -> None:
    talk = await talked(analysing)
    (held,) = await claim(analysing)
    found = Analysis(summary="They agreed.", values=None, outcome="booked", usage=USED)
    assert await analyse.record(analysing.db, held, found, now=second(9)) == "analysed"
    assert await kept(analysing, talk) == {
        "analysis": {
            "summary": "They agreed.",
            "values": None,
            "outcome": "booked",
            "at": second(9).isoformat(),
        },
        "analysis_due_at": None,
        "analysis_attempts": 1,
        "tokens_used": 100,
        "cost_usd": 0.25,
    }
    async with analysing.transaction() as c:
        day = (await c.execute(select(usage_days))).mappings().one()
    assert (day["tokens"], day["cost_usd"]) == (100, 0.25)
    assert (await analysing.events(talk))[-1] == "conversation.analysed"
    assert await claim(analysing, now=minute(60)) == []


async def test_it_is_tried_three_times_and_then_the_record_says_why(analysing: World) -> None:
    talk = await talked(analysing)
    failed = TurnFailed("HTTP 500 (attempts: 5)", USED)
    now = NOW
    for wait in (timedelta(seconds=30), timedelta(minutes=5)):
        (held,) = await claim(analysing, now=now)
        assert await analyse.record(analysing.db, held, failed, now=now) == "put_off"
        assert await claim(analysing, now=now + wait - timedelta(seconds=1)) == []
        now += wait
    (held,) = await claim(analysing, now=now)
    assert await analyse.record(analysing.db, held, failed, now=now) == "not_analysed"
    found = await kept(analysing, talk)
    assert found["analysis"] == {"error": "HTTP 500 (attempts: 5)", "at": now.isoformat()}
    assert (found["analysis_due_at"], found["tokens_used"]) == (None, 300)
    assert (await analysing.events(talk))[-1] == "conversation.not_analysed"
    assert await claim(analysing, now=now + timedelta(days=1)) == []


async def test_who_claims_has_it_until_the_lease_is_over(analysing: World) -> None:
    talk = await talked(analysing)
    (late,) = await claim(analysing)
    assert await claim(analysing, now=NOW + LEASE - timedelta(seconds=1)) == []
    (held,) = await claim(analysing, now=NOW + LEASE)
    assert (late.attempts, held.attempts) == (1, 2)
    found = Analysis(summary="Late.", usage=USED)
    assert await analyse.record(analysing.db, late, found, now=NOW + LEASE) is None
    failed = TurnFailed("late", USED)
    assert await analyse.record(analysing.db, late, failed, now=NOW + LEASE) is None
    await analyse.give_back(analysing.db, late, now=NOW + LEASE)
    assert await claim(analysing, now=NOW + LEASE) == []
    found = Analysis(summary="In time.")
    assert await analyse.record(analysing.db, held, found, now=NOW + LEASE) == "analysed"
    assert (await kept(analysing, talk))["analysis"]["summary"] == "In time."
    assert (await kept(analysing, talk))["tokens_used"] == 0


async def test_two_answers_to_one_analysis_are_counted_once(analysing: World) -> None:
    """As when the first one's commit took hold, and nobody heard of it."""
    talk = await talked(analysing)
    (held,) = await claim(analysing)
    found = Analysis(summary="They agreed.", usage=USED)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(analyse.record(analysing.db, held, found, now=NOW)) for _ in range(4)
        ]
    assert sorted(str(task.result()) for task in tasks) == ["None", "None", "None", "analysed"]
    assert (await kept(analysing, talk))["tokens_used"] == 100


async def test_what_is_given_back_is_due_at_once_and_was_not_tried(analysing: World) -> None:
    await talked(analysing)
    (held,) = await claim(analysing)
    await analyse.give_back(analysing.db, held, now=NOW)
    (again,) = await claim(analysing)
    assert again.attempts == 1


async def test_workers_that_claim_at_the_same_time_share_what_is_due(analysing: World) -> None:
    for n in range(6):
        await analysing.hear("Hello", user=f"+1415555020{n}")
        (thinking,) = await analysing.claim_turns()
        await analysing.answer(thinking, "Hi.")
        await analysing.hear("STOP", user=f"+1415555020{n}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(claim(analysing, limit=2)) for _ in range(3)]
    claimed = [held.request.conversation_id for task in tasks for held in task.result()]
    claimed += [held.request.conversation_id for held in await claim(analysing)]
    assert len(claimed) == len(set(claimed)) == 6


async def test_an_agent_that_has_its_share_is_left_out(analysing: World) -> None:
    await talked(analysing)
    assert await claim(analysing, besides="bookings") == []
    assert len(await claim(analysing, besides="another")) == 1


async def test_when_the_next_one_is_due_is_told(analysing: World) -> None:
    await talked(analysing)
    (held,) = await claim(analysing)
    await analyse.record(analysing.db, held, TurnFailed("no"), now=second(1))
    due, upcoming = await analyse.claim(analysing.db, margin=MARGIN, limit=9, now=second(2))
    assert (due, upcoming) == ([], second(31))


async def test_nothing_is_held_up_by_somebody_who_has_the_row(analysing: World) -> None:
    talk = await talked(analysing)
    async with analysing.transaction() as c:
        query = text("select 1 from conversations where id = :id for update")
        await c.execute(query, {"id": talk})
        assert await claim(analysing) == []
    assert len(await claim(analysing)) == 1


async def test_a_project_whose_budget_of_the_day_is_used_up_pays_for_no_analysis(
    analysing: World,
) -> None:
    await analysing.provision(
        agent=AGENT, project={"budgets": {"day": {"tokens": 100}}, "timezone": "Europe/Berlin"}
    )
    for user in (USER, NEIGHBOUR):
        await analysing.hear("Hello", user=user)
        (thinking,) = await analysing.claim_turns()
        await analysing.answer(thinking, "Hi.")
        await analysing.hear("STOP", user=user)
    (first,) = await claim(analysing, limit=1)
    await analyse.record(analysing.db, first, Analysis(usage=USED), now=NOW)
    assert await claim(analysing, now=minute(1)) == []
    midnight = datetime(2026, 3, 2, 23, tzinfo=UTC)
    assert await claim(analysing, now=midnight - timedelta(seconds=1)) == []
    (second_one,) = await claim(analysing, now=midnight)
    assert second_one.attempts == 1
