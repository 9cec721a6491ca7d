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
    denied: int = 0
    """In a row."""


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

    def heard(self, number: Phone, answer: Granted | Denied, rate: Rate, *, now: datetime) -> None:
        at = now.timestamp()
        before = self._buckets.get(number)
        bucket = self._buckets[number] = _Bucket(rate, at + answer.reset)
        if isinstance(answer, Denied):
            bucket.denied = before.denied if before else 0
            if number not in self._until or self._until[number] <= now:
                bucket.denied += 1
            patience = answer.retry_after * 2 ** min(bucket.denied - 1, 10)
            wait = max(answer.retry_after, min(patience, MOST.total_seconds()))
            self.until(number, now + max(LEAST, timedelta(seconds=wait)))
        elif answer.remaining < 1:
            next_one = answer.reset + rate.seconds / rate.amount - rate.seconds
            self.until(number, now + max(LEAST, timedelta(seconds=next_one)))

    def until(self, number: Phone, at: datetime) -> None:
        """Leave it alone till then."""
        self._until[number] = max(at, self._until.get(number, at))

    def closed(self, now: datetime) -> Sequence[Phone]:
        """Of which nothing is to be claimed now."""
        self._until = {number: until for number, until in self._until.items() if until > now}
        return [*{*self._until, *self._asking}]

    def units(self, now: datetime) -> dict[Phone, int]:
        """What may be sent now, of those whose bucket is not known to be full again."""
        at = now.timestamp()
        for number in [number for number, each in self._buckets.items() if each.full_at <= at]:
            del self._buckets[number]
        return {
            number: max(1, gcra.units_left(each.full_at, each.rate, now=at))
            for number, each in self._buckets.items()
        }

    def next_end(self) -> datetime | None:
        return min(self._until.values(), default=None)
