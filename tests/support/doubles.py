"""Carriers, engines and limiters that do what a test says, or watch a real one.

Each fails the test when a transaction is open while it is called: no flow may hold one over a
network call.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from inspect import isawaitable
from itertools import count
from typing import Final, TypeAlias

import pytest

from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    Engine,
    Later,
    TurnFailed,
    TurnReply,
    TurnRequest,
)
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ids import CarrierId
from textback.core.phone import Phone
from textback.core.ports import (
    Carrier,
    Finding,
    Inbound,
    NoAnswer,
    NotFound,
    Outgoing,
    SendError,
    Taken,
    TooMany,
    Unreachable,
)
from textback.db.session import in_transaction

Sent: TypeAlias = Taken | SendError | NoAnswer
Listed: TypeAlias = Taken | NotFound | NoAnswer
Received: TypeAlias = Sequence[Inbound] | TooMany | NoAnswer
Answered: TypeAlias = TurnReply | Later | TurnFailed
Analysed: TypeAlias = Analysis | TurnFailed

NEVER: Final = SendError("21211", "The number is not valid.", "never")
LATER: Final = SendError("30001", "The queue is full.", "later")
SLOW_DOWN: Final = SendError("20429", "Too many requests.", "slow_down", timedelta(seconds=7))
OPTED_OUT: Final = SendError("21610", "Unsubscribed recipient.", "never", opted_out=True)
NO_ANSWER: Final = NoAnswer("the connection broke")


def _outside_of_transactions() -> None:
    if in_transaction.get():
        # Not an Exception, which the code under test might take for trouble with the network.
        pytest.fail("called within a transaction")


class CarrierDouble:
    """Takes every text and finds none, unless told otherwise.

    `on_send`, `on_look_up` and `on_received` may wait, raise, or call a flow before they answer.
    `in_list` is what users texted; `read` keeps which number was asked about, since and until when.
    """

    def __init__(
        self,
        *answers: Sent,
        listed: Sequence[Listed] = (NotFound(),),
    ) -> None:
        """Gives `answers` and `listed` one after the other, and the last for ever."""
        self.sent: list[Outgoing] = []
        self.asked: list[tuple[Outgoing, frozenset[str]]] = []
        self._answers, self._listed = answers, listed
        self._ids = count(1)
        self.on_send: Callable[[Outgoing], Sent | Awaitable[Sent]] = self._answer
        self.on_look_up: Callable[[Outgoing], Listed | Awaitable[Listed]] = self._list
        self.in_list: list[Inbound] = []
        self.read: list[tuple[Phone, datetime, datetime | None]] = []
        self.on_received: Callable[
            [Phone, datetime, datetime | None], Received | Awaitable[Received]
        ] = self._received

    @property
    def texts(self) -> list[str]:
        return [outgoing.text for outgoing in self.sent]

    async def send(self, outgoing: Outgoing) -> Sent:
        _outside_of_transactions()
        self.sent.append(outgoing)
        answer = self.on_send(outgoing)
        return await answer if isawaitable(answer) else answer

    async def look_up(self, outgoing: Outgoing, *, known: frozenset[str]) -> Listed:
        _outside_of_transactions()
        self.asked.append((outgoing, known))
        answer = self.on_look_up(outgoing)
        return await answer if isawaitable(answer) else answer

    async def received(
        self, agent_number: Phone, *, since: datetime, until: datetime | None = None
    ) -> Received:
        _outside_of_transactions()
        self.read.append((agent_number, since, until))
        answer = self.on_received(agent_number, since, until)
        return await answer if isawaitable(answer) else answer

    async def check(self, numbers: Sequence[tuple[Phone, str]]) -> Sequence[Finding]:
        return [Finding(ok=True, what=f"{len(numbers)} numbers")]

    async def close(self) -> None:
        """Nothing is held."""

    def taken(self) -> Taken:
        return Taken(f"SM{next(self._ids):04}")

    def _answer(self, _: Outgoing) -> Sent:
        if not self._answers:
            return self.taken()
        return self._answers[min(len(self.sent), len(self._answers)) - 1]

    def _received(self, number: Phone, since: datetime, until: datetime | None) -> Received:
        found = [
            said
            for said in self.in_list
            if said.agent_number == number
            and said.said_at is not None
            and since <= said.said_at <= (until or said.said_at)
        ]
        return sorted(found, key=lambda said: said.said_at or since)

    def _list(self, _: Outgoing) -> Listed:
        return self._listed[min(len(self.asked), len(self._listed)) - 1]


class WatchedCarrier:
    """A real carrier that is never called within a transaction; `sent` keeps what it was given."""

    def __init__(self, inner: Carrier) -> None:
        self._inner = inner
        self.sent: list[Outgoing] = []

    @property
    def texts(self) -> list[str]:
        return [outgoing.text for outgoing in self.sent]

    async def send(self, outgoing: Outgoing) -> Sent:
        _outside_of_transactions()
        self.sent.append(outgoing)
        return await self._inner.send(outgoing)

    async def look_up(self, outgoing: Outgoing, *, known: frozenset[str]) -> Listed:
        _outside_of_transactions()
        return await self._inner.look_up(outgoing, known=known)

    async def received(
        self, agent_number: Phone, *, since: datetime, until: datetime | None = None
    ) -> Received:
        _outside_of_transactions()
        return await self._inner.received(agent_number, since=since, until=until)

    async def check(self, numbers: Sequence[tuple[Phone, str]]) -> Sequence[Finding]:
        return await self._inner.check(numbers)

    async def close(self) -> None:
        await self._inner.close()


class OneCarrier:
    """Every carrier entry leads to this one: what `flows.send` calls `Carriers`."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def get(self, carrier_id: CarrierId) -> tuple[Carrier, str]:
        assert carrier_id
        return self._carrier, "sandbox"


