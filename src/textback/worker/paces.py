"""What a worker last heard of its numbers' pace: of which it claims, and how much.

In this process's memory only: it saves claims that would be in vain, and decides nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from textback.core import gcra
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ids import MessageId
from textback.core.phone import Phone

LEAST: Final = timedelta(milliseconds=100)
"""A fast number's next token is milliseconds away, and its bucket holds a second's worth.

To claim for each token by itself would cost more than sending."""
MOST: Final = timedelta(seconds=4)
"""That a worker leaves a number to others, which take its tokens before it."""


@dataclass(slots=True)
class _Bucket:
    rate: Rate
    full_at: float
    heard_at: float
    denied: int = 0
    """In a row."""
    ours: float = 0
    others: float = 0
    """Units lately taken from it."""

    def hear(self, answer: Granted | Denied, units: int, at: float) -> None:
        """What it is emptier by than we know of, others have taken.

        Clocks that differ by milliseconds make that a little more now and a little less then.
        """
        full_at, a_unit = at + answer.reset, self.rate.seconds / self.rate.amount
        ours = units if isinstance(answer, Granted) else 0
        theirs = (full_at - max(self.full_at, at)) / a_unit - ours
        aged = 0.5 ** max(0.0, at - self.heard_at)
        self.ours = self.ours * aged + ours
        self.others = max(0.0, self.others * aged + theirs)
        self.full_at, self.heard_at = full_at, at
        if isinstance(answer, Granted):
            self.denied = 0

    def share(self) -> float:
        """Of what comes into it, by what came of it lately."""
        return self.ours / (self.ours + self.others) if self.others else 1.0

    def worth_it(self) -> float:
        """So many units that one of them should be ours.

        But never more than half of what it holds: a full one loses what comes.
        """
        return max(1.0, min(1 / max(self.share(), 1e-9), self.rate.amount / 2))

    def seconds_until(self, units: float) -> float:
        """From when it was heard of."""
        wanted_at = self.full_at - self.rate.seconds + units * self.rate.seconds / self.rate.amount
        return max(0.0, wanted_at - self.heard_at)


class Paces:
    """By the number that texts are sent from."""

    def __init__(self) -> None:
        self._asking = defaultdict[Phone, set[MessageId]](set)
        self._buckets: dict[Phone, _Bucket] = {}
        self._until: dict[Phone, datetime] = {}

    def claimed(self, number: Phone, text: MessageId) -> None:
        """It will ask for its token; until then nobody knows what is left for more."""
        self._asking[number].add(text)

    def asked(self, number: Phone, text: MessageId) -> None:
        """Or it never will."""
        asking = self._asking[number]
        asking.discard(text)
        if not asking:
            del self._asking[number]

    def heard(
        self, number: Phone, answer: Granted | Denied, rate: Rate, units: int, *, now: datetime
    ) -> None:
        """What was said to who asked for so many units."""
        at = now.timestamp()
        bucket = self._buckets.get(number)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[number] = _Bucket(rate, full_at=at, heard_at=at)
        bucket.hear(answer, units, at)
        wait = bucket.seconds_until(bucket.worth_it())
        if isinstance(answer, Denied):
            if number not in self._until or self._until[number] <= now:
                bucket.denied += 1
            patience = max(wait, answer.retry_after) * 2 ** min(bucket.denied - 1, 10)
            wait = max(answer.retry_after, min(patience, MOST.total_seconds()))
        if wait:
            self.until(number, now + max(LEAST, timedelta(seconds=wait)))

    def until(self, number: Phone, at: datetime) -> None:
        """Leave it alone till then."""
        self._until[number] = max(at, self._until.get(number, at))

    def closed(self, now: datetime) -> Sequence[Phone]:
        """Of which nothing is to be claimed now."""
        self._until = {number: until for number, until in self._until.items() if until > now}
        return [*{*self._until, *self._asking}]

    def units(self, now: datetime) -> dict[Phone, int]:
        """What may be sent now, of those that were lately asked about.

        Not what others will take of it, who look at the same moment: claimed, it would come back.
        """
        at = now.timestamp()
        over = at - MOST.total_seconds()
        for number in [number for number, each in self._buckets.items() if each.full_at <= over]:
            del self._buckets[number]
        return {
            number: max(1, round(gcra.units_left(each.full_at, each.rate, now=at) * each.share()))
            for number, each in self._buckets.items()
        }

    def next_end(self) -> datetime | None:
        return min(self._until.values(), default=None)
