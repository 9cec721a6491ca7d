"""Who takes in receipts or keeps deadlines dies at every point; each takes effect once."""

import pytest

from tests.support.aftermath import Aftermath, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import hour, second
from tests.support.doubles import NO_ANSWER
from tests.support.world import World
from textback.core.ports import Taken


@pytest.mark.parametrize("known", [True, False])
async def test_a_receipt_is_taken_in_once(world: World, doomed: World, *, known: bool):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        ours = await world.accept("One.", user=user)
        await world.accept("Two.", user=user)
        (job,) = await world.claim()
        taken = await world.hand_over(job, carrier=others.carrier)
        assert isinstance(taken, Taken)
        await world.record(job, taken if known else NO_ANSWER)

        def delivered(by: World) -> ...:
            return by.receipt("delivered", sid=taken.carrier_message_id, message_id=ours.message_id)

        await mortal.run(delivered(doomed))
        if mortal.died_at is not None:  # it was not acknowledged
            await delivered(world)
        await others.go_on()
        await others.check(user, took=["One.", "Two."])
        assert (await world.text(ours.message_id)).state == "delivered"
        told = await world.events(ours.message_id)
        assert told.count("message.delivered") == 1

    await at_every_point(doomed.db, story, more_than=3)


async def test_a_receipt_that_tells_of_an_opt_out_records_it_once(world: World, doomed: World):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        ours = await world.accept("One.", user=user)
        await world.send(carrier=others.carrier)
        await world.accept("Two.", user=user)
        (sid,) = others.carrier.sids_to(user)

        def undelivered(by: World) -> ...:
            return by.receipt(
                "failed", sid=sid, message_id=ours.message_id, error_code="21610", opted_out=True
            )

        await mortal.run(undelivered(doomed))
        if mortal.died_at is not None:
            await undelivered(world)
        await others.go_on()
        await others.check(user, took=["One."])
        assert len([o for o in await world.opt_outs() if o.user_number == user]) == 1
        assert not await world.live(user=user)

    await at_every_point(doomed.db, story, more_than=7)


async def test_a_silent_user_is_warned_once_and_the_conversation_closed_once(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, day = user_of(n), 24.0
        await world.hear("Hello", user=user)
        await others.go_on()

        async def deadlines(by: World) -> None:
            await by.expire(now=hour(day + 1))  # missed: the warning leaves the whole grace
            await by.expire(now=hour(day + 2))

        await mortal.run(deadlines(doomed))
        await deadlines(world)
        await others.go_on(since=hour(day + 2))
        (talk,) = await world.talks(user=user)
        assert talk.reason == "idle"
        told = await world.events(talk.id)
        assert (told.count("conversation.warned"), told.count("conversation.closed")) == (1, 1)
        kinds = [t.kind for t in await world.ours(user=user)]
        assert kinds == ["reply", "warning", "closing"]
        await others.check(user, took=[t.text for t in await world.ours(user=user)])

    await at_every_point(doomed.db, story, more_than=7)


async def test_a_text_before_the_close_keeps_it_open_wherever_who_takes_it_in_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Hello", user=user)
        await others.go_on()
        await world.expire(now=hour(25))
        at = hour(25) + (second(60) - second(0))
        await mortal.run(doomed.hear("Still here", user=user, sid=f"IN{n}", now=at))
        await world.expire(now=at)
        if mortal.died_at is not None:
            await world.hear("Still here", user=user, sid=f"IN{n}", now=at)
        await others.go_on(since=at)
        await world.expire(now=hour(26))
        (talk,) = await world.live(user=user)
        assert talk.state == "engaged"

    await at_every_point(doomed.db, story, more_than=12)
