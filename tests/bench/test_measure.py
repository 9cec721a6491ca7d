"""The arithmetic under the benches."""

import math

from bench.measure import medians, percentile, schedule, user
from textback.core import phone


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile([7.0], 99) == 7


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 50))


def test_an_open_loop_keeps_its_rate_whatever_is_answered() -> None:
    due = schedule(200, 30, seed=1)
    assert 5_500 < len(due) < 6_500
    assert due == sorted(due)
    assert 0 < due[0] < due[-1] < 30


def test_a_schedule_can_be_had_again_by_its_seed() -> None:
    assert schedule(50, 5, seed=3) == schedule(50, 5, seed=3) != schedule(50, 5, seed=4)


def test_medians_are_of_the_rounds_that_have_the_figure() -> None:
    rounds = [{"a": 1.0, "b": 5.0}, {"a": 3.0}, {"a": 100.0}]
    assert medians(rounds) == {"a": 3.0, "b": 5.0}


def test_every_user_is_another_person_whom_a_text_can_reach() -> None:
    some = [user(n) for n in (0, 1, 999, 7_999_999)]
    assert len(set(some)) == 4
    assert all(phone.user_number(number) == number for number in some)
