"""Who tells of events dies at every point; others go on, and each arrives, once begun in order."""

import asyncio
from collections import defaultdict
from datetime import datetime

from tests.support.aftermath import user_of
from tests.support.crash import Mortal, at_every_point
from tests.support.deployment import NOW, minute
from tests.support.webhooks import Postman
from tests.support.world import World
from textback.core.webhook import Answered, NotAnswered
from textback.db.webhook_deliveries import Held
from textback.flows import deliver
from textback.flows.deliver import Recorded


class FarPostman(Postman):
    """It is waited for on the way to the receiver and on the way back."""

    async def post(self, held: Held, *, now: datetime = NOW) -> Answered | NotAnswered | Recorded:
        came = await super().post(held, now=now)
        await asyncio.sleep(0)
        return came


async def test_each_event_arrives_the_same_and_in_order_wherever_who_tells_it_dies(
    world: World, doomed: World
) -> None:
    ours, theirs = Postman(world), FarPostman(doomed)
    theirs.posted = ours.posted  # it is one receiver
    await ours.endpoint(kinds=["conversation.opened", "message.queued"])

    async def story(mortal: Mortal, n: int) -> None:
        ours.posted.clear()
        await world.accept(user=user_of(n))
        await mortal.run(theirs.round())
        await ours.round()  # what is in doubt is not overtaken
        await deliver.rescue(world.db, limit=10, now=minute(1))
        await ours.run(now=minute(3))
        told: dict[str, set[tuple[str, bytes]]] = defaultdict(set)
        for posted in ours.posted:
            told[posted.type].add((posted.headers["webhook-id"], posted.body))
        assert list(told) == ["conversation.opened", "message.accepted"]
        assert [len(each) for each in told.values()] == [1, 1]
        assert len(ours.posted) <= 3  # one of them twice
        assert {state for state, _ in await ours.deliveries()} == {"delivered"}

    await at_every_point(doomed.db, story, more_than=11)
