"""How many requests at once each carrier account takes, learned from what it answers.

Twilio bounds them per account, does not say where, and answers 429 above. So a worker halves what
it has under way when told to slow down, and adds one for each round that went well. In this
process's memory only: several workers each adapt by what they are told themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from textback import metrics
from textback.core.ids import CarrierId
from textback.core.ports import NoAnswer, NotFound, SendError, Taken
from textback.flows.send import Outcome, Wait
from textback.worker.pauses import Pauses

SLOWER_FIRST = timedelta(milliseconds=100)
"""Twilio's own advice; doubled each time in a row, as after no answer."""

SILENCES = 3
"""After so many texts in a row without an answer, look-ups find out whether it is back.

Each text without an answer has to be settled, for minutes; a look-up costs nothing."""

PATIENCE = timedelta(minutes=2)
"""For how long a look-up without an answer holds back texts: longer than till the next one."""

PROBE = timedelta(minutes=10)
"""A text is tried this often all the same: the list may be broken where sending works."""


@dataclass(slots=True)
class _Account:
    limit: float
    sure: float
    """Below this the limit grows quickly: so much was well before the carrier fell silent."""
    under_way: int = 0
    begun: int = 0
    old: int = 0
    """Requests up to this one began before the last trouble, and say nothing new."""
    silences: int = 0
    tried_at: datetime | None = None


class Accounts:
    def __init__(self, most: int) -> None:
        self._most = most
        self._accounts: dict[CarrierId, _Account] = {}
        self._pauses = Pauses[CarrierId]()

    def take(self, carrier: CarrierId, *, now: datetime) -> int:
        """One more request is under way; gives its ticket for `end`."""
        account = self._account(carrier)
        account.under_way += 1
        account.begun += 1
        account.tried_at = now
        return account.begun

    def end(self, carrier: CarrierId, ticket: int, outcome: Outcome | None, now: datetime) -> None:
        """None: it was cut off."""
        account = self._account(carrier)
        under_way, account.under_way = account.under_way, account.under_way - 1
        news = ticket > account.old
        match outcome:
            case SendError(retry="slow_down"):
                if news:
                    account.limit = account.sure = max(1.0, min(account.limit, under_way) // 2)
                    account.old = account.begun
                    self._pauses.back_off(
                        carrier, now=now, at_least=outcome.retry_after, first=SLOWER_FIRST
                    )
                account.silences = 0
            case NoAnswer():
                if news:  # one text of unknown fate is enough to learn that it does not answer
                    if account.limit > 1:
                        account.limit, account.sure = 1.0, account.limit
                    account.old = account.begun
                    account.silences += 1
                    self._pauses.back_off(carrier, now=now, at_least=None)
            case Taken() | SendError():
                if news:
                    grown = 1.0 if account.limit < account.sure else 1 / account.limit
                    account.limit = min(float(self._most), account.limit + grown)
                    account.silences = 0
                    self._pauses.well(carrier)
            case Wait() | None:
                pass

    def looked_up(
        self, carrier: CarrierId, answer: Taken | NotFound | NoAnswer, now: datetime
    ) -> None:
        account = self._account(carrier)
        if account.silences < SILENCES or account.tried_at is None:
            return
        if isinstance(answer, NoAnswer):
            self._pauses.until(carrier, min(now + PATIENCE, account.tried_at + PROBE))
        else:
            self._pauses.end(carrier)

    def room(self, now: datetime) -> tuple[list[CarrierId], Mapping[CarrierId, int]]:
        """Which carriers to leave alone, and for how many texts the slower ones have room."""
        alone = self._pauses.active(now)
        room: dict[CarrierId, int] = {}
        slowed = 0
        for carrier, account in self._accounts.items():
            if int(account.limit) >= self._most:
                continue
            slowed += 1
            if carrier in alone:
                continue
            if (left := int(account.limit) - account.under_way) > 0:
                room[carrier] = left
            else:
                alone.append(carrier)
        metrics.SLOWED.set(slowed)
        return alone, room

    def held(self) -> Mapping[CarrierId, int]:
        """What is under way, of those that have anything."""
        return {c: account.under_way for c, account in self._accounts.items() if account.under_way}

    def next_end(self) -> datetime | None:
        return self._pauses.next_end()

    def _account(self, carrier: CarrierId) -> _Account:
        most = float(self._most)
        return self._accounts.setdefault(carrier, _Account(limit=most, sure=most))
