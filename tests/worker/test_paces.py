"""Of which numbers a worker claims, and how much, by what it heard of their pace."""

from datetime import timedelta
from heapq import heappop, heappush
from math import ceil
from random import Random

import pytest

from tests.make import NOW
from textback.core.frozen import frozen
from textback.core.gcra import Denied, Granted, Rate, take
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
    paces.heard(NUMBER, Granted(0, reset=1), SLOW, 1, now=NOW)
    assert paces.closed(NOW + after(0.9)) == [NUMBER]
    assert paces.next_end() == NOW + after(1)
    assert paces.closed(NOW + after(1)) == []


def test_a_long_text_that_borrowed_is_paid_off_first() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(0, reset=8), SLOW, 1, now=NOW)
    assert paces.closed(NOW + after(7.9)) == [NUMBER]
    assert paces.closed(NOW + after(8)) == []


def test_of_a_fast_number_several_tokens_are_waited_for() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(0, reset=1), FAST, 100, now=NOW)
    assert paces.next_end() == NOW + LEAST
    assert paces.units(NOW + LEAST) == {NUMBER: 10}


def test_what_is_left_may_be_claimed_at_once() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(40, reset=0.6), FAST, 60, now=NOW)
    assert paces.closed(NOW) == []
    assert paces.units(NOW) == {NUMBER: 40}


def test_a_bucket_that_has_been_full_again_for_a_while_is_forgotten() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(40, reset=0.6), FAST, 60, now=NOW)
    assert paces.units(NOW + after(0.7)) == {NUMBER: 100}
    assert paces.units(NOW + after(0.7) + MOST) == {}


def test_whoever_comes_second_again_and_again_leaves_the_number_to_the_others() -> None:
    paces, now, waits = Paces(), NOW, list[float]()
    for _ in range(5):
        paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, 1, now=now)
        end = paces.next_end()
        assert end is not None
        waits.append((end - now).total_seconds())
        now = end
        assert paces.units(now) == {NUMBER: 1}
    assert waits == [1, 2, 4, MOST.total_seconds(), MOST.total_seconds()]


def test_of_what_is_left_no_more_is_claimed_than_comes_of_it_beside_others() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(75, reset=0.25), FAST, 25, now=NOW)
    assert paces.units(NOW) == {NUMBER: 75}
    # Within this half a second it was full again, and then others have taken three times as much.
    paces.heard(NUMBER, Granted(0, reset=1), FAST, 25, now=NOW + after(0.5))
    assert paces.next_end() == NOW + after(0.5) + LEAST
    ours = 25 + 25 * 2**-0.5
    assert paces.units(NOW + after(1)) == {NUMBER: round(50 * ours / (ours + 75))}


def test_others_that_have_gone_are_forgotten_soon() -> None:
    paces, now = Paces(), NOW
    paces.heard(NUMBER, Granted(0, reset=1), FAST, 10, now=now)
    for _ in range(12):
        now += after(0.5)
        units = paces.units(now)[NUMBER]
        left = 50 - units
        paces.heard(NUMBER, Granted(left, reset=1 - left / 100), FAST, units, now=now)
        paces.heard(NUMBER, Granted(0, reset=1), FAST, left, now=now)
    assert paces.units(now + after(0.5)) == {NUMBER: pytest.approx(50, abs=2)}


def test_clocks_that_differ_by_milliseconds_make_nobody_out_of_nothing() -> None:
    paces, now = Paces(), NOW
    for late in (0.002, 0.0, 0.003, 0.001) * 20:
        now += after(0.1)
        paces.heard(NUMBER, Granted(0, reset=1), FAST, 10, now=now + after(late))
    assert paces.units(now + after(0.5)) == {NUMBER: pytest.approx(50, abs=4)}


@frozen(kw_only=False)
class Played:
    claims: int
    seconds: float
    """Until the last one left."""


def play(workers: int, rate: Rate, texts: int, *, seed: int) -> Played:
    """Workers at one number's backlog, which hear from Redis milliseconds after they claimed."""
    chance, full_at = Random(seed), None  # noqa: S311 - not for secrets
    those = [Paces() for _ in range(workers)]
    due = [(chance.uniform(0, 0.02), nth, 0) for nth in range(workers)]
    queued, sent, claims, last = texts, 0, 0, 0.0
    while sent < texts:
        at, nth, claimed = heappop(due)
        paces, now = those[nth], NOW + after(at)
        if claimed:
            for _ in range(claimed):
                answer, full_at = take(full_at, rate, units=1, now=at)
                got = isinstance(answer, Granted)
                sent, queued, last = sent + got, queued + (not got), at if got else last
                paces.heard(NUMBER, answer, rate, 1, now=now)
            again = at + chance.uniform(0.05, 0.06)
            heappush(due, (again, nth, 0))
        elif NUMBER in paces.closed(now):
            end = paces.next_end()
            assert end is not None
            heappush(due, ((end - NOW).total_seconds() + chance.uniform(0, 0.004), nth, 0))
        else:
            claimed = min(paces.units(now).get(NUMBER, ceil(rate.amount)), queued, 64)
            queued, claims = queued - claimed, claims + claimed
            wait = chance.uniform(0.004, 0.01) if claimed else 0.2
            heappush(due, (at + wait, nth, claimed))
    return Played(claims, last)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("pace", "workers", "most"),
    [
        *((1, 1, 1.0), (1, 2, 1.7), (1, 4, 2.5)),
        *((10, 1, 1.0), (10, 2, 1.4), (10, 4, 1.7), (10, 16, 3.0)),
        *((100, 1, 1.0), (100, 2, 1.2), (100, 4, 1.3), (100, 16, 2.0)),
    ],
)
def test_several_workers_claim_little_in_vain_and_no_token_is_lost(
    pace: int, workers: int, most: float, seed: int
) -> None:
    texts = max(40, 15 * pace)
    played = play(workers, Rate(pace, 1, lends=True), texts, seed=seed)
    assert played.claims <= most * texts
    assert played.seconds <= (texts - pace) / pace * 1.01 + 1


def test_once_it_had_a_token_it_comes_back_soon() -> None:
    paces = Paces()
    for _ in range(3):
        paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, 1, now=NOW)
    later = NOW + MOST
    paces.heard(NUMBER, Granted(0, reset=1), SLOW, 1, now=later)
    paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, 1, now=later + after(1))
    assert paces.next_end() == later + after(2)


def test_texts_that_asked_together_are_denied_once() -> None:
    paces = Paces()
    for _ in range(5):
        paces.heard(NUMBER, Denied(retry_after=1, reset=1), SLOW, 1, now=NOW)
    assert paces.next_end() == NOW + after(1)


@pytest.mark.parametrize("seconds", [30, 3600])
def test_nobody_comes_back_before_a_token_can_be_there(seconds: float) -> None:
    paces = Paces()
    paces.heard(NUMBER, Denied(retry_after=seconds, reset=seconds), SLOW, 1, now=NOW)
    assert paces.next_end() == NOW + after(seconds)


def test_of_a_fast_number_that_refuses_several_tokens_are_waited_for_too() -> None:
    paces = Paces()
    paces.heard(NUMBER, Granted(0, reset=1), FAST, 100, now=NOW)
    paces.heard(NUMBER, Denied(retry_after=0.01, reset=1), FAST, 1, now=NOW)
    assert paces.next_end() == NOW + LEAST


def test_of_two_ends_the_later_one_counts() -> None:
    paces = Paces()
    paces.until(NUMBER, NOW + after(2))
    paces.until(NUMBER, NOW + after(1))
    assert paces.next_end() == NOW + after(2)
