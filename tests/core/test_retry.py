from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from textback.core.retry import backoff

SECOND = timedelta(seconds=1)

spans = st.integers(1, 3_600_000).map(lambda ms: timedelta(milliseconds=ms))


def test_the_first_retry_waits_the_first_span() -> None:
    assert backoff(1, first=SECOND, most=300 * SECOND) == SECOND


def test_each_further_retry_waits_twice_as_long() -> None:
    waits = [backoff(n, first=SECOND, most=300 * SECOND) for n in range(1, 9)]
    assert waits == [n * SECOND for n in (1, 2, 4, 8, 16, 32, 64, 128)]


@given(st.integers(1, 10**9), spans, spans)
def test_no_retry_waits_longer_than_the_most(
    attempt: int, first: timedelta, most: timedelta
) -> None:
    assert timedelta(0) < backoff(attempt, first=first, most=most) <= most


@given(st.integers(1, 100), spans, spans)
def test_no_retry_waits_shorter_than_the_one_before(
    attempt: int, first: timedelta, most: timedelta
) -> None:
    before = backoff(attempt, first=first, most=most)
    assert backoff(attempt + 1, first=first, most=most) >= before
