"""Who has opted out, of a number or of a whole project, gets no text, whichever way it came."""

import asyncio
from typing import Literal

import pytest

from tests.support.deployment import (
    ACME,
    AGENT,
    DEV,
    NEIGHBOUR,
    NUMBERS,
    SECOND,
    USER,
    caller,
    number,
    second,
)
from tests.support.doubles import LATER, CarrierDouble
from tests.support.provision import provision
from tests.support.world import World
from textback.core.commands import Accepted, SendText
from textback.core.errors import (
    BadRequest,
    Conflict,
    NumberNotProvisioned,
    OptedOut,
    Refusal,
    UnknownResource,
    WrongState,
)
from textback.core.ids import AccountId, MessageId
from textback.core.phone import Phone
from textback.db import opt_out_reads, tables
from textback.db.opt_out_reads import OptOutFilter, OptOutRecord
from textback.flows import accept, consent
from textback.flows.consent import Recorded, Wish

Way = Literal["keyword", "number", "project", "import"]
WAYS: list[Way] = ["keyword", "number", "project", "import"]


async def opt_out(
    world: World, way: Way = "project", *, user: Phone = USER, at: float = 1
) -> Recorded | None:
    now = second(at)
    if way == "keyword":
        await world.hear("STOP", user=user, opt_out="stop", now=now)
        return None
    where = {"agent_number": AGENT} if way == "number" else {"project": "reminders"}
    wish = Wish(user_number=user, reason="by phone", **where)
    if way == "import":
        (done,) = await consent.import_opt_outs(world.db, ACME, [wish], now=now)
        assert done.state == "recorded"
        return None
    return await consent.opt_out_user(world.db, ACME, wish, now=now)


def text_of(accepted: Accepted) -> MessageId:
    assert accepted.message_id is not None
    return accepted.message_id


async def listed(world: World, **which: object) -> list[OptOutRecord]:
    found = OptOutFilter(**which)  # type: ignore[arg-type]
    return await opt_out_reads.list_opt_outs(world.db, ACME, found, limit=10)


async def told(world: World, kind: str) -> list[dict[str, object]]:
    t = tables.events.c
    async with world.transaction() as c:
        rows = await c.execute(tables.events.select().where(t.kind == kind).order_by(t.id))
        return [dict(row.data) for row in rows]


@pytest.mark.parametrize("way", WAYS)
async def test_whichever_way_it_came_nothing_more_goes_out(world: World, way: Way):
    """What waits, what is thought of, what is asked for later, and what a worker gave back."""
    told_later = await world.accept("Held by a worker")
    (job,) = await world.claim()
    queued = await world.accept("Waits behind it", user=USER, now=second(0.1))
    await world.hear("Hello", now=second(0.2))
    (thinking,) = await world.claim_turns(now=second(0.3))
    live = (await world.live())[0].id

    await opt_out(world, way)

    await world.record(job, LATER, now=second(2))  # queued once more
    assert await world.answer(thinking, "You said hello.", now=second(2)) == "dropped"
    with pytest.raises(WrongState):
        await world.say(live, now=second(2))
    after = await world.accept("Asked for later", now=second(3))
    heard = await world.hear("Are you there?", now=second(4))
    carrier = CarrierDouble()
    await world.send_all(now=second(3600), carrier=carrier)
    assert carrier.sent == []
    for accepted in (told_later, queued, after):
        text = await world.text(text_of(accepted))
        assert (text.state, text.drop_reason) == ("suppressed", "opted_out")
    assert (heard.outcome, heard.why) == ("unanswered", "opted_out")
    assert await world.live() == []
    assert await world.think(now=second(3600)) == []
    with pytest.raises(OptedOut):
        await accept.send_text(
            world.db,
            caller(),
            SendText(user_number=USER, text="Hi", agent_number=AGENT, refuses_opted_out=True),
            now=second(5),
        )


async def test_of_a_whole_project_it_counts_for_every_number_also_for_those_to_come(world: World):
    talks = [await world.accept(agent_number=each) for each in (AGENT, SECOND)]
    other = await world.accept(user=NEIGHBOUR)

    await opt_out(world)

    assert {(await world.talk(talk.conversation_id)).reason for talk in talks} == {"opted_out"}
    await world.provision(numbers=[*NUMBERS, number("+14155550109")])
    for named in (AGENT, SECOND, DEV, Phone("+14155550109"), None):
        accepted = await world.accept(agent_number=named, now=second(2))
        assert accepted.suppressed
        assert await world.state(text_of(accepted)) == "suppressed"
    assert await world.state(text_of(other)) == "queued"


async def test_it_is_recorded_once_with_its_reason_and_told_once(world: World):
    first = await opt_out(world)
    again = await opt_out(world, at=2)

    assert first is not None
    assert again == Recorded(id=first.id, state="already")
    (found,) = await listed(world)
    assert (found.agent_number, found.project_id) == ("project:reminders", "reminders")
    assert (found.source, found.reason, found.opted_out_at) == ("caller", "by phone", second(1))
    assert await told(world, "user.opted_out") == [
        {"user_number": USER, "source": "caller", "reason": "by phone", "by": "caller"}
    ]


