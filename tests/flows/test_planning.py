"""A send that is not due yet is kept, shown, and sent once when its time has come."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from tests.support.deployment import ACME, AGENT, NOW, USER, hour, key, minute, second
from tests.support.plans import (
    NIGHT,
    create,
    id_of,
    plan_of,
    send,
    singles,
    state_of,
    take_turn,
    told,
)
from tests.support.wire import Wire
from tests.support.world import World
from textback.core.commands import AgentChoice
from textback.core.errors import (
    BadRequest,
    Conflict,
    NothingToSay,
    NumberNotProvisioned,
    OptedOut,
    UnknownAgent,
    UnknownResource,
)
from textback.core.ids import AccountId, AgentId, ConversationId
from textback.core.phone import Phone
from textback.db.session import create_engine
from textback.flows import due, planning
from textback.flows.due import Turn

MORNING = hour(7)
"""Eight o'clock where the users are."""


async def test_a_send_for_later_opens_nothing_until_it_is_due(world: World):
    today = await world.accept("Today.")
    accepted = await send(world, send_at=hour(24))

    assert accepted.planned_for == hour(24)
    assert [t.id for t in await world.live()] == [today.conversation_id]
    found = await plan_of(world, accepted)
    assert (found.state, found.why, found.planned_for) == ("planned", "scheduled", hour(24))
    assert (found.text, found.user_number, found.send_at) == ("See you at 3pm.", USER, hour(24))
    assert await told(world) == [
        (
            "send.planned",
            {"id": found.id, "why": "scheduled", "until": hour(24).isoformat()},
        )
    ]
    assert await singles(world, now=hour(23)) == []
    await world.send_all()
    assert world.carrier.texts == ["Today."]

    assert await singles(world, now=hour(24)) == ["accepted"]

    assert [t.id for t in await world.live()] == [accepted.conversation_id]
    assert (await world.text(id_of(accepted))).text == "See you at 3pm."
    assert (await plan_of(world, accepted)).state == "accepted"
    assert await singles(world, now=hour(25)) == []
    await world.send_all(now=hour(24))
    assert world.carrier.texts == ["Today.", "See you at 3pm."]


async def test_when_the_next_one_is_due_is_known(world: World):
    await send(world, send_at=hour(5))
    await send(world, send_at=hour(3))
    assert await due.due_accounts(world.db, now=NOW) == ([], hour(3))
    assert await due.due_accounts(world.db, now=hour(3)) == ([ACME], None)


async def test_a_moment_in_the_past_is_now(world: World):
    accepted = await send(world, send_at=second(-1))
    assert accepted.planned_for is None
    assert await world.state(id_of(accepted)) == "queued"


async def test_a_moment_too_far_ahead_is_refused(world: World):
    with pytest.raises(BadRequest, match="90 days"):
        await send(world, send_at=NOW + planning.MOST_AHEAD + timedelta(seconds=1))
    assert await told(world) == []


async def test_what_can_be_refused_now_is_refused_now(world: World):
    await world.provision(agent={"greeting": None})
    later = hour(1)
    with pytest.raises(NumberNotProvisioned):
        await send(world, send_at=later, agent_number=Phone("+14155550999"))
    with pytest.raises(UnknownAgent):
        await send(world, send_at=later, agent=AgentChoice(agent_id=AgentId("nobody")))
    with pytest.raises(NothingToSay):
        await send(world, send_at=later, text=None)
    await world.hear("STOP")
    with pytest.raises(OptedOut):
        await send(world, send_at=later, refuses_opted_out=True)
    assert await told(world) == []


async def test_a_repeated_plan_is_one_plan(world: World):
    first = await send(world, send_at=hour(1), idempotency=key("k"))
    again = await send(world, send_at=hour(1), idempotency=key("k"), now=second(5))
    assert (id_of(again), again.planned_for, again.replayed) == (
        id_of(first),
        hour(1),
        True,
    )
    assert await singles(world, now=hour(1)) == ["accepted"]


async def test_at_night_a_send_is_held_until_the_morning(world: World):
    await world.provision(project=NIGHT)
    accepted = await send(world)
    assert accepted.planned_for == MORNING
    assert (await plan_of(world, accepted)).why == "quiet_hours"
    assert await singles(world, now=MORNING - timedelta(seconds=1)) == []
    assert await singles(world, now=MORNING) == ["accepted"]


async def test_a_moment_at_night_is_moved_to_the_morning(world: World):
    await world.provision(project=NIGHT)
    accepted = await send(world, send_at=hour(2))
    assert accepted.planned_for == MORNING
    assert (await plan_of(world, accepted)).why == "quiet_hours"
    by_day = await send(world, send_at=hour(10))
    assert (by_day.planned_for, (await plan_of(world, by_day)).why) == (hour(10), "scheduled")


