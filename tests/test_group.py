"""What waits at the same time is done together, each with its own answer."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.group import LATELY, Group


class Done:
    """Notes the batches it is handed; each waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = asyncio.Event()

    async def __call__(self, items: Sequence[str]) -> list[str | Exception]:
        self.batches.append(list(items))
        await self.free.wait()
        return [ValueError(item) if item.startswith("bad") else item.upper() for item in items]


async def started(group: Group[str, str], *items: str) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(group.do(item)) for item in items]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_while_one_is_under_way_is_done_together_after_it() -> None:
    done = Done()
    group = Group(done, most=3)
    tasks = await started(group, "a")
    assert done.batches == [["a"]]  # who is alone waits for nobody
    tasks += await started(group, "b", "c", "d", "e")
    assert done.batches == [["a"]]
    done.free.set()
    assert [await task for task in tasks] == ["A", "B", "C", "D", "E"]
    assert done.batches == [["a"], ["b", "c", "d"], ["e"]]


async def test_each_gets_its_own_answer_or_error() -> None:
    done = Done()
    done.free.set()
    good, bad, other = await started(Group(done, most=9), "good", "bad", "other")
    assert (await good, await other) == ("GOOD", "OTHER")
    with pytest.raises(ValueError, match="bad"):
        await bad


async def test_an_error_of_the_whole_is_raised_to_each_and_the_next_ones_are_done() -> None:
    async def fail(items: Sequence[str]) -> list[str | Exception]:
        if "c" not in items:
            raise OSError("gone")
        return list(items)

    group = Group(fail, most=9)
    tasks = await started(group, "a", "b")
    for task in tasks:
        with pytest.raises(OSError, match="gone"):
            await task
    assert await group.do("c") == "c"


async def test_whoever_answers_too_few_answers_nobody() -> None:
    async def forget(items: Sequence[str]) -> list[str | Exception]:
        return list(items[1:])

    tasks = await started(Group(forget, most=9), "a", "b")
    async with asyncio.timeout(2):
        for task in tasks:
            with pytest.raises(ValueError, match="not every item"):
                await task


async def test_a_batch_is_nobodys_request() -> None:
    whose = ContextVar("whose", default="nobody's")
    seen: list[str] = []

    async def see(items: Sequence[str]) -> list[str | Exception]:
        seen.append(whose.get())
        return list(items)

    whose.set("the first one's")
    await Group[str, str](see, most=9).do("a")
    assert seen == ["nobody's"]


async def test_behind_those_of_its_key_that_are_under_way_it_goes_with_the_next() -> None:
    done = Done()
    group = Group(done, most=9, enough=3, key=lambda item: item[0])
    tasks = await started(group, "a0", "b0", "c0", "d0")
    assert done.batches == [["a0", "b0", "c0"]]
    tasks += await started(group, "a1")
    done.free.set()
    for task in tasks:
        await task
    assert done.batches == [["a0", "b0", "c0"], ["d0", "a1"]]


async def test_who_goes_away_takes_nobody_along() -> None:
    done = Done()
    group = Group(done, most=9)
    first, second = await started(group, "a", "b")
    first.cancel()
    done.free.set()
    assert await second == "B"
    assert done.batches == [["a", "b"]]
    assert await group.do("c") == "C"


async def test_of_many_that_wait_half_are_done_while_the_others_are_waited_for() -> None:
    done = Done()
    group = Group(done, most=9, enough=2)
    tasks = await started(group, *"abcdefgh")
    assert done.batches == [["a", "b", "c", "d"]]
    done.free.set()
    assert [await task for task in tasks] == [*"ABCDEFGH"]
    assert done.batches == [["a", "b", "c", "d"], ["e", "f"], ["g", "h"]]


