"""What a worker leaves alone for a while, and for how long."""

from datetime import timedelta

from tests.make import NOW
from textback.worker.pauses import Pauses

SECOND = timedelta(seconds=1)


def test_a_pause_ends_by_itself() -> None:
    pauses = Pauses[str]()
    pauses.until("number", NOW + SECOND)
    assert pauses.active(NOW) == ["number"]
    assert pauses.next_end() == NOW + SECOND
    assert pauses.active(NOW + SECOND) == []
    assert pauses.next_end() is None


def test_a_longer_pause_is_not_cut_short_by_a_shorter_one() -> None:
    pauses = Pauses[str]()
    pauses.until("number", NOW + 5 * SECOND)
    pauses.until("number", NOW + SECOND)
    assert pauses.active(NOW + 4 * SECOND) == ["number"]


def test_each_time_in_a_row_the_pause_is_longer_up_to_half_a_minute() -> None:
    pauses = Pauses[str]()
    now, waited = NOW, list[float]()
    for _ in range(7):
        pauses.back_off("carrier", now=now, at_least=None)
        end = pauses.next_end()
        assert end is not None
        waited.append((end - now).total_seconds())
        now = end
    assert waited == [1, 2, 4, 8, 16, 30, 30]


def test_texts_under_way_when_the_pause_began_do_not_make_it_longer() -> None:
    pauses = Pauses[str]()
    for _ in range(32):
        pauses.back_off("carrier", now=NOW, at_least=None)
    assert pauses.next_end() == NOW + SECOND


def test_a_carrier_that_says_how_long_is_left_alone_for_at_least_that() -> None:
    pauses = Pauses[str]()
    pauses.back_off("carrier", now=NOW, at_least=timedelta(minutes=1))
    assert pauses.next_end() == NOW + timedelta(minutes=1)


def test_once_it_is_well_the_next_pause_is_short_again() -> None:
    pauses = Pauses[str]()
    pauses.back_off("carrier", now=NOW, at_least=None)
    pauses.back_off("carrier", now=NOW + SECOND, at_least=None)
    pauses.well("carrier")
    assert pauses.active(NOW + SECOND) == []
    pauses.back_off("carrier", now=NOW + SECOND, at_least=None)
    assert pauses.next_end() == NOW + 2 * SECOND
