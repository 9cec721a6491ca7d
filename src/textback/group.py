"""What waits at the same time is done together: one commit, or one round trip, for many.

While one batch is under way the next one fills, so somebody who is alone waits for nobody, and the
busier it gets, the larger the batches are (group commit, as databases do it).
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar, cast

Item = TypeVar("Item")
Answer = TypeVar("Answer")


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
        worth: int | None = None,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        """`do` answers each item of a batch, in order, with an answer or with what to raise.

        What it raises is raised to all of the batch. `most`: items in a batch. `worth`: so many are
        begun beside a batch that is under way, if they have no key of it; None: none ever are.
        `observe`: told of each batch how many it has.
        """
        self._do, self._most, self._key = do, most, key
        self._worth, self._observe = worth, observe
        self._waiting: list[_Batch[Item, Answer]] = []
        self._starting = 0
        self._under_way: list[_Batch[Item, Answer]] = []
        self._running = set[asyncio.Task[None]]()

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

    def _start(self) -> None:
        while len(self._waiting) > self._starting and self._may_start():
            self._starting += 1
            # Not in the context of whoever begins it: its logs and traces are of one request.
            task = asyncio.get_running_loop().create_task(self._run(), context=Context())
            self._running.add(task)  # asyncio itself keeps no task alive
            task.add_done_callback(self._running.discard)

    def _may_start(self) -> bool:
        others = self._starting + len(self._under_way)
        if not others or self._worth is None:
            return not others
        is_worth_it = len(self._waiting[self._starting].items) >= self._worth
        return is_worth_it and others < _BESIDE

    async def _run(self) -> None:
        self._starting -= 1
        batch = self._waiting[0]  # only now: with all that came in the meantime
        if any(batch.keys & other.keys for other in self._under_way):
            return  # its turn comes when they are done
        del self._waiting[0]
        self._under_way.append(batch)
        if self._observe is not None:
            self._observe(len(batch.items))
        try:
            outcomes = await self._do(batch.items)
            if len(outcomes) != len(batch.items):
                raise ValueError("not every item of the batch was answered")  # noqa: TRY301
        except asyncio.CancelledError:
            for answer in batch.answers:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each of them raises it where it is awaited
            outcomes = [error] * len(batch.items)
        finally:
            self._under_way.remove(batch)
            self._start()
        for answer, outcome in zip(batch.answers, outcomes, strict=True):
            if answer.done():  # nobody waits for it any more
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(cast("Answer", outcome))


_BESIDE: Final = 2
"""While one is at work elsewhere, another is got ready; more would only be smaller."""


@dataclass(slots=True, eq=False)
class _Batch(Generic[Item, Answer]):
    items: list[Item] = field(default_factory=list[Item])
    answers: "list[asyncio.Future[Answer]]" = field(default_factory=list["asyncio.Future[Answer]"])
    keys: set[Hashable] = field(default_factory=set[Hashable])