class EngineDouble:
    """Gives `answers` one after the other, and the last for ever; `asked` keeps the turns.

    `on_reply` may wait, raise, or call a flow before it answers.
    """

    def __init__(
        self,
        *answers: Answered | str,
        can_open: bool = True,
        deadline: timedelta = timedelta(seconds=10),
    ) -> None:
        self.can_open, self.deadline = can_open, deadline
        self.can_analyse = True
        self.asked: list[TurnRequest] = []
        self.analysed: list[AnalysisRequest] = []
        self.analysis: Analysed = TurnFailed("there is nothing to say")
        self._answers = [TurnReply(texts=[a]) if isinstance(a, str) else a for a in answers]
        self.on_reply: Callable[[TurnRequest], Answered | Awaitable[Answered]] = self._answer

    async def reply(self, request: TurnRequest) -> Answered:
        _outside_of_transactions()
        self.asked.append(request)
        answer = self.on_reply(request)
        return await answer if isawaitable(answer) else answer

    async def analyse(self, request: AnalysisRequest) -> Analysed:
        """Gives `analysis`."""
        _outside_of_transactions()
        self.analysed.append(request)
        return self.analysis

    async def close(self) -> None:
        """Nothing is held."""

    def _answer(self, _: TurnRequest) -> Answered:
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


class WatchedEngine:
    """A real engine that is never called within a transaction; `asked` keeps the turns."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner
        self.can_open, self.deadline = inner.can_open, inner.deadline
        self.can_analyse = inner.can_analyse
        self.asked: list[TurnRequest] = []

    async def reply(self, request: TurnRequest) -> Answered:
        _outside_of_transactions()
        self.asked.append(request)
        return await self._inner.reply(request)

    async def analyse(self, request: AnalysisRequest) -> Analysed:
        _outside_of_transactions()
        return await self._inner.analyse(request)

    async def close(self) -> None:
        await self._inner.close()


class Plenty:
    """Grants everything."""

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        _outside_of_transactions()
        assert key
        assert rate.amount > 0
        assert units >= 1
        return Granted(1, 0)

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        """Nothing was taken."""

    async def close(self) -> None:
        """Nothing is held."""


class Spent(Plenty):
    """Denies everything, for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        await super().take(key, rate, units)
        return Denied(self._seconds, self._seconds)


class Gone(Plenty):
    """Its store does not answer."""

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        await super().take(key, rate, units)
        raise Unreachable("nobody listens")


class Gate:
    """Holds whoever passes until it is opened; `reached` tells that somebody waits at it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self._open.wait()

    def open(self) -> None:
        self._open.set()
