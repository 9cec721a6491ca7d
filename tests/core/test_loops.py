from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.make import NOW
from textback.core.gcra import Rate
from textback.core.loops import IN_A_ROW, LOOK_BACK, QUICK, breather, over
from textback.core.policy import ProjectPolicy

BUDGET = ProjectPolicy().reply_budget
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
TWILIOS_GAP = timedelta(seconds=30)
TWILIOS_MOST = 15

gaps = st.lists(st.integers(0, 120).map(lambda seconds: seconds * SECOND), max_size=60)
quick = st.lists(st.integers(0, 46).map(lambda seconds: seconds * SECOND), max_size=60)
rates = st.builds(Rate, st.integers(1, 50), st.integers(1, 7200))


def moments(waits: Sequence[timedelta]) -> list[datetime]:
    """So long after each other, from `NOW` on."""
    found = list[datetime]()
    for wait in waits:
        found.append((found[-1] if found else NOW) + wait)
    return found


def longest_chain(said: Sequence[datetime], gap: timedelta) -> int:
    """The most in a row of which each is less than `gap` after the one before."""
    longest = chain = 0
    for i, at in enumerate(said):
        chain = chain + 1 if i and at - said[i - 1] < gap else 1
        longest = max(longest, chain)
    return longest


def test_thirty_replies_in_an_hour_are_the_budget() -> None:
    said = moments([2 * SECOND] * 30)
    assert over(said[:29], BUDGET, now=said[-1]) is None
    assert over(said, BUDGET, now=said[-1]) == said[-1] + HOUR


def test_a_reply_counts_for_an_hour() -> None:
    said = [NOW] * 30
    assert over(said, BUDGET, now=NOW + HOUR - SECOND) is not None
    assert over(said, BUDGET, now=NOW + HOUR) is None


@given(gaps, rates)
def test_after_a_pause_the_whole_budget_is_there_again(
    waits: Sequence[timedelta], budget: Rate
) -> None:
    said = moments(waits)
    now = said[-1] if said else NOW
    until = over(said, budget, now=now)
    if until is not None:
        one_less = [until] * (int(budget.amount) - 1)
        assert over([*said, *one_less], budget, now=until) is None


@given(gaps, rates)
def test_who_asks_before_each_reply_never_says_more_than_the_budget(
    waits: Sequence[timedelta], budget: Rate
) -> None:
    said, now = list[datetime](), NOW
    for wait in waits:
        now += wait
        if over(said, budget, now=now) is None:
            said.append(now)
    span = timedelta(seconds=budget.seconds)
    for at in said:
        assert sum(1 for other in said if at - span < other <= at) <= budget.amount


@pytest.mark.parametrize("count", range(IN_A_ROW))
def test_a_few_quick_replies_need_no_breather(count: int) -> None:
    now = NOW + count * SECOND
    assert breather(moments([SECOND] * count), now=now) == now


def test_after_many_quick_replies_comes_a_breather() -> None:
    said = moments([2 * SECOND] * IN_A_ROW)
    assert breather(said, now=said[-1] + SECOND) == said[-1] + QUICK
    assert breather(said, now=said[-1] + QUICK) == said[-1] + QUICK
    assert breather(said, now=said[-1] + HOUR) == said[-1] + HOUR


def test_a_longer_gap_begins_a_new_row() -> None:
    said = moments([SECOND] * 8 + [QUICK] + [SECOND] * 8)
    assert breather(said, now=said[-1] + SECOND) == said[-1] + SECOND


@given(gaps)
def test_a_breather_is_never_in_the_past_and_never_long(waits: Sequence[timedelta]) -> None:
    said = moments(waits)
    now = (said[-1] if said else NOW) + SECOND
    assert now <= breather(said, now=now) < now + QUICK


@given(quick | gaps, st.lists(st.integers(0, 14), min_size=60, max_size=60))
def test_however_fast_we_are_asked_twilio_never_sees_a_loop(
    waits: Sequence[timedelta], on_the_way: Sequence[int]
) -> None:
    # Each reply takes a while from being written to leaving; the order is kept.
    written, left, now = list[datetime](), list[datetime](), NOW
    for wait, seconds in zip(waits, on_the_way, strict=False):
        now = max(now + wait, breather(written, now=now + wait))
        written.append(now)
        left.append(max([now + seconds * SECOND, *left]))
    assert longest_chain(written, QUICK) <= IN_A_ROW
    assert longest_chain(left, TWILIOS_GAP) <= IN_A_ROW < TWILIOS_MOST


@given(gaps)
def test_what_is_long_past_makes_no_difference(waits: Sequence[timedelta]) -> None:
    said = moments(waits)
    now = (said[-1] if said else NOW) + SECOND
    lately = [at for at in said if at > now - LOOK_BACK]
    assert breather(lately, now=now) == breather(said, now=now)
