"""Who sends what is planned dies at every point; others go on, and everybody is texted once."""

from dataclasses import replace
from typing import Any

from tests.support import plans
from tests.support.aftermath import user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import ACME, NOW, key, minute, second
from tests.support.world import World
from textback.core.batch import Row
from textback.core.commands import Accepted
from textback.db.plans import rows as all_rows
from textback.flows import batches, due, opening_due, planning
from textback.flows.due import Turn

DUE = minute(5)


async def opened_once(world: World, accepted: Accepted) -> None:
    assert (await plans.plan_of(world, accepted)).state == "accepted"
    assert await world.state(plans.id_of(accepted)) == "queued"
    assert await world.events(accepted.conversation_id) == ["conversation.opened"]


async def test_a_send_is_planned_once_under_its_key_wherever_its_request_dies(
    world: World, doomed: World
):
    async def story(mortal: Mortal, n: int) -> None:
        asked: Any = {"user_number": user_of(n), "send_at": DUE, "idempotency": key(f"key {n}")}
        first = await mortal.run(plans.send(doomed, **asked, now=second(1)))
        again = await plans.send(world, **asked, now=second(5))
        assert first is None or again == replace(first, replayed=True)
        assert await plans.singles(world, now=DUE) == ["accepted"]
        await opened_once(world, again)

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_planned_send_is_opened_once_wherever_its_worker_dies(world: World, doomed: World):
    turn = Turn(account_id=ACME)

    async def story(mortal: Mortal, n: int) -> None:
        accepted = await plans.send(world, user_number=user_of(n), send_at=DUE)
        live_user = user_of(5000 + n)
        await world.accept(user=live_user)
        resumed = await plans.send(  # which goes alone
            world, user_number=live_user, send_at=DUE, thread="resume"
        )
        await mortal.run(opening_due.send_some(doomed.db, turn, now=DUE))
        await opening_due.send_some(world.db, turn, now=DUE)
        await opened_once(world, accepted)
        assert (await plans.plan_of(world, resumed)).state == "accepted"
        assert len(await world.texts(user=live_user)) == 2

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_refusal_is_told_once_wherever_its_worker_dies(world: World, doomed: World):
    turn, late = Turn(account_id=ACME), minute(500)

    async def story(mortal: Mortal, n: int) -> None:
        accepted = await plans.send(world, user_number=user_of(n), send_at=DUE)
        await mortal.run(opening_due.send_some(doomed.db, turn, now=late))
        await opening_due.send_some(world.db, turn, now=late)
        assert (await plans.plan_of(world, accepted)).state == "refused"
        told = [data["id"] for kind, data in await plans.told(world) if kind == "send.refused"]
        assert told.count(plans.id_of(accepted)) == 1

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_batch_ends_once_wherever_a_worker_dies(world: World, doomed: World):
    """Who hands out turns dies; what is done in a turn is shown above."""

    async def story(mortal: Mortal, n: int) -> None:
        made = await plans.create(world, [user_of(n)], text="One.", draft=True)
        row = (await all_rows(world.db, made.batch.id, limit=1))[0]
        await planning.cancel(world.db, ACME, row.id, now=NOW)
        await batches.start(world.db, ACME, made.batch.id, now=NOW)
        await mortal.run(due.claim_batches(doomed.db, limit=1, now=NOW))
        await due.claim_batches(world.db, limit=1, now=NOW)
        assert await plans.state_of(world, made.batch.id) == "done"
        ends = [data["id"] for kind, data in await plans.told(world) if kind == "batch.done"]
        assert ends.count(made.batch.id) == 1

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_batch_is_stored_once_under_its_key_wherever_its_request_dies(
    world: World, doomed: World
):
    async def story(mortal: Mortal, n: int) -> None:
        rows, name = [Row(to=user_of(n)), Row(to="nobody")], key(f"batch {n}")
        first = await mortal.run(
            plans.create(doomed, rows, text="One.", draft=True, idempotency=name)
        )
        again = await plans.create(
            world, rows, text="One.", draft=True, idempotency=name, now=second(5)
        )
        assert first is None or first.batch.id == again.batch.id
        assert len(again.errors) == 1
        counted = await plans.progress(world, again.batch.id, now=second(5))
        assert counted == {"planned": 1, "refused": 1}

    await at_every_point(doomed.db, story, more_than=11)
