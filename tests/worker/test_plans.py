"""A worker sends what is planned when its time has come, and batches beside everything else."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from structlog.testing import capture_logs

from tests.support.deployment import ACME, NOW, hour
from tests.support.plans import create, id_of, plan_of, progress, send, state_of, told, user
from tests.support.running import Shop
from textback.core.batch import Row
from textback.core.commands import Accepted
from textback.flows import planning

LONG = timedelta(minutes=5)


async def test_a_planned_send_goes_when_its_moment_comes(shop: Shop):
    await send(shop.world, text="At ten.", send_at=hour(1))
    async with shop.working():
        await asyncio.sleep(0)
        shop.clock.now = hour(1)
        await shop.until_said("At ten.")


async def test_what_was_due_while_everything_was_down_is_done_on_return(shop: Shop):
    await send(shop.world, text="At ten.", send_at=hour(1))
    late = await send(shop.world, text="Long ago.", send_at=NOW + timedelta(seconds=1))
    shop.clock.now = hour(4.5)
    async with shop.working():
        await shop.until_said("At ten.")
    assert (await plan_of(shop.world, late)).problem == "Expired"


async def test_who_releases_a_send_need_not_wait_for_a_poll(shop: Shop):
    accepted = await send(shop.world, text="Now.", send_at=hour(9))
    shop.rt = replace(shop.rt, poll=LONG)
    async with shop.working() as stop:
        await shop.until_listening()
        await planning.release(shop.world.db, ACME, id_of(accepted), now=NOW)
        await shop.until_said("Now.")
        stop.set()


async def test_a_batch_is_sent_to_its_end(shop: Shop):
    users = [user(n) for n in range(12)]
    made = await create(shop.world, users, text="Hi.")
    async with shop.working():

        async def is_done() -> bool:
            return await state_of(shop.world, made.batch.id) == "done"

        await shop.until(is_done)
    assert (await progress(shop.world, made.batch.id, now=NOW))["accepted"] == 12
    kinds = [kind for kind, _ in await told(shop.world)]
    assert (kinds[0], kinds[-1], kinds.count("batch.done")) == ("batch.started", "batch.done", 1)


async def test_two_workers_text_everybody_once(shop: Shop):
    users = [user(n) for n in range(12)]
    made = await create(shop.world, [Row(to=each) for each in users], text="Hi.")
    singles = [await _soon(shop, user(100 + n)) for n in range(4)]
    shop.clock.now = hour(1)
    async with shop.working(), shop.working():

        async def all_are_out() -> bool:
            states = [(await plan_of(shop.world, each)).state for each in singles]
            done = await state_of(shop.world, made.batch.id) == "done"
            return done and set(states) == {"accepted"}

        await shop.until(all_are_out)
    for each in [*users, *(user(100 + n) for n in range(4))]:
        assert len(await shop.world.texts(user=each)) == 1


async def _soon(shop: Shop, user_number: str) -> Accepted:
    return await send(shop.world, user_number=user_number, send_at=hour(0.5))


async def test_one_that_cannot_be_sent_stops_no_other(shop: Shop):
    taken = await shop.world.accept("Somebody has this id.", user=user(1))
    bad = await send(shop.world, text="Never.", user_number=user(2), send_at=hour(1))
    async with shop.world.transaction() as c:
        await c.exec_driver_sql(
            "update planned_sends set conversation_id = $1", (taken.conversation_id,)
        )
    await send(shop.world, text="Fine.", send_at=hour(1))
    shop.clock.now = hour(1)
    with capture_logs():
        async with shop.working():
            await shop.until_said("Fine.")
    assert (await plan_of(shop.world, bad)).state == "planned"