async def test_start_to_any_number_ends_what_stands_of_it_and_of_its_project(world: World):
    await world.hear("STOP", agent_number=SECOND)
    await opt_out(world)

    await world.hear("START", agent_number=AGENT, now=second(2))

    assert await world.may_text(agent_number=AGENT)
    assert await world.may_text(agent_number=DEV)
    assert not await world.may_text(agent_number=SECOND)  # that is another matter
    assert not (await world.accept(agent_number=AGENT, now=second(3))).suppressed
    (whole,) = await listed(world, standing=False)
    assert (whole.opted_in_source, whole.opted_in_words) == ("keyword", "START")


async def test_a_start_that_is_found_late_does_not_end_what_came_after_it(world: World):
    await opt_out(world, at=100)
    await world.hear("START", said_at=second(50), now=second(200))
    assert not await world.may_text()


async def test_a_callers_opt_in_does_not_outweigh_a_stop_that_is_found_late(world: World):
    recorded = await opt_out(world, "number")
    assert recorded is not None
    await consent.opt_in_user(world.db, ACME, recorded.id, "web form", now=second(500))
    assert await world.may_text()

    await world.hear("STOP", said_at=second(300), now=second(600))

    assert not await world.may_text()


@pytest.mark.parametrize("way", ["keyword", "number", "project"])
async def test_a_caller_may_end_it_with_a_reason_and_only_once(world: World, way: Way):
    await opt_out(world, way)
    (found,) = await listed(world, standing=True)

    await consent.opt_in_user(world.db, ACME, found.id, "web form", now=second(2))

    assert await world.may_text()
    (ended,) = await listed(world, standing=False)
    assert (ended.opted_in_source, ended.opted_in_reason) == ("caller", "web form")
    (event,) = await told(world, "user.opted_in")
    assert event | {"by": "caller", "reason": "web form", "opt_out_id": found.id} == event
    with pytest.raises(Conflict):
        await consent.opt_in_user(world.db, ACME, found.id, "again", now=second(3))


async def test_an_opt_in_of_the_number_leaves_that_of_the_project(world: World):
    await opt_out(world, "project")
    recorded = await opt_out(world, "number", at=2)
    assert recorded is not None
    await consent.opt_in_user(world.db, ACME, recorded.id, "web form", now=second(3))
    assert not await world.may_text()


async def test_a_row_that_is_wrong_keeps_no_other_from_counting(world: World):
    rows = [
        Wish(user_number=USER),
        Wish(user_number=USER, agent_number="+14155550999"),
        Wish(user_number=USER, project="nothing"),
        Wish(user_number=NEIGHBOUR, project="reminders"),
        Wish(user_number=NEIGHBOUR, project="reminders"),
    ]
    done = await consent.import_opt_outs(world.db, ACME, rows, now=second(1))
    states = ["refused", "refused", "refused", "recorded", "already"]
    assert [each.state for each in done] == states
    assert not await world.may_text(user=NEIGHBOUR)


@pytest.mark.parametrize(
    ("wish", "refusal"),
    [
        (Wish(user_number=USER), BadRequest),
        (Wish(user_number=USER, agent_number=AGENT, project="reminders"), BadRequest),
        (Wish(user_number=USER, agent_number=AGENT, reason=" "), BadRequest),
        (Wish(user_number=USER, agent_number="project:reminders"), NumberNotProvisioned),
        (Wish(user_number=USER, agent_number="+14155550999"), NumberNotProvisioned),
        (Wish(user_number=USER, project="nothing"), UnknownResource),
    ],
)
async def test_what_is_not_the_accounts_is_refused(
    world: World, wish: Wish, refusal: type[Refusal]
):
    with pytest.raises(refusal):
        await consent.opt_out_user(world.db, ACME, wish, now=second(1))
    assert await world.opt_outs() == []


async def test_another_accounts_is_as_if_it_were_not_there(world: World):
    await provision(world.db, env={"TWILIO_URL": "http://127.0.0.1:9"}, now=second(0))
    recorded = await opt_out(world)
    assert recorded is not None
    other = AccountId("globex")
    for wish in (
        Wish(user_number=USER, agent_number=AGENT),
        Wish(user_number=USER, project="reminders"),
    ):
        with pytest.raises((NumberNotProvisioned, UnknownResource)):
            await consent.opt_out_user(world.db, other, wish, now=second(1))
    with pytest.raises(UnknownResource):
        await consent.opt_in_user(world.db, other, recorded.id, "web form", now=second(2))
    assert await opt_out_reads.list_opt_outs(world.db, other, OptOutFilter(), limit=9) == []
    assert not await world.may_text()


async def test_whoever_comes_first_of_a_send_and_an_opt_out_nothing_stays_queued(world: World):
    for turn in range(8):
        user = Phone(f"+141555502{turn:02}")
        async with asyncio.TaskGroup() as group:
            named = None if turn % 2 else AGENT
            accepting = group.create_task(world.accept(user=user, agent_number=named))
            group.create_task(opt_out(world, user=user))
        assert await world.state(text_of(accepting.result())) == "suppressed"
        assert await world.live(user=user) == []


async def test_two_who_opt_the_same_user_out_at_once_do_not_wait_for_each_other(world: World):
    await world.accept(agent_number=AGENT)
    await world.accept(agent_number=SECOND)
    async with asyncio.timeout(10):
        async with asyncio.TaskGroup() as group:
            group.create_task(world.hear("STOP"))
            for way in ("project", "number", "project"):
                group.create_task(opt_out(world, way))
    assert await world.live() == []
    assert len(await listed(world, standing=True)) == 2
