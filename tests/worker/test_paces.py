"""Of which numbers a worker claims, and how much, by what it heard of their pace."""

from datetime import timedelta

import pytest

from tests.make import NOW
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ids import MessageId
from textback.core.phone import Phone
from textback.worker.paces import LEAST, MOST, Paces

NUMBER, TEXT, OTHER = Phone("+16285550100"), MessageId("msg_1"), MessageId("msg_2")
SLOW, FAST = Rate(1, 1, lends=True), Rate(100, 1, lends=True)


def after(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_nothing_is_known_at_first() -> None:
    paces = Paces()
    assert paces.closed(NOW) == []
    assert paces.units(NOW) == {}
    assert paces.next_end() is None


def test_while_a_text_has_yet_to_ask_for_its_token_no_more_is_claimed() -> None:
    paces = Paces()
    paces.claimed(NUMBER, TEXT)
    paces.claimed(NUMBER, OTHER)
    paces.asked(NUMBER, TEXT)
    paces.asked(NUMBER, TEXT)  # also when it is over
    assert paces.closed(NOW) == [NUMBER]
    paces.asked(NUMBER, OTHER)
    assert paces.closed(NOW) == []
    paces.asked(NUMBER, OTHER)
    assert paces.closed(NOW) == []


def test_after_the_last_token_a_number_is_left_alone_until_the_next() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(0, reset=1), SLOW, now=NOW)
    assert paces.closed(NOW + after(0.9)) == [NUMBER]
    assert paces.next_end() == NOW + after(1)
    assert paces.closed(NOW + after(1)) == []


def test_a_long_text_that_borrowed_is_paid_off_first() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(0, reset=8), SLOW, now=NOW)
    assert paces.closed(NOW + after(7.9)) == [NUMBER]
    assert paces.closed(NOW + after(8)) == []


def test_of_a_fast_number_several_tokens_are_waited_for() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(0, reset=1), FAST, now=NOW)
    assert paces.next_end() == NOW + LEAST
    assert paces.units(NOW + LEAST) == {NUMBER: 10}


def test_what_is_left_may_be_claimed_at_once() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(40, reset=0.6), FAST, now=NOW)
    assert paces.closed(NOW) == []
    assert paces.units(NOW) == {NUMBER: 40}


def test_a_bucket_that_is_full_again_is_forgotten() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(40, reset=0.6), FAST, now=NOW)
    assert paces.units(NOW + after(0.7)) == {}


def test_whoever_comes_second_again_and_again_leaves_the_number_to_the_others() -> None:
    paces, now, waits = Paces(), NOW, list[float]()
    for _ in range(5):
        paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, now=now)
        end = paces.next_end()
        assert end is not None
        waits.append((end - now).total_seconds())
        now = end
    assert waits == [1, 2, 4, MOST.total_seconds(), MOST.total_seconds()]


def test_once_it_had_a_token_it_comes_back_soon() -> None:
    paces = Paces()
    for _ in range(3):
        paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, now=NOW)
    later = NOW + MOST
    paces.heard(NUMBER, Granted(0, reset=1), SLOW, now=later)
    paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, now=later + after(1))
    assert paces.next_end() == later + after(2)


def test_texts_that_asked_together_are_denied_once() -> None:
    paces = Paces()
    for _ in range(5):
        paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, now=NOW)
    assert paces.next_end() == NOW + after(1)


@pytest.mark.parametrize("seconds", [30, 3600])
def test_nobody_comes_back_before_a_token_can_be_there(seconds: float) -> None:
    paces = Paces()
    paces.heard(NUMBER, Denied(retry_after=seconds, reset=seconds), SLOW, now=NOW)
    assert paces.next_end() == NOW + after(seconds)


def test_of_a_fast_number_that_refuses_several_tokens_are_waited_for_too() -> None:
    paces = Paces()
    paces.heard(NUMBER, Denied(retry_after=0.01, reset=1), FAST, now=NOW)
    assert paces.next_end() == NOW + LEAST


def test_of_two_ends_the_later_one_counts() -> None:
    paces = Paces()
    paces.until(NUMBER, NOW + after(2))
    paces.until(NUMBER, NOW + after(1))
    assert paces.next_end() == NOW + after(2)
