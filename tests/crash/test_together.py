"""A process dies while it does for several users at once what comes for them at the same time."""

from asyncio import TaskGroup
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from tests.support.aftermath import Aftermath, FarCarrier, FarEngine, FarPace, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import AGENT, CARRIER, FALLBACK, caller, key, second
from tests.support.doubles import NO_ANSWER
from tests.support.running import Shop
from tests.support.world import World
from textback.core.commands import Accepted, Idempotency, SendText
from textback.core.engine import TurnReply, TurnRequest
from textback.core.phone import Phone
from textback.core.ports import Outgoing, Receipt, SendError, Taken
from textback.db.book import Book
from textback.flows.accept import Accepting
from textback.flows.receipt import Receipts
from textback.worker.texts import Texts
from textback.worker.turns import Turns

MANY = 3
"""Users at the same time."""


def users_of(n: int) -> list[Phone]:
    return [user_of(MANY * n + each) for each in range(MANY)]


@contextmanager
def together(group: str, mortal: Mortal) -> Generator[None]:
    """Within, if it survives, all are done together."""

    def counted() -> list[float]:
        names = "textback_group_size_sum", "textback_group_size_count"
        return [REGISTRY.get_sample_value(name, {"group": group}) or 0.0 for name in names]

    before = counted()
    yield
    if mortal.died_at is None:
        assert [now - then for now, then in zip(counted(), before, strict=True)] == [MANY, 1]


class Callers:
    """Each sends one text, at the same time; `told` is what those know who were answered."""

    def __init__(self, world: World, users: Sequence[Phone], *, keyed: bool) -> None:
        self._accepting = Accepting(world.db, Book(world.db))
        self._keys = {user: key(f"key {user}") if keyed else None for user in users}
        self.told: dict[Phone, Accepted] = {}

    async def send(self) -> None:
        async with TaskGroup() as group:
            for user, name in self._keys.items():
                group.create_task(self._send(user, name))

    async def _send(self, user: Phone, name: Idempotency | None) -> None:
        command = SendText(user_number=user, text="One.", agent_number=AGENT, idempotency=name)
        self.told[user] = await self._accepting.send_text(caller(), command, now=second(1))


@pytest.mark.parametrize("keyed", [True, False])
async def test_sends_that_come_together_are_each_there_if_anybody_was_told_so(
    world: World, doomed: World, *, keyed: bool
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        users = users_of(n)
        callers = Callers(doomed, users, keyed=keyed)
        await mortal.run(callers.send())
        told = callers.told
        if keyed:  # who heard nothing asks again
            again = Callers(world, users, keyed=True)
            await again.send()
            for user, first in told.items():
                assert again.told[user] == replace(first, replayed=True)
            told = again.told
        stored = {user: [t.id for t in await world.ours(user=user)] for user in users}
        assert {user: [done.message_id] for user, done in told.items()}.items() <= stored.items()
        await others.go_on()
        for user in users:
            await others.check(user, took=["One."] * len(stored[user]))
            assert len(await world.live(user=user)) == len(stored[user]) <= 1

    await at_every_point(doomed.db, story, more_than=6, connections=4)


async def test_what_came_of_texts_that_are_sent_together_is_saved_wherever_the_worker_dies(
    world: World, doomed: World, database_url: str
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        users, shop = users_of(n), Shop(doomed, database_url)
        for user in users:
            await world.accept("One.", user=user)
        shop.with_carrier(others.carrier)
        shop.rt = replace(shop.rt, pace=FarPace())
        sends, _settle = Texts(shop.rt, concurrency=MANY).loops

        def then_stop(_: Outgoing) -> SendError | None:
            sends.stop()
            return None

        others.carrier.refuses = then_stop
        with together("outcomes", mortal):
            await mortal.run(sends.run())
        others.carrier.refuses = None
        await shop.close()
        await others.go_on()
        for user in users:
            await others.check(user, took=["One."])

    await at_every_point(doomed.db, story, more_than=28, connections=4)


async def test_answers_that_come_together_are_each_sent_once_wherever_the_worker_dies(
    world: World, doomed: World, database_url: str
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        users, shop = users_of(n), Shop(doomed, database_url)
        for user in users:
            await world.hear("Hello", user=user)
        engine = FarEngine()
        shop.with_engine(engine, fallback=FALLBACK)
        thinks, _moot = Turns(shop.rt, concurrency=MANY).loops

        def then_stop(request: TurnRequest) -> TurnReply:
            thinks.stop()
            return TurnReply(texts=[f"You said {request.heard}."])

        engine.on_reply = then_stop
        with together("answers", mortal):
            await mortal.run(thinks.run())
        await shop.close()
        await others.go_on()
        for user in users:
            await others.check(user, took=["You said Hello."])

    await at_every_point(doomed.db, story, more_than=18, connections=4)


async def test_receipts_that_come_together_each_take_effect_once_wherever_who_hears_them_dies(
    world: World, doomed: World
):
    """One of a text that is known as sent, one before its answer, one of a text in doubt."""
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        users = users_of(n)
        brought = [await delivered(world, others.carrier, user, n) for n, user in enumerate(users)]

        async def bring(by: World) -> None:
            at_once = Receipts(by.db)
            async with TaskGroup() as group:
                for receipt in brought:
                    group.create_task(at_once.hear(CARRIER, receipt, now=second(2)))

        with together("receipts", mortal):
            await mortal.run(bring(doomed))
        if mortal.died_at is not None:  # none was acknowledged
            await bring(world)
        await others.go_on()
        for user, receipt in zip(users, brought, strict=True):
            await others.check(user, took=["One."])
            [text] = await world.ours(user=user)
            assert (text.id, text.state) == (receipt.message_id, "delivered")

    await at_every_point(doomed.db, story, more_than=6, connections=4)


async def delivered(world: World, carrier: FarCarrier, user: Phone, n: int) -> Receipt:
    """Of a text that was handed over, of which we know more or less."""
    text_id = (await world.accept("One.", user=user)).message_id
    [job] = await world.claim()
    taken = await world.hand_over(job, carrier=carrier)
    assert isinstance(taken, Taken)
    if n == 0:
        await world.record(job, taken)
    elif n == 1:
        await world.record(job, NO_ANSWER)
    return Receipt(
        carrier_message_id=taken.carrier_message_id, message_id=text_id, status="delivered"
    )