@given(
    st.lists(st.sampled_from("abcd"), max_size=40),
    st.integers(1, 5),
    st.none() | st.integers(1, 3),
)
def test_items_of_a_key_never_meet_and_keep_their_order(
    keys: list[str], most: int, enough: int | None
) -> None:
    batches: list[list[str]] = []

    async def note(items: Sequence[str]) -> list[str]:
        batches.append(list(items))
        await asyncio.sleep(0)
        return list(items)

    async def all_of_it() -> None:
        group: Group[str, str] = Group(note, most=most, key=lambda item: item[0], enough=enough)
        async with asyncio.TaskGroup() as tasks:
            for place, key in enumerate(keys):
                tasks.create_task(group.do(f"{key}{place}"))

    asyncio.run(all_of_it())
    done = [item for batch in batches for item in batch]
    for key in "abcd":
        of_key = [item for item in done if item[0] == key]
        assert of_key == [f"{k}{place}" for place, k in enumerate(keys) if k == key]
    assert sorted(done) == sorted(f"{key}{place}" for place, key in enumerate(keys))
    assert all(len(batch) <= most for batch in batches)
    assert all(len({item[0] for item in batch}) == len(batch) for batch in batches)


class Leaping(asyncio.SelectorEventLoop):
    """Its time also goes on when a test says so."""

    leapt = 0.0

    def time(self) -> float:
        return super().time() + self.leapt


Leap: TypeAlias = Callable[[float], None]


def leaping(main: Callable[[Leap], Coroutine[None, None, None]]) -> None:
    def leap(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Leaping)
        loop.leapt += seconds

    with asyncio.Runner(loop_factory=Leaping) as runner:
        runner.run(main(leap))


HOUR = timedelta(hours=1)


async def answers(tasks: Sequence[asyncio.Task[str]]) -> list[str]:
    """Raises TimeoutError if one waits for what a test does not let come."""
    async with asyncio.timeout(10):
        return [await task for task in tasks]


def test_after_a_crowd_those_who_come_soon_are_gathered_and_done_together() -> None:
    async def main(leap: Leap) -> None:
        done = Done()
        done.free.set()
        group = Group(done, most=9, gather=HOUR)
        await answers(await started(group, *"abcd"))
        tasks = [task for item in "efg" for task in await started(group, item)]
        assert done.batches == [["a", "b", "c", "d"]]
        leap(HOUR.total_seconds())
        assert [await task for task in tasks] == ["E", "F", "G"]
        assert done.batches == [["a", "b", "c", "d"], ["e", "f", "g"]]

    leaping(main)


@pytest.mark.parametrize("crowd", [1, 2, 5])
async def test_nobody_waits_for_more_than_were_there_lately(crowd: int) -> None:
    done = Done()
    done.free.set()
    group = Group(done, most=9, gather=HOUR)
    items = "abcdefghi"[:crowd]
    await answers(await started(group, *items))
    await answers([task for item in items for task in await started(group, item)])
    assert done.batches == [[*items], [*items]]


async def test_those_of_the_batch_before_are_waited_for() -> None:
    """Two who ask again and again fall into step; else each would wait for the other's batch."""
    done = Done()
    group = Group(done, most=9, gather=HOUR)
    [a] = await started(group, "a")
    [b] = await started(group, "b")
    done.free.set()
    assert await answers([a]) == ["A"]
    assert done.batches == [["a"]]  # b waits for whoever asked for a
    [c] = await started(group, "c")
    assert await answers([b, c]) == ["B", "C"]
    assert done.batches == [["a"], ["b", "c"]]


async def test_nobody_waits_for_more_than_enough() -> None:
    done = Done()
    done.free.set()
    group = Group(done, most=9, enough=2, gather=HOUR)
    await answers(await started(group, *"abcd"))
    assert [len(batch) for batch in done.batches] == [2, 2]
    assert await answers(await started(group, *"ef")) == ["E", "F"]


def test_who_is_alone_for_seconds_waits_for_nobody_any_more() -> None:
    async def main(leap: Leap) -> None:
        done = Done()
        done.free.set()
        group = Group(done, most=9, gather=HOUR)
        await answers(await started(group, *"abc"))
        leap(2 * LATELY)
        assert await answers(await started(group, "d")) == ["D"]

    leaping(main)


def test_who_is_gathered_when_the_process_ends_is_cancelled() -> None:
    async def main() -> list[asyncio.Task[str]]:
        done.free.set()
        group = Group(done, most=9, gather=HOUR)
        await started(group, "a", "b", "c")
        return await started(group, "d", "e")

    done = Done()
    assert all(task.cancelled() for task in asyncio.run(main()))
    assert done.batches == [["a", "b", "c"]]
