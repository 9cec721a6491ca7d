"""A whole loop of a worker dies at every point, with the tasks that it started."""

from dataclasses import replace

from tests.support.aftermath import Aftermath, FarEngine, FarPace, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import FALLBACK
from tests.support.running import Shop
from tests.support.world import World
from textback.core.engine import TurnReply, TurnRequest
from textback.core.ports import Outgoing, SendError
from textback.worker.texts import Texts
from textback.worker.turns import Turns


async def test_a_text_is_sent_once_wherever_the_worker_dies(
    world: World, doomed: World, database_url: str
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, shop = user_of(n), Shop(doomed, database_url)
        await world.accept("One.", user=user)
        shop.with_carrier(others.carrier)
        shop.rt = replace(shop.rt, pace=FarPace())
        sends, _settle = Texts(shop.rt, concurrency=1).loops

        def then_stop(_: Outgoing) -> SendError | None:
            sends.stop()
            return None

        others.carrier.refuses = then_stop
        await mortal.run(sends.run())
        others.carrier.refuses = None
        await shop.close()
        await others.go_on()
        await others.check(user, took=["One."])

    await at_every_point(doomed.db, story, more_than=19)


async def test_a_turn_is_answered_once_wherever_the_worker_dies(
    world: World, doomed: World, database_url: str
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user, shop = user_of(n), Shop(doomed, database_url)
        await world.hear("Hello", user=user)
        engine = FarEngine()
        shop.with_engine(engine, fallback=FALLBACK)
        thinks, _moot = Turns(shop.rt, concurrency=1).loops

        def then_stop(request: TurnRequest) -> TurnReply:
            thinks.stop()
            return TurnReply(texts=[f"You said {request.heard}."])

        engine.on_reply = then_stop
        await mortal.run(thinks.run())
        await shop.close()
        await others.go_on()
        await others.check(user, took=["You said Hello."])

    await at_every_point(doomed.db, story, more_than=12)
