"""What waits at the same time is done together: one commit, or one round trip, for many.

While one batch is under way the next one fills, so somebody who is alone waits for nobody, and the
busier it gets, the larger the batches are (group commit, as databases do it; a batch that waits a
moment for those who were here a moment ago is Postgres' `commit_delay` and `commit_siblings`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Generic, TypeVar, cast

Item = TypeVar("Item")
Answer = TypeVar("Answer")


LATELY: Final = 1.0
"""Seconds. How many ask at the same time is known from the last one or two of these."""


class Group(Generic[Item, Answer]):
    """Hands items to `do` in batches, in the order in which they came.

    Items of the same key are never in one batch, and each is in a later one than those before it.
    """

    def __init__(
        self,
        do: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        most: int,
        key: Callable[[Item], Hashable] | None = None,
        enough: int | None = None,
        observe: Callable[[int], None] | None = None,
        gather: timedelta = timedelta(0),
    ) -> None:
        """`do` answers each item of a batch, in order, with an answer or with what to raise.

        What it raises is raised to all of the batch. `most`: items in a batch. `enough`: of more
        than so many that wait half are done first, and whoever they answer is back with the next
        item while the other half is done; else all would always wait for all. `observe`: told of
        each batch how many it has. `gather`: batches begin so far apart, to be larger; nobody
        waits for it who comes later than that after the last one began, or when `enough` are here
        or as many as there were at any time lately: then nobody else is likely to come.
        """
        self._do, self._key, self._observe = do, key, observe
        self._most, self._enough = most, most if enough is None else enough
        self._waiting: list[_Batch[Item, Answer]] = []
        self._running: asyncio.Task[None] | None = None  # asyncio itself keeps no task alive
        self._gather, self._began_at = gather.total_seconds(), float("-inf")
        self._all_here: asyncio.Future[None] | None = None
        self._under_way, self._siblings = 0, _Most()

    async def do(self, item: Item) -> Answer:
        """Whoever is cancelled here only hears no answer: the item is done all the same."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._place(item, answer)
        self._start()
        return await answer

    def _place(self, item: Item, answer: "asyncio.Future[Answer]") -> None:
        key = None if self._key is None else self._key(item)
        after = -1  # the last batch that has something of this key
        if key is not None:
            for place, batch in enumerate(self._waiting):
                if key in batch.keys:
                    after = place
        for batch in self._waiting[after + 1 :]:
            if len(batch.items) < self._most:
                break
        else:
            batch = _Batch[Item, Answer]()
            self._waiting.append(batch)
        batch.items.append(item)
        batch.answers.append(answer)
        if key is not None:
            batch.keys.add(key)
        self._under_way += 1
        self._siblings.see(self._under_way)
        if self._all_here:
            self._look_around()

    def _start(self) -> None:
        if self._waiting and self._running is None:
            # Not in the context of whoever begins it: its logs and traces are of one request.
            self._running = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def _run(self) -> None:
        batch = _Batch[Item, Answer]()
        try:
            await self._let_gather()
            batch = self._next()  # only now: with all that came in the meantime
            if self._observe is not None:
                self._observe(len(batch.items))
            outcomes = await self._do(batch.items)
            if len(outcomes) != len(batch.items):
                raise ValueError("not every item of the batch was answered")  # noqa: TRY301
        except asyncio.CancelledError:  # the process ends
            for each in (batch, *self._waiting):
                for answer in each.answers:
                    answer.cancel()
            self._under_way -= sum(len(each.items) for each in self._waiting)
            self._waiting.clear()
            raise
        except Exception as error:  # noqa: BLE001 - each of them raises it where it is awaited
            outcomes = [error] * len(batch.items)
        finally:
            self._running = None
            self._under_way -= len(batch.items)
            self._start()
        for answer, outcome in zip(batch.answers, outcomes, strict=True):
            if answer.done():  # nobody waits for it any more
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(cast("Answer", outcome))

    async def _let_gather(self) -> None:
        if not self._gather:
            return
        loop = asyncio.get_running_loop()
        self._siblings.forget(loop.time())
        self._siblings.see(self._under_way)
        if (left := self._began_at + self._gather - loop.time()) > 0:
            here = self._all_here = loop.create_future()
            self._look_around()
            timer = loop.call_later(left, _let_go, here)
            await here
            timer.cancel()
        self._began_at = loop.time()

    def _look_around(self) -> None:
        """While somebody gathers, nothing is under way but what waits."""
        if self._all_here and self._under_way >= min(self._enough, self._siblings.lately):
            _let_go(self._all_here)

    def _next(self) -> "_Batch[Item, Answer]":
        first = self._waiting[0]
        if len(first.items) <= self._enough:
            return self._waiting.pop(0)
        some = max(self._enough, (len(first.items) + 1) // 2)
        taken = _Batch(first.items[:some], first.answers[:some])
        del first.items[:some], first.answers[:some]
        if self._key is not None:
            first.keys.difference_update(map(self._key, taken.items))
        return taken


def _let_go(waits: asyncio.Future[None]) -> None:
    if not waits.done():
        waits.set_result(None)


@dataclass(slots=True)
class _Batch(Generic[Item, Answer]):
    items: list[Item] = field(default_factory=list[Item])
    answers: "list[asyncio.Future[Answer]]" = field(default_factory=list["asyncio.Future[Answer]"])
    keys: set[Hashable] = field(default_factory=set[Hashable])


@dataclass(slots=True)
class _Most:
    """How many there were at the same time, lately."""

    now: int = 0
    before: int = 0
    since: float = 0

    @property
    def lately(self) -> int:
        return max(self.now, self.before)

    def see(self, many: int) -> None:
        self.now = max(self.now, many)

    def forget(self, at: float) -> None:
        passed = at - self.since
        if passed >= LATELY:
            self.before, self.now = self.now if passed < 2 * LATELY else 0, 0
            self.since = at
