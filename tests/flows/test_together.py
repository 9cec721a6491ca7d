"""Callers, users, the carrier and several workers at once, on few numbers: nothing may clash."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

import pytest

from tests.support.deployment import AGENT, HTTP, SECOND, minute, second
from tests.support.doubles import LATER, NO_ANSWER, OPTED_OUT, SLOW_DOWN, CarrierDouble, Sent
from tests.support.world import World
from textback.core.engine import TurnFailed, TurnReply
from textback.core.errors import WrongState
from textback.core.ids import MessageId
from textback.core.phone import Phone
from textback.core.ports import Outgoing

USERS = [Phone("+14155550201"), Phone("+14155550202")]
INACTIVITY = {"warn_after_seconds": 3, "close_after_seconds": 2}
LIMITS = {
    "per_sender": {"requests": 10_000, "per_seconds": 1},
    "per_project": {"requests": 10_000, "per_seconds": 1},
    "repeats": {"count": 1000},
}


class Bustle:
    """Everybody does something at random; what they see is checked as they go."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.accepted: list[MessageId] = []
        self.heard = 0
        self.written: list[MessageId] = []
        self._choice = random.Random(seed)  # noqa: S311 - a die for the test
        self._ticks = count()
        self._carrier = CarrierDouble()
        self._carrier.on_send = self._network
        self._silenced: set[tuple[Phone, Phone]] = set()

    async def run(self, steps: int) -> None:
        doing: list[Callable[[], Awaitable[None]]] = [
            self._caller,
            self._caller,
            self._user,
            self._user,
            self._sender,
            self._sender,
            self._agent,
            self._agent,
            self._person,
            self._person,
            self._housekeeper,
        ]

        async def many(act: Callable[[], Awaitable[None]]) -> None:
            for _ in range(steps):
                await act()

        async with asyncio.TaskGroup() as group:
            for act in doing:
                group.create_task(many(act))

    def _now(self) -> float:
        return next(self._ticks) / 20

    def _pair(self) -> tuple[Phone, Phone]:
        return self._choice.choice([AGENT, SECOND]), self._choice.choice(USERS)

    async def _caller(self) -> None:
        number, user = self._pair()
        at = self._now()
        accepted = await self.world.accept(
            None if self._choice.random() < 0.4 else f"Opener {at}",
            user=user,
            agent_number=number if self._choice.random() < 0.5 else None,
            now=second(at),
        )
        self.accepted.append(accepted.message_id)

    async def _user(self) -> None:
        number, user = self._pair()
        at = self._now()
        words = self._choice.choice(["STOP", "START", "HELP", *["Hello"] * 6])
        heard = await self.world.hear(
            f"{words} {at}" if words == "Hello" else words,
            user=user,
            agent_number=number,
            now=second(at),
        )
        assert heard.outcome in {"heard", "keyword", "unanswered"}
        self.heard += 1

    async def _sender(self) -> None:
        at = second(self._now())
        for job in await self.world.claim(now=at, limit=3):
            outcome = await self.world.hand_over(job, now=at, carrier=self._carrier)
            if self._choice.random() > 0.1:
                await self.world.record(job, outcome, now=at)

    async def _network(self, _: Outgoing) -> Sent:
        await asyncio.sleep(self._choice.random() / 500)
        fate = self._choice.random()
        if fate < 0.2:
            return self._choice.choice([NO_ANSWER, LATER, SLOW_DOWN])
        return OPTED_OUT if fate < 0.25 else self._carrier.taken()

    async def _agent(self) -> None:
        at = second(self._now())
        for thinking in await self.world.claim_turns(now=at, limit=2):
            await asyncio.sleep(self._choice.random() / 500)
            fate = self._choice.random()
            if fate < 0.1:
                continue  # the worker died
            if fate < 0.25:
                await self.world.answer(thinking, TurnFailed("no answer"), now=at)
                continue
            hand_off = "a refund" if fate > 0.85 else None
            reply = TurnReply(texts=["Well, well."], end_conversation=fate < 0.4, hand_off=hand_off)
            await self.world.answer(thinking, reply, now=at)

    async def _person(self) -> None:
        """Takes over, writes, gives back or ends; what is over by then is left alone."""
        at = second(self._now())
        live = await self.world.live()
        if not live:
            return
        talk, fate = self._choice.choice(live).id, self._choice.random()
        with suppress(WrongState):
            if fate < 0.3:
                await self.world.hand_off(talk, now=at)
            elif fate < 0.6:
                self.written.append((await self.world.say(talk, now=at)).message_id)
            elif fate < 0.9:
                message = "I am back." if fate < 0.7 else None
                await self.world.resume(talk, message=message, reply=fate > 0.8, now=at)
            else:
                await self.world.end(talk, now=at)

    async def _housekeeper(self) -> None:
        at = second(self._now())
        await self.world.rescue(now=at)
        await self.world.rescue_turns(now=at)
        await self.world.expire(now=at)
        await self.world.settle(now=at, carrier=self._carrier)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_clashes_and_nothing_is_forgotten(world: World, seed: int):
    await world.provision(
        agent={"greeting": None, "engine": HTTP},
        project={"inactivity": INACTIVITY, "inbound_limits": LIMITS},
    )
    bustle = Bustle(world, seed)

    await bustle.run(25)  # which raises when the database had to break a deadlock

    for n in range(24):  # the quiet after
        at = minute(10 + 5 * n)
        await world.rescue(now=at)
        await world.rescue_turns(now=at)
        await world.settle(now=at)
        await world.think(now=at)
        await world.send_all(now=at)
    texts = [text for user in USERS for text in await world.texts(user=user)]
    states = {text.id: text.state for text in texts}
    fates = {states[message_id] for message_id in [*bustle.accepted, *bustle.written]}
    assert fates <= {"sent", "failed", "suppressed"}
    assert sum(text.direction == "inbound" for text in texts) == bustle.heard
    assert not await world.waiting()
