"""A carrier account that answers 429 gets less at once, and only it.

How two workers find out how much it takes: `test_accounts.py`.
"""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text as sql

from tests.support.deployment import AGENT, OTHER_CARRIER, SECOND, number
from tests.support.doubles import CarrierDouble
from tests.support.running import Shop
from textback import wiring
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import Carrier, Outgoing, SendError, Taken
from textback.runtime import Carriers

ALLOWED = 3
PAIRS = 12
BUSY = SendError("20429", "Too many requests.", "slow_down")


class Limited(CarrierDouble):
    """Refuses what is more than `ALLOWED` at once; answers the others when `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.storm = asyncio.Event(), asyncio.Event()
        self.took: list[tuple[Phone, str]] = []
        self.at_once: list[int] = []
        """How many there were, as each came."""
        self.under_way = 0
        self.on_send = self._take

    async def _take(self, outgoing: Outgoing) -> Taken | SendError:
        self.under_way += 1
        self.at_once.append(self.under_way)
        try:
            if self.under_way > ALLOWED:
                self.storm.set()
                return BUSY
            await self.open.wait()
            self.took.append((outgoing.user_number, outgoing.text))
            return self.taken()
        finally:
            self.under_way -= 1


class TwoCarriers(Carriers):
    def __init__(self, shop: Shop, limited: Carrier, free: Carrier) -> None:
        super().__init__(shop.rt.db, shop.rt.vault, lambda _: limited)
        self._limited, self._free = limited, free

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        return (self._free if carrier_id == OTHER_CARRIER else self._limited), "sandbox"


async def two_carriers(shop: Shop) -> tuple[Limited, CarrierDouble]:
    """Of `AGENT` and of `SECOND`."""
    limited, free = Limited(), CarrierDouble()
    await shop.world.provision(numbers=[number(AGENT), number(SECOND, carrier=OTHER_CARRIER)])
    shop.rt = replace(shop.rt, carriers=TwoCarriers(shop, limited, free))
    return limited, free


async def test_a_worker_that_was_refused_has_less_under_way_and_no_less_elsewhere(shop: Shop):
    world = shop.world
    limited, free = await two_carriers(shop)
    for n in range(PAIRS):
        await world.accept("One", user=Phone(f"+1415557{n:04}"), agent_number=AGENT)
    async with shop.working(concurrency=8):
        await limited.storm.wait()
        await shop.until(lambda: _is(limited.under_way == ALLOWED))
        shop.clock.now += timedelta(minutes=1)  # all that was put off is due
        so_far = len(limited.at_once)
        # It is claimed after those that wait for the other carrier: they would have been, too.
        await world.accept("Elsewhere", agent_number=SECOND, now=shop.clock.now)
        await shop.until(lambda: _is(bool(free.sent)))
        assert len(limited.at_once) - so_far <= 1
        assert limited.under_way == ALLOWED
        limited.open.set()


async def test_two_workers_send_all_once_and_in_order_through_an_account_that_refuses(shop: Shop):
    world = shop.world
    limited, free = await two_carriers(shop)
    shop.rt = replace(
        shop.rt,
        now=wiring.clock,
        steady=time.monotonic,
        policy=SendPolicy(lease=timedelta(minutes=10)),  # however slow this machine is
    )
    users = [Phone(f"+1415557{n:04}") for n in range(PAIRS)]
    for user in users:
        for words in ("One", "Two"):
            await world.accept(words, user=user, agent_number=AGENT, now=wiring.clock())
    async with shop.working(concurrency=8), shop.working(concurrency=8):
        await limited.storm.wait()
        await world.accept("Elsewhere", agent_number=SECOND, now=wiring.clock())
        await shop.until(lambda: _is(bool(free.sent)))
        assert limited.took == []  # it did not have to wait for them
        limited.open.set()
        await shop.until(lambda: _is(len(limited.took) >= 2 * PAIRS))

    sent = limited.took
    assert len(sent) == len(set(sent)) == 2 * PAIRS
    assert all(sent.index((user, "One")) < sent.index((user, "Two")) for user in users)
    async with world.transaction() as c:
        assert await c.scalar(sql("select max(attempts) from messages")) == 0


async def _is(condition: bool) -> bool:  # noqa: FBT001
    return condition