async def test_who_overrides_quiet_hours_texts_at_night(world: World):
    await world.provision(project=NIGHT)
    accepted = await send(world, ignores_quiet_hours=True)
    assert await world.state(id_of(accepted)) == "queued"


async def test_an_answer_is_not_held_at_night_and_an_opener_in_the_same_thread_is(world: World):
    first = await world.accept()
    await world.provision(project=NIGHT)
    assert (await send(world, thread="resume", now=second(1))).planned_for == MORNING
    await world.hear("Are you there?", now=second(2))
    answer = await send(world, thread="resume", now=second(3))
    assert (answer.conversation_id, answer.planned_for) == (first.conversation_id, None)
    later = await send(world, thread="resume", send_at=hour(1), now=second(4))
    assert later.planned_for == MORNING  # what is planned is no answer


async def test_who_is_late_asks_again_whether_it_is_quiet(world: World):
    await world.provision(project=NIGHT)
    accepted = await send(world, send_at=hour(19))  # 20:00; an hour later it is quiet
    assert await singles(world, now=hour(20)) == ["held"]
    found = await plan_of(world, accepted)
    assert (found.state, found.why, found.planned_for) == (
        "planned",
        "quiet_hours",
        MORNING + timedelta(days=1),
    )
    assert [kind for kind, _ in await told(world)] == ["send.planned", "send.planned"]
    assert await singles(world, now=MORNING + timedelta(days=1)) == ["accepted"]


async def test_a_send_is_not_sent_hours_late(world: World):
    accepted = await send(world, send_at=hour(1))
    assert await singles(world, now=hour(5)) == ["refused"]  # valid for four hours
    found = await plan_of(world, accepted)
    assert (found.state, found.problem) == ("refused", "Expired")
    assert (await told(world))[-1] == (
        "send.refused",
        {"id": found.id, "problem": "Expired", "error": found.error},
    )
    assert await world.texts() == []


async def test_its_validity_counts_from_when_it_was_due(world: World):
    accepted = await send(world, send_at=hour(1), validity=timedelta(hours=2))
    assert await singles(world, now=hour(2)) == ["accepted"]
    assert (await world.text(id_of(accepted))).expires_at == hour(3)


async def test_who_opted_out_meanwhile_is_not_texted(world: World):
    accepted = await send(world, send_at=hour(1))
    refusing = await send(world, send_at=hour(1), refuses_opted_out=True)
    await world.hear("STOP")
    assert await singles(world, now=hour(1)) == ["accepted", "refused"]
    assert await world.state(id_of(accepted)) == "suppressed"
    assert (await plan_of(world, refusing)).problem == "OptedOut"


async def test_one_that_is_refused_stops_no_other(world: World):
    gone = await send(world, send_at=hour(1), agent_number=Phone("+14155550101"))
    good = await send(world, send_at=hour(1), user_number=Phone("+14155550112"))
    await world.provision(
        numbers=[
            {"number": AGENT, "environment": "live", "carrier": "acme-sandbox"},
        ],
        prune=True,
    )
    assert await singles(world, now=hour(1)) == ["accepted", "refused"]
    found = await plan_of(world, gone)
    assert (found.problem, found.error) == (
        "NumberNotProvisioned",
        "agent_number is not provisioned for this project.",
    )
    assert await world.state(id_of(good)) == "queued"


async def test_a_mistake_of_ours_stops_no_other_and_is_tried_again(world: World):
    bad = await send(world, send_at=hour(1))
    good = await send(world, send_at=hour(1), user_number=Phone("+14155550112"))
    spoilt = await world.accept("Somebody has this id.", user=Phone("+14155550113"))
    await _spoil(world, id_of(bad), spoilt.conversation_id)
    at = hour(1)

    with capture_logs() as logged:
        assert await singles(world, now=at) == ["failed", "accepted"]
        assert await world.state(id_of(good)) == "queued"
        assert [each["event"] for each in logged] == ["plans.not_together", "plan.failed"]

        tries = 1
        while (found := await plan_of(world, bad)).state == "planned":
            assert found.planned_for is not None
            assert at < found.planned_for <= at + timedelta(minutes=5)
            at = found.planned_for
            assert await singles(world, now=at) == ["failed"]
            tries += 1
    assert (tries, found.state, found.problem) == (11, "refused", "ServerError")


async def _spoil(world: World, send_id: object, conversation_id: ConversationId) -> None:
    async with world.transaction() as c:
        await c.exec_driver_sql(
            "update planned_sends set conversation_id = $1 where id = $2",
            (conversation_id, send_id),
        )


