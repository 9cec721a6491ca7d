"""The carrier is gone for an hour: all waits, nothing is lost, and then it goes in its order."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text as sql

from tests.support.deployment import hour, minute
from tests.support.doubles import NO_ANSWER, CarrierDouble
from tests.support.records import Text
from tests.support.running import Shop
from textback.core.phone import Phone
from textback.core.ports import NoAnswer, NotFound, Outgoing, SendError, Taken

REFUSED = SendError("connection", "could not connect", "slow_down")
BACK = hour(1)


class Away(CarrierDouble):
    """Answers as `fault` until it is back, and keeps what it took, and when."""

    def __init__(self, shop: Shop, fault: SendError | NoAnswer) -> None:
        super().__init__()
        self.fault, self._clock = fault, shop.clock
        self.on_send, self.on_look_up = self._sent, self._looked_up
        self.took: list[tuple[str, datetime, timedelta]] = []
        self.asked_in_vain = 0

    def _sent(self, outgoing: Outgoing) -> Taken | SendError | NoAnswer:
        if self._clock() < BACK:
            self.asked_in_vain += 1
            return self.fault
        self.took.append((outgoing.text, self._clock(), outgoing.valid_for))
        return self.taken()

    def _looked_up(self, _: Outgoing) -> NotFound | NoAnswer:
        return NotFound() if self._clock() >= BACK else NO_ANSWER


async def settle_down(shop: Shop, carrier: Away) -> None:
    """Until nothing more happens at this moment of the held clock."""
    quiet = 0
    seen: object = None
    while quiet < 4:
        await asyncio.sleep(0.03)
        async with shop.world.transaction() as c:
            rows = (await c.execute(LOOK)).all()
        now = (rows, carrier.asked_in_vain, len(carrier.took), len(carrier.asked))
        under_way = any(row.state == "sending" for row in rows)
        quiet = quiet + 1 if now == seen and not under_way else 0
        seen = now


USERS = [Phone(f"+141555503{n:02}") for n in range(18)]
LOOK = sql("select state, due_at, look_up_at from messages where direction = 'outbound'")


async def everything(shop: Shop) -> list[Text]:
    return [text for user in USERS for text in await shop.world.ours(user=user)]


@pytest.mark.parametrize("fault", [REFUSED, NO_ANSWER], ids=["refused", "no answer"])
async def test_an_hour_without_the_carrier_loses_nothing_and_sends_nothing_late(
    shop: Shop, fault: SendError | NoAnswer
):
    world, clock = shop.world, shop.clock
    await world.provision(project={"validity_seconds": 2 * 3600})
    carrier = Away(shop, fault)
    shop.with_carrier(carrier)
    early = minute(-90)  # has waited for long, and is worthless half an hour from now
    for n, user in enumerate(USERS[:14]):
        await world.accept(f"Opener {n:02}", user=user, now=minute(0))
    old = await world.accept("Worthless by then", user=USERS[17], now=early)
    async with shop.working(concurrency=4):
        moment = 0.0
        while moment < 60:
            if moment == 20:
                for n, user in enumerate(USERS[14:17]):
                    await world.hear(f"Question {n}", user=user, now=clock.now)
            clock.now = minute(moment)
            await settle_down(shop, carrier)
            moment += 5
        probes = carrier.asked_in_vain
        assert carrier.took == []
        assert await world.state(old.message_id) == "suppressed"
        for moment in (60, 61, 62, 64, 67, 70):
            clock.now = minute(moment)
            await settle_down(shop, carrier)

    texts = await everything(shop)
    assert {t.state for t in texts if t.id != old.message_id} == {"sent"}
    dropped = await world.text(old.message_id)
    assert dropped.drop_reason == "expired"
    names = [name for name, _, _ in carrier.took]
    assert sorted(names) == sorted({t.text for t in texts if t.id != old.message_id})
    assert all(valid <= timedelta(hours=1, minutes=20) for _, _, valid in carrier.took)
    replies = [name for name in names if name.startswith("You said")]
    if fault is REFUSED:
        assert names[:3] == sorted(replies)  # before openers, and each kind oldest first
        assert names[3:] == sorted(names[3:])
        assert {t.attempts for t in texts} == {0}
    else:
        assert probes <= 4 + 11  # what was under way, and one each time this clock went on
