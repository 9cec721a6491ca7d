"""A request that is repeated is the same request: one text, and the first answer again."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.deployment import ACME, HTTP, NEIGHBOUR, NOW, caller, hour, key, second
from tests.support.world import World
from textback.core.commands import Accepted
from textback.core.errors import KeyReused, NothingToSay, NumberNotProvisioned
from textback.core.phone import Phone
from textback.db.book import Book
from textback.flows.accept import Accepting
from textback.flows.tidy import tidy


async def test_a_repeated_request_gets_the_first_answer_and_sends_no_second_text(world: World):
    first = await world.accept(idempotency=key("k1"))

    again = await world.accept(idempotency=key("k1"), now=hour(23))

    assert again == replace(first, replayed=True)
    assert len(await world.texts()) == 1
    (talk,) = await world.talks()
    assert talk.state == "opened"


async def test_a_repeated_request_is_known_before_it_is_counted(world: World):
    first = await world.accept(idempotency=key("k1"))

    assert await Accepting(world.db, Book(world.db)).replay(
        caller(), key("k1"), now=second(1)
    ) == replace(first, replayed=True)
    assert (
        await Accepting(world.db, Book(world.db)).replay(caller(), key("k2"), now=second(1)) is None
    )


async def test_a_repeated_request_gets_its_answer_also_after_its_conversation_ended(world: World):
    first = await world.accept(idempotency=key("k1"))
    await world.hear("STOP", now=second(1))
    await world.provision(agent={"greeting": None})

    again = await world.accept(idempotency=key("k1"), now=second(2))

    assert again.message_id == first.message_id
    assert await world.state(first.message_id) == "suppressed"


async def test_a_key_used_for_another_request_is_refused_and_nothing_is_stored(world: World):
    await world.accept(idempotency=key("k1", b"one"))

    with pytest.raises(KeyReused):
        await world.accept(idempotency=key("k1", b"two"))
    with pytest.raises(KeyReused):
        await Accepting(world.db, Book(world.db)).replay(caller(), key("k1", b"two"), now=NOW)

    assert len(await world.texts()) == 1


async def test_keys_of_different_accounts_and_routes_do_not_meet(world: World):
    await world.accept(idempotency=key("k1"))

    await world.accept(idempotency=key("k1", b"other", route="/v1/sms"))
    other = replace(caller(), account_id=type(ACME)("globex"))
    assert (
        await Accepting(world.db, Book(world.db)).replay(other, key("k1", b"other"), now=NOW)
        is None
    )

    assert len(await world.texts()) == 2


async def test_concurrent_repetitions_send_one_text_and_all_get_its_id(world: World):
    async with asyncio.TaskGroup() as group:
        sends = [group.create_task(world.accept(idempotency=key("k1"))) for _ in range(10)]
    answers = [send.result() for send in sends]

    (text,) = await world.texts()
    assert {answer.message_id for answer in answers} == {text.id}
    assert [answer.replayed for answer in answers].count(False) == 1


async def test_of_concurrent_requests_that_share_a_key_one_wins_and_the_others_are_refused(
    world: World,
):
    async def attempt(n: int) -> Accepted | KeyReused:
        user = Phone(f"+1415555{200 + n:04}")
        try:
            return await world.accept(user=user, idempotency=key("k1", str(n).encode()))
        except KeyReused as refused:
            return refused

    async with asyncio.TaskGroup() as group:
        sends = [group.create_task(attempt(n)) for n in range(8)]
    answers = [send.result() for send in sends]

    assert sum(isinstance(answer, KeyReused) for answer in answers) == 7
    assert len(await world.talks()) == 1


async def test_a_key_may_be_used_anew_after_a_day(world: World):
    first = await world.accept(idempotency=key("k1"))

    again = await world.accept(idempotency=key("k1", b"other"), now=hour(24))

    assert again.message_id != first.message_id
    assert not again.replayed
    replayed = await world.accept(idempotency=key("k1", b"other"), now=hour(47))
    assert replayed == replace(again, replayed=True)


async def test_concurrent_requests_on_an_expired_key_send_one_text(world: World):
    await world.accept(idempotency=key("k1"))

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(world.accept(idempotency=key("k1"), now=hour(25)))

    assert len(await world.texts()) == 2


async def test_a_refusal_is_not_remembered(world: World):
    await world.provision(agent={"greeting": None})
    with pytest.raises(NothingToSay):
        await world.accept(None, idempotency=key("k1"))
    with pytest.raises(NumberNotProvisioned):
        await world.accept(agent_number=Phone("+14155550177"), idempotency=key("k1"))

    accepted = await world.accept(idempotency=key("k1", b"corrected"))

    assert not accepted.replayed
    assert len(await world.texts()) == 1


async def test_a_request_that_waited_for_one_that_was_refused_is_carried_out(world: World):
    async def refused() -> None:
        # Whichever comes first, this one is refused: by the number, or else by the key.
        with pytest.raises((NumberNotProvisioned, KeyReused)):
            await world.accept(agent_number=Phone("+14155550177"), idempotency=key("k1"))

    async with asyncio.TaskGroup() as group:
        group.create_task(refused())
        good = group.create_task(world.accept(idempotency=key("k1", b"good")))

    assert await world.state(good.result().message_id) == "queued"


async def test_an_opener_promised_under_a_key_keeps_its_id(world: World):
    await world.provision(agent={"greeting": None, "engine": HTTP})

    first = await world.accept(None, user=NEIGHBOUR, idempotency=key("k1"))
    again = await world.accept(None, user=NEIGHBOUR, idempotency=key("k1"), now=second(1))

    assert again.message_id == first.message_id
    assert len(await world.turns()) == 1


async def test_housekeeping_forgets_expired_keys_and_no_others(world: World):
    await world.accept(idempotency=key("old"))
    await world.accept(idempotency=key("new"), now=hour(1))

    assert await tidy(world.db, now=hour(24.5)) == 1

    assert (
        await Accepting(world.db, Book(world.db)).replay(caller(), key("new"), now=hour(24.5))
        is not None
    )
