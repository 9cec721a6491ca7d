from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.gcra import Denied, Granted, Rate, give_back, take, units_left

rates = st.builds(
    Rate,
    amount=st.integers(1, 1000),
    seconds=st.sampled_from([1, 7, 60, 3600]),
)
clocks = st.sampled_from([0.0, 1.5, 1e6, 1e7, 1.8e9])
"""Zero, an uptime of minutes, of twelve days, of months; unix time."""

Request = tuple[float, float]
"""When, in bucket lengths after the one before; and how many units, as a part of the bucket."""
requests = st.lists(
    st.tuples(st.floats(0, 1.5) | st.just(0.0), st.floats(0.001, 1)), min_size=1, max_size=40
)


def granted(rate: Rate, start: float, script: Sequence[Request]) -> list[tuple[float, float]]:
    """When how many units were granted."""
    now, state, given_out = start, None, list[tuple[float, float]]()
    for wait, part in script:
        now += wait * rate.seconds
        answer, state = take(state, rate, units=part * rate.amount, now=now)
        if isinstance(answer, Granted):
            given_out.append((now, part * rate.amount))
    return given_out


@given(rates, clocks, requests)
def test_no_window_of_time_grants_more_than_a_bucket_and_its_refill(
    rate: Rate, start: float, script: Sequence[Request]
) -> None:
    taken = granted(rate, start, script)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            window = taken[last][0] - taken[first][0]
            units = sum(units for _, units in taken[first : last + 1])
            # Rounding adds up to 0.13 units at worst: 1000 a second, counted in unix time.
            assert units <= rate.amount * (1 + window / rate.seconds) + 0.15


@given(st.integers(1, 1000), st.sampled_from([1, 7, 60, 3600]), clocks)
def test_a_full_bucket_gives_all_it_holds_at_once_and_not_one_more(
    amount: int, seconds: float, now: float
) -> None:
    # A rate of 1000 a minute once gave 999 on a machine that was up for twelve days.
    rate, state = Rate(amount, seconds), None
    for left in reversed(range(amount)):
        answer, state = take(state, rate, units=1, now=now)
        assert isinstance(answer, Granted)
        assert answer.remaining == left
    answer, state = take(state, rate, units=1, now=now)
    assert isinstance(answer, Denied)
    assert answer.retry_after == pytest.approx(seconds / amount, rel=0.15, abs=1e-6)


@given(rates, clocks, requests)
def test_a_refusal_changes_nothing(rate: Rate, start: float, script: Sequence[Request]) -> None:
    now, state = start, None
    for wait, part in script:
        now += wait * rate.seconds
        before = state
        answer, state = take(state, rate, units=part * rate.amount, now=now)
        if isinstance(answer, Denied):
            assert state == before


@given(rates, clocks, requests)
def test_who_waits_as_told_is_granted(rate: Rate, start: float, script: Sequence[Request]) -> None:
    now, state = start, None
    for wait, part in script:
        now += wait * rate.seconds
        units = part * rate.amount
        answer, state = take(state, rate, units=units, now=now)
        if isinstance(answer, Denied):
            assert answer.retry_after > 0
            again, _ = take(state, rate, units=units, now=now + answer.retry_after)
            assert isinstance(again, Granted)


@given(rates, clocks, requests, st.floats(0, 2), st.floats(0.001, 1))
def test_giving_back_undoes_taking(
    rate: Rate, start: float, script: Sequence[Request], wait: float, part: float
) -> None:
    now, state = start, None
    for pause, share in script:
        now += pause * rate.seconds
        _, state = take(state, rate, units=share * rate.amount, now=now)
    now += wait * rate.seconds
    answer, after = take(state, rate, units=part * rate.amount, now=now)
    if isinstance(answer, Granted):
        undone = give_back(after, rate, units=part * rate.amount)
        assert undone is not None
        # What a bucket was before it became full makes no difference.
        assert undone == pytest.approx(max(now, state or now), abs=1e-6)


def test_giving_back_to_a_bucket_never_used_leaves_it_full() -> None:
    assert give_back(None, Rate(5, 1), units=3) is None


@given(rates, clocks)
def test_more_than_the_bucket_holds_is_granted_when_it_is_full_and_then_paid_off(
    rate: Rate, now: float
) -> None:
    answer, state = take(None, rate, units=3 * rate.amount, now=now)
    assert isinstance(answer, Granted)
    assert answer.remaining == 0
    assert answer.reset == pytest.approx(3 * rate.seconds, rel=1e-6)
    answer, _ = take(state, rate, units=rate.amount, now=now + 2.5 * rate.seconds)
    assert isinstance(answer, Denied)
    answer, _ = take(state, rate, units=rate.amount, now=now + 3 * rate.seconds)
    assert isinstance(answer, Granted)


def test_a_bucket_nobody_asked_for_long_holds_no_more_than_when_new() -> None:
    rate = Rate(10, 60)
    _, state = take(None, rate, units=1, now=0)
    answer, _ = take(state, rate, units=1, now=1_000_000)
    assert isinstance(answer, Granted)
    assert answer.remaining == 9
    assert answer.reset == pytest.approx(6)


def test_a_unit_comes_back_evenly_over_the_period() -> None:
    rate = Rate(100, 60)
    _, state = take(None, rate, units=100, now=0)
    assert isinstance(take(state, rate, units=1, now=0.599)[0], Denied)
    assert isinstance(take(state, rate, units=1, now=0.6)[0], Granted)
    assert isinstance(take(state, rate, units=50, now=29.99)[0], Denied)
    assert isinstance(take(state, rate, units=50, now=30)[0], Granted)


def test_a_bucket_that_lends_does_not_let_small_requests_starve_a_large_one() -> None:
    # The large one needed a full bucket, and each small one that came in between emptied it again.
    rate, state, now = Rate(3, 1, lends=True), None, 0.0
    _, state = take(state, rate, units=3, now=now)
    answer, state = take(state, rate, units=8, now=now)
    assert isinstance(answer, Denied)
    now += answer.retry_after
    assert now == pytest.approx(1 / 3)  # as long as for a small one
    answer, state = take(state, rate, units=8, now=now)
    assert isinstance(answer, Granted)

    answer, state = take(state, rate, units=1, now=now)
    assert isinstance(answer, Denied)
    assert answer.retry_after == pytest.approx(8 / 3)  # it is paid off first


@given(rates, clocks, requests)
def test_a_bucket_that_lends_grants_no_more_in_any_window_than_its_refill_and_one_request(
    rate: Rate, start: float, script: Sequence[Request]
) -> None:
    lending = Rate(rate.amount, rate.seconds, lends=True)
    taken = granted(lending, start, [(wait, 3 * part) for wait, part in script])
    largest = max((units for _, units in taken), default=0)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            window = taken[last][0] - taken[first][0]
            units = sum(units for _, units in taken[first : last + 1])
            assert units <= rate.amount * (1 + window / rate.seconds) + largest + 0.15


@given(rates, clocks, st.floats(0.001, 1), st.floats(0, 2))
def test_what_is_left_of_a_bucket_is_what_it_grants(
    rate: Rate, start: float, part: float, wait: float
) -> None:
    _, full_at = take(None, rate, units=part * rate.amount, now=start)
    assert full_at is not None
    now = start + wait * rate.seconds
    answer, _ = take(full_at, rate, units=1, now=now)
    left = units_left(full_at, rate, now=now)
    remaining = answer.remaining + 1 if isinstance(answer, Granted) else 0
    assert abs(remaining - left) <= 1  # one may be a hair's breadth away
