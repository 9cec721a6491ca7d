"""All processes go by Postgres' clock, whatever is done to their own."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.wire import Wire
from textback.core.errors import Unavailable
from textback.db.clock import SharedClock
from textback.db.session import create_engine, transaction
from textback.wiring import Stopwatch, steady

NEAR = timedelta(seconds=1)
hours = st.integers(-6, 6).map(lambda h: timedelta(hours=h))


async def true_time(engine: AsyncEngine) -> datetime:
    async with transaction(engine) as c:
        found: datetime = (await c.execute(text("select clock_timestamp()"))).scalar_one()
    return found


class Machine:
    """One whose clock can be set."""

    def __init__(self) -> None:
        self.off = timedelta(0)

    def wall(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(days=20_000) + self.off


async def test_before_it_was_asked_a_machine_goes_by_its_own_clock() -> None:
    machine = Machine()
    assert SharedClock(machine.wall, steady)() == machine.wall()


async def test_machines_whose_clocks_differ_agree(engine: AsyncEngine) -> None:
    for off in (timedelta(hours=-5), timedelta(0), timedelta(hours=5)):
        machine = Machine()
        machine.off = off
        clock = SharedClock(machine.wall, steady)
        ahead = await clock.look(engine)
        assert abs(clock() - await true_time(engine)) < NEAR
        assert abs(ahead - (machine.wall() - clock())) < NEAR


async def test_setting_a_machines_clock_changes_nothing(engine: AsyncEngine) -> None:
    machine = Machine()
    clock = SharedClock(machine.wall, steady)
    await clock.look(engine)
    for hours_off in (-3, 3, 0):
        machine.off = timedelta(hours=hours_off)
        assert abs(clock() - await true_time(engine)) < NEAR


async def test_time_that_passes_between_two_looks_is_counted(engine: AsyncEngine) -> None:
    seconds = [100.0]
    clock = SharedClock(Machine().wall, lambda: seconds[0])
    await clock.look(engine)
    before = clock()
    seconds[0] += 12.5
    assert clock() - before == timedelta(seconds=12.5)


async def test_a_slow_answer_makes_a_good_clock_no_worse(engine: AsyncEngine) -> None:
    clock = SharedClock(Machine().wall, steady)
    await clock.look(engine)
    ticks = iter([0.0, 4.0, 4.0])  # it took four seconds, somewhere in which the answer was true
    slow = SharedClock(clock, lambda: next(ticks))
    ahead = await slow.look(engine)
    assert timedelta(0) <= abs(ahead) < NEAR


async def test_a_clock_that_postgres_does_not_answer_goes_on(
    engine: AsyncEngine, database_url: str
) -> None:
    async with Wire(database_url) as wire:
        db = create_engine(wire.url)
        clock = SharedClock(Machine().wall, steady)
        await clock.look(db)
        wire.cut()
        with pytest.raises(Unavailable):
            await clock.look(db)
        assert abs(clock() - await true_time(engine)) < NEAR
        await db.dispose()


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), max_size=20))
def test_a_stopwatch_shows_no_less_than_either_clock_and_never_goes_back(
    steps: list[tuple[float, float]],
) -> None:
    at = [0.0, 0.0]
    watch = Stopwatch(lambda: (at[0], at[1]))
    shown = [watch()]
    for passed, moved in steps:
        at[0] += passed
        at[1] += moved
        shown.append(watch())
        assert shown[-1] - shown[-2] >= max(passed, moved, 0) - 1e-3
