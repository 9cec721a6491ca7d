"""A carrier account that answers 429 gets less at once, soon as much as it takes, and only it."""

import asyncio
import math
import time
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text as sql

from tests.support.deployment import AGENT, OTHER_CARRIER, SECOND, number
from tests.support.doubles import CarrierDouble
from tests.support.fake_twilio import FakeTwilio, slow, too_many_requests
from tests.support.fake_twilio.fake import NO_RECEIPTS
from tests.support.fake_twilio.server import Request
from tests.support.running import Shop
from tests.support.texts import account_of
from textback import wiring
from textback.carriers.twilio.client import TwilioCarrier
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.ports import Carrier
from textback.runtime import Carriers

ALLOWED = 3
PAIRS = 40


class TwoCarriers(Carriers):
    def __init__(self, shop: Shop, limited: Carrier, free: Carrier) -> None:
        super().__init__(shop.rt.db, shop.rt.vault, lambda _: limited)
        self._limited, self._free = limited, free

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        return (self._free if carrier_id == OTHER_CARRIER else self._limited), "sandbox"


async def test_two_workers_find_out_how_many_requests_at_once_an_account_takes(shop: Shop):
    world = shop.world
    numbers = [number(AGENT), number(SECOND, carrier=OTHER_CARRIER)]
    await world.provision(numbers=numbers)
    free = CarrierDouble()
    concurrency = list[int]()
    async with FakeTwilio() as twilio:
        twilio.receipts = NO_RECEIPTS

        def is_too_much(_: Request) -> bool:
            concurrency.append(twilio.concurrent)
            return twilio.concurrent > ALLOWED

        twilio.next(too_many_requests(), times=math.inf, when=is_too_much)
        twilio.next(slow(after=0.15), times=math.inf)
        limited = TwilioCarrier(account_of(twilio), timeout=timedelta(seconds=5))
        shop.rt = replace(
            shop.rt,
            carriers=TwoCarriers(shop, limited, free),
            now=wiring.clock,
            steady=time.monotonic,
        )
        users = [Phone(f"+1415557{n:04}") for n in range(PAIRS)]
        for user in users:
            for words in ("One", "Two"):
                await world.accept(words, user=user, agent_number=AGENT, now=wiring.clock())

        async def all_sent() -> bool:
            return len(twilio.created) >= 2 * PAIRS

        async with shop.working(concurrency=8), shop.working(concurrency=8):
            await asyncio.sleep(0.3)  # into the storm
            began = time.monotonic()
            await world.accept("Elsewhere", agent_number=SECOND, now=wiring.clock())
            await shop.until(lambda: _is(bool(free.sent)))
            assert time.monotonic() - began < 2
            await shop.until(all_sent)
        await limited.close()

        sent = [(m.to, m.body) for m in twilio.created]
        refused = sum(asked > ALLOWED for asked in concurrency)
        late = concurrency[-len(concurrency) // 3 :]

    assert len(sent) == len(set(sent)) == 2 * PAIRS
    assert all(sent.index((user, "One")) < sent.index((user, "Two")) for user in users)
    assert refused > 0
    assert max(late) <= 2 * ALLOWED  # near what it takes
    assert refused < len(sent) / 2
    async with world.transaction() as c:
        assert await c.scalar(sql("select max(attempts) from messages")) == 0


async def _is(condition: bool) -> bool:  # noqa: FBT001
    return condition
