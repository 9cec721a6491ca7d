from collections.abc import Sequence
from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.make import NOW
from textback.core.numbers import Candidate, pick
from textback.core.phone import Phone

US, US_TOO = Phone("+14155550100"), Phone("+12025550143")
GB, DE = Phone("+447700900123"), Phone("+491711234567")
SHORT = Phone("262966")
US_USER, GB_USER, FR_USER = Phone("+14155550123"), Phone("+447700900456"), Phone("+33612345678")

candidates = st.lists(
    st.builds(
        Candidate,
        number=st.sampled_from([US, US_TOO, GB, DE, SHORT]),
        queue_seconds=st.sampled_from([0.0, 2.5, 60.0]),
        used_at=st.sampled_from([None, NOW, NOW + timedelta(seconds=1)]),
    ),
    max_size=5,
    unique_by=lambda c: c.number,
)
users = st.sampled_from([US_USER, GB_USER, FR_USER])
lasts = st.none() | st.sampled_from([US, US_TOO, GB, DE, SHORT, Phone("+14155550199")])


def candidate(number: Phone, queue_seconds: float = 0, used: float | None = None) -> Candidate:
    """`used`: seconds before now."""
    used_at = None if used is None else NOW - timedelta(seconds=used)
    return Candidate(number=number, queue_seconds=queue_seconds, used_at=used_at)


def test_a_user_keeps_the_number_they_know_however_busy_it_is() -> None:
    choice = [candidate(US, queue_seconds=900, used=1), candidate(US_TOO)]
    assert pick(choice, user=US_USER, last=US) == US


def test_a_number_that_is_no_longer_ours_is_not_kept() -> None:
    assert pick([candidate(US_TOO)], user=US_USER, last=US) == US_TOO


def test_a_number_of_the_users_country_goes_before_an_idle_one_of_another() -> None:
    choice = [candidate(US), candidate(GB, queue_seconds=60, used=1), candidate(DE)]
    assert pick(choice, user=GB_USER, last=None) == GB


def test_a_country_is_more_than_its_calling_code() -> None:
    toronto = Phone("+14165550100")
    choice = [candidate(US), candidate(toronto, queue_seconds=60)]
    assert pick(choice, user=Phone("+14165550123"), last=None) == toronto


def test_without_a_number_of_the_users_country_all_are_considered() -> None:
    choice = [candidate(US, queue_seconds=5), candidate(GB, queue_seconds=3)]
    assert pick(choice, user=FR_USER, last=None) == GB


def test_the_number_that_is_free_first_is_taken() -> None:
    choice = [candidate(US, queue_seconds=5), candidate(US_TOO, queue_seconds=4.9, used=1)]
    assert pick(choice, user=US_USER, last=None) == US_TOO


def test_equally_free_numbers_take_turns() -> None:
    one, other = candidate(US, used=10), candidate(US_TOO, used=20)
    assert pick([one, other], user=US_USER, last=None) == US_TOO
    one, other = candidate(US, used=20), candidate(US_TOO, used=10)
    assert pick([one, other], user=US_USER, last=None) == US


def test_a_number_never_used_has_the_first_turn() -> None:
    choice = [candidate(US, used=10_000_000), candidate(US_TOO)]
    assert pick(choice, user=US_USER, last=None) == US_TOO


def test_between_equal_numbers_the_choice_is_always_the_same() -> None:
    one, other = candidate(US), candidate(US_TOO)
    assert pick([one, other], user=US_USER, last=None) == pick(
        [other, one], user=US_USER, last=None
    )


def test_without_numbers_there_is_nothing_to_pick() -> None:
    assert pick([], user=US_USER, last=US) is None


@given(candidates, users, lasts)
def test_what_is_picked_is_one_of_the_candidates(
    choice: Sequence[Candidate], user: Phone, last: Phone | None
) -> None:
    picked = pick(choice, user=user, last=last)
    assert (picked in {c.number for c in choice}) == bool(choice)


@given(candidates, users, lasts, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    choice: Sequence[Candidate], user: Phone, last: Phone | None, random: Random
) -> None:
    shuffled = list(choice)
    random.shuffle(shuffled)
    assert pick(shuffled, user=user, last=last) == pick(choice, user=user, last=last)


def test_only_numbers_of_the_users_channel_are_picked() -> None:
    service, whatsapp = Phone("MG" + "0a" * 16), Phone(f"whatsapp:{US}")
    choice = [candidate(US), candidate(service), candidate(whatsapp)]
    for user, number in (
        (US_USER, US),
        (Phone(f"rcs:{US_USER}"), service),
        (Phone(f"whatsapp:{GB_USER}"), whatsapp),
    ):
        for last in (None, US, service, whatsapp):
            assert pick(choice, user=user, last=last) == number
    assert pick([candidate(US)], user=Phone(f"rcs:{US_USER}"), last=US) is None