async def test_what_is_planned_for_one_user_goes_in_its_order(world: World):
    first = await send(world, text="First.", send_at=hour(1))
    await send(world, text="Second.", send_at=hour(1))
    async with world.transaction() as c:  # somebody has the first one
        await c.exec_driver_sql(
            "select 1 from planned_sends where id = $1 for update", (id_of(first),)
        )
        assert await take_turn(world, Turn(account_id=ACME), now=hour(1)) == []
    assert await singles(world, now=hour(1)) == ["accepted", "accepted"]
    await world.send_all(now=hour(1))
    assert world.carrier.texts == ["First.", "Second."]


async def test_a_planned_send_that_goes_on_with_a_conversation_says_which(world: World):
    accepted = await send(world, send_at=hour(1), thread="resume")
    live = await world.accept(now=minute(30))
    assert await singles(world, now=hour(1)) == ["accepted"]
    assert (await plan_of(world, accepted)).conversation_id == live.conversation_id
    assert (await world.text(id_of(accepted))).conversation_id == live.conversation_id


async def test_a_cancelled_send_is_never_sent(world: World):
    accepted = await send(world, send_at=hour(1))
    done = await planning.cancel(world.db, ACME, id_of(accepted), now=minute(1))
    assert (done.state, done.ended_at, done.planned_for) == ("cancelled", minute(1), None)
    assert (await told(world))[-1] == ("send.cancelled", {"id": id_of(accepted)})
    assert await singles(world, now=hour(2)) == []
    with pytest.raises(Conflict, match="cancelled"):
        await planning.cancel(world.db, ACME, id_of(accepted), now=minute(2))
    with pytest.raises(Conflict, match="cancelled"):
        await planning.release(world.db, ACME, id_of(accepted), now=minute(2))


async def test_a_rescheduled_send_goes_at_its_new_moment(world: World):
    await world.provision(project=NIGHT)
    accepted = await send(world, send_at=hour(10))
    moved = await planning.reschedule(world.db, ACME, id_of(accepted), hour(12), now=minute(1))
    assert (moved.planned_for, moved.why, moved.send_at) == (hour(12), "scheduled", hour(12))
    night = await planning.reschedule(world.db, ACME, id_of(accepted), hour(3), now=minute(1))
    assert (night.planned_for, night.why) == (MORNING, "quiet_hours")
    with pytest.raises(BadRequest):
        await planning.reschedule(
            world.db, ACME, id_of(accepted), NOW + timedelta(days=91), now=minute(1)
        )
    assert await singles(world, now=MORNING) == ["accepted"]


async def test_a_released_send_goes_at_once_whatever_the_hour(world: World):
    await world.provision(project=NIGHT)
    accepted = await send(world, send_at=hour(20))
    released = await planning.release(world.db, ACME, id_of(accepted), now=minute(1))
    assert (released.planned_for, released.ignores_quiet_hours) == (minute(1), True)
    assert await singles(world, now=minute(1)) == ["accepted"]
    with pytest.raises(Conflict, match="accepted"):
        await planning.cancel(world.db, ACME, id_of(accepted), now=minute(2))


async def test_another_accounts_plan_does_not_exist(world: World):
    accepted = await send(world, send_at=hour(1))
    other = AccountId("globex")
    for act in (planning.cancel, planning.release):
        with pytest.raises(UnknownResource):
            await act(world.db, other, id_of(accepted), now=NOW)
    with pytest.raises(UnknownResource):
        await planning.reschedule(world.db, other, id_of(accepted), hour(2), now=NOW)


async def test_a_plan_of_a_project_that_is_gone_is_refused(world: World):
    accepted = await send(world, send_at=hour(1))
    async with world.transaction() as c:
        await c.exec_driver_sql("update projects set removed_at = now()")
    assert await singles(world, now=hour(1)) == ["refused"]
    assert (await plan_of(world, accepted)).problem == "UnknownResource"


async def test_a_commit_that_nobody_confirmed_is_looked_for(world: World, database_url: str):
    """Told 503, a caller without a key would plan, or make a batch, again."""
    async with Wire(database_url) as wire:
        doomed = World(create_engine(wire.url))
        wire.break_at(b"insert into planned_sends", b"COMMIT", deliver=True)
        made = await create(doomed, [USER], text="Hi.")
        wire.break_at(b"INSERT INTO planned_sends", b"COMMIT", deliver=True)
        accepted = await send(doomed, send_at=hour(1))
        assert wire.cuts == 2
        await doomed.close()
        await doomed.db.dispose()
    assert await state_of(world, made.batch.id) == "running"
    assert (await plan_of(world, accepted)).planned_for == hour(1)
