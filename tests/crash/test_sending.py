"""A worker dies at every point of sending; each text is sent once all the same, and in order."""

from contextlib import suppress

import pytest

from tests.support.aftermath import Aftermath, FarCarrier, FarPace, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import minute, second
from tests.support.doubles import LATER, NEVER, NO_ANSWER, OPTED_OUT, SLOW_DOWN
from tests.support.world import WithText, World
from textback.core.errors import NotUncertain
from textback.core.phone import Phone
from textback.core.ports import Outgoing, SendError, Taken
from textback.flows import operate


async def test_texts_are_sent_once_and_in_order_wherever_their_worker_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        for words in ("One.", "One."):
            await world.accept(words, user=user)
        await mortal.run(doomed.send_all(carrier=others.carrier, pace=FarPace()))
        await others.go_on()
        await others.check(user, took=["One.", "One."])

    await at_every_point(doomed.db, story, more_than=28)


@pytest.mark.parametrize("answer", [LATER, SLOW_DOWN])
async def test_what_the_carrier_puts_off_is_sent_once(
    world: World, doomed: World, answer: SendError
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        for words in ("One.", "Two."):
            await world.accept(words, user=user)
        others.carrier.refuses = answer
        await mortal.run(doomed.send(carrier=others.carrier, pace=FarPace()))
        others.carrier.refuses = None
        await others.go_on()
        await others.check(user, took=["One.", "Two."])

    await at_every_point(doomed.db, story, more_than=12)


async def test_what_the_carrier_refuses_is_failed_once_and_the_next_goes_out(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        refused = await world.accept("One.", user=user)
        await world.accept("Two.", user=user)

        def only_the_first(outgoing: Outgoing) -> SendError | None:
            return NEVER if outgoing.message_id == refused.message_id else None

        others.carrier.refuses = only_the_first
        await mortal.run(doomed.send_all(carrier=others.carrier, pace=FarPace()))
        await others.go_on()
        await others.check(user, took=["Two."])
        assert (await world.text(refused.message_id)).error_code == NEVER.code

    await at_every_point(doomed.db, story, more_than=28)


async def test_an_opt_out_that_the_carrier_tells_of_is_recorded_once(world: World, doomed: World):
    others = Aftermath(world, refuses=OPTED_OUT)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        first = await world.accept("One.", user=user)
        second_ = await world.accept("Two.", user=user)
        await mortal.run(doomed.send_all(carrier=others.carrier, pace=FarPace()))
        await others.go_on()
        await others.check(user, took=[])
        assert [o.source for o in await world.opt_outs() if o.user_number == user] == ["carrier"]
        assert not await world.may_text(user=user)
        assert (await world.text(first.message_id)).error_code == OPTED_OUT.code
        assert (await world.text(second_.message_id)).drop_reason == "opted_out"
        assert (await world.talk(second_.conversation_id)).reason == "opted_out"
        told = await world.events(first.conversation_id)
        assert told.count("user.opted_out") == 1

    await at_every_point(doomed.db, story, more_than=16)


async def test_a_text_past_its_validity_is_dropped_once(world: World, doomed: World):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        late = await world.accept("One.", user=user)
        at = minute(24 * 60)
        await world.accept("Two.", user=user, now=at)
        await mortal.run(doomed.send_all(now=at, carrier=others.carrier, pace=FarPace()))
        await others.go_on(since=at)
        await others.check(user, took=["Two."])
        assert (await world.text(late.message_id)).drop_reason == "expired"

    await at_every_point(doomed.db, story, more_than=19)


async def in_doubt(world: World, carrier: FarCarrier | None, user: Phone) -> WithText:
    """One that got no answer, with another behind it. `carrier`: it arrived there."""
    first = await world.accept("One.", user=user)
    await world.accept("Two.", user=user)
    (job,) = await world.claim()
    if carrier is not None:
        await world.hand_over(job, carrier=carrier)
    await world.record(job, NO_ANSWER)
    return first


@pytest.mark.parametrize("arrived", [True, False])
async def test_a_text_in_doubt_is_settled_wherever_who_looks_it_up_dies(
    world: World, doomed: World, *, arrived: bool
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        first = await in_doubt(world, others.carrier if arrived else None, user)

        async def look_until_it_is_known() -> None:
            for at in (second(10), second(60), minute(5)):
                await doomed.settle(now=at, carrier=others.carrier)

        await mortal.run(look_until_it_is_known())
        await others.go_on(since=minute(5))
        await others.check(user, took=["One.", "Two."])
        told = await world.events(first.message_id)
        assert told.count("message.uncertain") == 1

    await at_every_point(doomed.db, story, more_than=19)


async def test_a_claim_is_given_up_once_wherever_its_rescuer_dies(world: World, doomed: World):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        first = await world.accept("One.", user=user)
        (job,) = await world.claim()
        taken = await world.hand_over(job, carrier=others.carrier)
        assert isinstance(taken, Taken)
        await mortal.run(doomed.rescue(now=second(31)))
        await others.go_on(since=second(31))
        await others.check(user, took=["One."])
        told = await world.events(first.message_id)
        assert told.count("message.uncertain") == 1

    await at_every_point(doomed.db, story, more_than=3)


@pytest.mark.parametrize("arrived", [True, False])
async def test_an_operators_word_takes_effect_once_wherever_its_command_dies(
    world: World, doomed: World, *, arrived: bool
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        first = await in_doubt(world, others.carrier if arrived else None, user)

        async def settle(by: World) -> None:
            if arrived:
                [sid] = others.carrier.sids_to(user)
                await operate.settle_as_sent(
                    by.db, first.message_id, carrier_message_id=sid, now=second(2)
                )
            else:
                await operate.settle_as_not_sent(by.db, first.message_id, now=second(2))

        await mortal.run(settle(doomed))
        if mortal.died_at is not None:
            with suppress(NotUncertain):  # it took hold
                await settle(world)
        await others.go_on(since=second(2))
        await others.check(user, took=["One.", "Two."])
        told = await world.events(first.message_id)
        assert told.count("message.settled") == 1

    await at_every_point(doomed.db, story, more_than=3)
