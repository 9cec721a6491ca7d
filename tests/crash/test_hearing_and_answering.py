"""Who takes in texts, or lets the agent answer, dies at every point; each is answered once."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Literal

import pytest
from sqlalchemy import text as sql

from tests.support.aftermath import Aftermath, FarEngine, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import AGENT, FALLBACK, HTTP, minute, second
from tests.support.world import SWEEP, World
from textback.core.engine import Later, ToolResult, TurnFailed, TurnReply, TurnRequest
from textback.core.phone import Phone
from textback.core.policy import WhileThinking
from textback.core.ports import Inbound
from textback.flows import turn
from textback.flows.journal import TurnJournal


async def test_a_text_is_stored_and_answered_once_wherever_who_takes_it_in_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, sid = user_of(n), f"IN{n}"
        await mortal.run(doomed.hear("Hello", user=user, sid=sid))
        if mortal.died_at is not None:  # it was not acknowledged, so Twilio brings it again
            await world.hear("Hello", user=user, sid=sid, now=second(15))
        await others.go_on()
        await others.check(user, took=["You said Hello."])
        assert [t.text for t in await world.texts(user=user)] == ["Hello", "You said Hello."]
        assert len(await world.talks(user=user)) == 1

    await at_every_point(doomed.db, story, more_than=12)


async def test_two_texts_are_stored_and_answered_wherever_who_takes_in_the_second_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, sid = user_of(n), f"IN{n}"
        await world.hear("Hello", user=user, sid=f"{sid} before")
        (thinking,) = await world.claim_turns()
        await mortal.run(doomed.hear("Hi", user=user, sid=sid, now=second(1)))
        outcome = await world.answer(thinking, "Hello yourself.", now=second(2))
        if mortal.died_at is not None:
            await world.hear("Hi", user=user, sid=sid, now=second(15))
        await others.go_on()
        if outcome == "restarted":  # it was stored before the answer
            await others.check(user, took=["You said Hello and Hi."])
        else:
            await others.check(user, took=["Hello yourself.", "You said Hi."])

    await at_every_point(doomed.db, story, more_than=12)


async def test_texts_whose_webhooks_were_lost_are_taken_in_once_wherever_who_sweeps_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def read(agent_number: str, since: datetime, until: datetime | None) -> list[Inbound]:
        await asyncio.sleep(0)
        listed = [
            said
            for said in others.carrier.in_list
            if said.agent_number == agent_number
            and said.said_at is not None
            and since <= said.said_at <= (until or said.said_at)
        ]
        await asyncio.sleep(0)
        return listed

    others.carrier.on_received = read

    async def story(mortal: Mortal, n: int) -> None:
        user, at = user_of(n), minute(10 * n)
        others.carrier.in_list += [
            Inbound(
                carrier_message_id=f"IN{n}.{place}",
                agent_number=AGENT,
                user_number=user,
                text=words,
                said_at=at + timedelta(seconds=place),
            )
            for place, words in enumerate(["Hello", "Hi"])
        ]
        await mortal.run(doomed.sweep(now=at + SWEEP, carrier=others.carrier))
        later = at + 3 * SWEEP
        await world.sweep(now=later, carrier=others.carrier)
        await others.go_on(since=later)
        heard = [t.text for t in await world.texts(user=user) if t.direction == "inbound"]
        assert heard == ["Hello", "Hi"]
        await others.check(user, took=["You said Hello and Hi."])

    await at_every_point(doomed.db, story, more_than=14)


@pytest.mark.parametrize(
    ("before", "word", "may_text"),
    [("Hello", "STOP", False), ("STOP", "START", True), ("Hello", "HELP", True)],
)
async def test_a_keyword_takes_effect_and_is_confirmed_once(
    world: World, doomed: World, *, before: str, word: str, may_text: bool
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, sid = user_of(n), f"IN{n}"
        await world.hear(before, user=user, sid=f"{sid} before")
        await world.accept("Waits.", user=user)
        await mortal.run(doomed.hear(word, user=user, sid=sid, now=second(1)))
        if mortal.died_at is not None:
            await world.hear(word, user=user, sid=sid, now=second(15))
        await others.go_on()
        ours = await world.ours(user=user)
        notices = [t for t in ours if t.kind == "notice" and t.created_at >= second(1)]
        assert [t.state for t in notices] == ["sent"]
        (opener,) = [t for t in ours if t.kind == "opener"]
        assert opener.state == ("sent" if before == "Hello" and may_text else "suppressed")
        assert await world.may_text(user=user) == may_text
        opt_outs = [o for o in await world.opt_outs() if o.user_number == user]
        assert len(opt_outs) == (word != "HELP")
        told = [kind for talk in await world.talks(user=user)
                for kind in await world.events(talk.id)]  # fmt: skip
        assert told.count("user.opted_out") == (word != "HELP")
        assert told.count("user.opted_in") == (word == "START")
        await others.check(user, took=[t.text for t in ours if t.state == "sent"])

    await at_every_point(doomed.db, story, more_than=12)


Answer = Literal["says two things", "ends", "fails", "is silent"]
ANSWERS: dict[Answer, TurnReply | TurnFailed] = {
    "says two things": TurnReply(texts=["One.", "Two."]),
    "ends": TurnReply(texts=["Bye."], end_conversation=True),
    "fails": TurnFailed("no answer"),
    "is silent": TurnReply(texts=[]),
}
SAID: dict[Answer, list[str]] = {
    "says two things": ["One.", "Two."],
    "ends": ["Bye."],
    "fails": [FALLBACK],
    "is silent": [],
}


@pytest.mark.parametrize("agent", ANSWERS)
async def test_what_the_agent_says_is_sent_once_wherever_its_worker_dies(
    world: World, doomed: World, agent: Answer
):
    others = Aftermath(world, engine=FarEngine(ANSWERS[agent]))

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        heard = await world.hear("Hello", user=user)
        assert heard.conversation_id is not None
        await mortal.run(doomed.think(engine=others.engine))
        await others.go_on()
        await others.check(user, took=SAID[agent])
        talk = await world.talk(heard.conversation_id)
        assert (talk.state, talk.reason) == (
            ("closed", "agent_ended") if agent == "ends" else ("engaged", None)
        )
        (turn,) = [t for t in await world.turns() if t.conversation_id == talk.id]
        assert turn.attempts <= 2
        told = await world.events(talk.id)
        assert told.count("turn.failed") == (agent == "fails")

    await at_every_point(doomed.db, story, more_than=9)


@pytest.mark.parametrize("policy", ["restart", "queue", "ignore"])
async def test_a_text_that_comes_while_the_agent_thinks_is_answered_wherever_its_worker_dies(
    world: World, doomed: World, policy: WhileThinking
):
    await set_policy(world, policy)
    others = Aftermath(world)
    both, first = ["You said Hello and Hi."], ["You said Hello."]
    allowed = {  # both in one, if the first answer was lost
        "restart": [both],
        "queue": [[*first, "You said Hi."], both],
        "ignore": [first, both],
    }

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Hello", user=user)
        (thinking,) = await world.claim_turns()
        await world.hear("Hi", user=user, now=second(1))
        await mortal.run(doomed.answer(thinking, "You said Hello.", now=second(2)))
        await others.go_on()
        took = others.carrier.texts_to(user)
        assert took in allowed[policy]
        await others.check(user, took=took)

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_turn_whose_worker_is_gone_runs_once_wherever_its_rescuer_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Hello", user=user)
        await world.claim_turns()
        await world.hear("Hi", user=user, now=second(1))
        await mortal.run(doomed.rescue_turns(now=second(59)))
        await others.go_on()
        await others.check(user, took=["You said Hello and Hi."])

    await at_every_point(doomed.db, story, more_than=3)


async def test_what_an_agent_calls_is_on_record_once_wherever_its_worker_dies(
    world: World, doomed: World
):
    class Booking(FarEngine):
        """Books a table and a taxi; `made` has each call, by its id, as often as it was made."""

        made: Counter[str] = Counter()  # noqa: RUF012 - of one test

        async def _think(self, request: TurnRequest) -> TurnReply:
            async def do(call_id: str) -> ToolResult:
                self.made[call_id] += 1
                await asyncio.sleep(0)
                return ToolResult(f"done by {call_id}")

            results = [
                await request.journal.call(what, {"for": request.heard}, do)
                for what in ("table", "taxi")
            ]
            return TurnReply(texts=[result.text for result in results])

    others = Aftermath(world, engine=Booking())

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Book", user=user)
        (thinking,) = await world.claim_turns()
        Booking.made.clear()
        journal = TurnJournal(doomed.db, thinking, now=lambda: second(1))
        await mortal.run(others.engine.reply(turn.request(thinking, journal=journal)))
        await others.go_on()  # its answer is lost in any case
        ids = [f"{thinking.id}.1", f"{thinking.id}.2"]
        await others.check(user, took=[f"done by {call_id}" for call_id in ids])
        assert sorted(Booking.made) == ids
        assert sum(Booking.made.values()) <= 3  # the one that it died over is made again

    await at_every_point(doomed.db, story, more_than=16)


async def test_an_answer_that_is_posted_is_sent_once_wherever_who_takes_it_in_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Hello", user=user)
        (thinking,) = await world.claim_turns()
        await world.answer(thinking, Later(within=timedelta(seconds=50)))
        await mortal.run(doomed.post(thinking, "Posted.", now=second(1)))
        if mortal.died_at is not None:  # it was told nothing, and posts it again
            await world.post(thinking, "Posted.", now=second(2))
        await others.go_on()
        await others.check(user, took=["Posted."])

    await at_every_point(doomed.db, story, more_than=3)


async def test_an_answer_that_is_overdue_fails_once_wherever_who_finds_that_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Hello", user=user)
        (thinking,) = await world.claim_turns()
        await world.answer(thinking, Later(within=timedelta(seconds=5)))
        await mortal.run(doomed.rescue_turns(now=second(10)))
        await others.go_on()
        await others.check(user, took=[FALLBACK])

    await at_every_point(doomed.db, story, more_than=7)


@pytest.mark.parametrize("scope", ["conversation", "day"])
async def test_who_is_over_a_budget_is_told_once_wherever_the_worker_dies(
    world: World, doomed: World, scope: str
):
    async with world.transaction() as c:
        await c.execute(
            sql(
                "update projects set policy = jsonb_set(policy, array['budgets', :scope],"
                ' \'{"turns": 0, "tokens": null, "cost_usd": null}\')'
            ),
            {"scope": scope},
        )
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        heard = await world.hear("Hello", user=user)
        assert heard.conversation_id is not None
        await mortal.run(doomed.think(engine=others.engine))
        await others.go_on()
        await others.check(user, took=[FALLBACK])
        talk = await world.talk(heard.conversation_id)
        assert talk.state == ("closed" if scope == "conversation" else "paused")

    await at_every_point(doomed.db, story, more_than=7)


async def set_policy(world: World, policy: WhileThinking) -> None:
    change = (
        "update projects set policy ="
        " policy || jsonb_build_object('while_thinking', cast(:to as text))"
    )
    async with world.transaction() as c:
        await c.execute(sql(change), {"to": policy})


class TestOpener:
    """The agent writes it."""

    @pytest.fixture(autouse=True)
    async def _an_agent_that_can_open(self, world: World) -> None:
        await world.provision(agent={"greeting": None, "engine": HTTP})

    @pytest.mark.parametrize("superseded", [False, True])
    async def test_an_opener_that_was_promised_is_sent_once(
        self, world: World, doomed: World, *, superseded: bool
    ):
        others = Aftermath(world)

        async def story(mortal: Mortal, n: int) -> None:
            user = user_of(n)
            await world.accept(None, user=user)
            if superseded:
                await world.accept("And one more.", user=user, now=second(1))
            await mortal.run(doomed.think(now=second(2), engine=others.engine))
            await others.go_on()
            more = ["And one more."] if superseded else []
            await others.check(user, took=["You said nothing.", *more])

        await at_every_point(doomed.db, story, more_than=12)

    async def test_an_opener_that_the_agent_cannot_write_fails_once(
        self, world: World, doomed: World
    ):
        others = Aftermath(world, engine=FarEngine(TurnFailed("no answer")))

        async def story(mortal: Mortal, n: int) -> None:
            user: Phone = user_of(n)
            promised = await world.accept(None, user=user)
            await mortal.run(doomed.think(now=second(2), engine=others.engine))
            await others.go_on()
            await others.check(user, took=[])
            assert (await world.text(promised.message_id)).error_code == "agent_failed"
            assert (await world.talk(promised.conversation_id)).reason == "agent_failed"

        await at_every_point(doomed.db, story, more_than=12)
