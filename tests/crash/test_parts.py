"""Whoever dies while the parts of an answer go out: each is sent once, and in order."""

from tests.support.aftermath import Aftermath, FarEngine, FarPace, user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.world import World
from textback.core.engine import TurnReply

ANSWER = TurnReply(texts=["One.", "One."])


async def test_parts_go_out_once_and_in_order_wherever_who_sends_or_reports_dies(
    world: World, doomed: World
):
    others = Aftermath(world)

    async def story(mortal: Mortal, n: int) -> None:
        user = user_of(n)
        await world.hear("Hello", user=user)
        await world.think(engine=FarEngine(ANSWER))

        async def send_and_report() -> None:
            for _ in ANSWER.texts:
                await doomed.send_all(carrier=others.carrier, pace=FarPace())
                await doomed.receipt("sent", sid=others.carrier.sids_to(user)[-1])

        await mortal.run(send_and_report())
        await others.go_on()
        await others.check(user, took=["One.", "One."])

    await at_every_point(doomed.db, story, more_than=38)
