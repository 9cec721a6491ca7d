"""Quiet hours by the recipient's clock: never texted within them, and not a moment later."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.phone import Phone
from textback.core.policy import QuietHours
from textback.core.quiet import is_quiet, open_at, zones_of

NIGHT = QuietHours(start=time(21), end=time(8))
LONDON = Phone("+442071838750")
NEW_YORK = Phone("+12015550123")
SPAIN = Phone("+34600123456")
"""A mobile number: Madrid, or an hour less on the Canaries."""
RUSSIA = Phone("+79161234567")
TOLL_FREE = Phone("+18005550123")
NOWHERE = Phone("+88213999999")
AUSTRALIA = Phone("+61412345678")
USERS = [LONDON, NEW_YORK, SPAIN, RUSSIA, TOLL_FREE, NOWHERE, AUSTRALIA]


def at(*moment: int, zone: str = "UTC") -> datetime:
    return datetime(*moment, tzinfo=ZoneInfo(zone))


def test_by_day_it_is_open_now():
    noon = at(2026, 3, 2, 12, 0, 17)
    assert open_at(LONDON, noon, NIGHT, "UTC") == noon


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        (at(2026, 3, 2, 21), at(2026, 3, 3, 8)),
        (at(2026, 3, 2, 23, 59, 59), at(2026, 3, 3, 8)),
        (at(2026, 3, 3, 0), at(2026, 3, 3, 8)),
        (at(2026, 3, 3, 7, 59, 59), at(2026, 3, 3, 8)),
        (at(2026, 3, 3, 8), at(2026, 3, 3, 8)),
        (at(2026, 3, 2, 20, 59, 59), at(2026, 3, 2, 20, 59, 59)),
    ],
)
def test_a_night_that_crosses_midnight_ends_in_the_morning(now: datetime, opens: datetime):
    assert open_at(LONDON, now, NIGHT, "Asia/Tokyo") == opens


def test_it_is_the_recipients_clock_that_counts():
    seven_in_the_morning = at(2026, 3, 2, 7, zone="America/New_York")
    assert open_at(NEW_YORK, seven_in_the_morning, NIGHT, "UTC") == at(
        2026, 3, 2, 8, zone="America/New_York"
    )


def test_a_channel_before_the_number_changes_nothing():
    now = at(2026, 3, 2, 23)
    assert open_at(Phone(f"whatsapp:{LONDON}"), now, NIGHT, "UTC") == at(2026, 3, 3, 8)


def test_start_and_end_the_same_is_never_quiet():
    never = QuietHours(start=time(8), end=time(8))
    assert open_at(LONDON, at(2026, 3, 2, 8), never, "UTC") == at(2026, 3, 2, 8)


def test_of_several_zones_none_may_be_quiet():
    assert open_at(SPAIN, at(2026, 3, 2, 7, 30), NIGHT, "UTC") == at(2026, 3, 2, 8)
    assert open_at(SPAIN, at(2026, 3, 2, 20, 30), NIGHT, "UTC") == at(2026, 3, 3, 8)
    russia = open_at(RUSSIA, at(2026, 3, 2, 12), NIGHT, "UTC")
    assert russia == at(2026, 3, 3, 8, zone="Europe/Bucharest")  # as far west as +7 goes


def test_a_number_that_tells_no_zone_goes_by_the_projects():
    assert zones_of(NOWHERE) == ()
    now = at(2026, 3, 2, 23)
    assert open_at(NOWHERE, now, NIGHT, "Asia/Tokyo") == at(2026, 3, 2, 23)
    assert open_at(NOWHERE, now, NIGHT, "UTC") == at(2026, 3, 3, 8)
    assert open_at(NOWHERE, now, NIGHT, "No/Where") == at(2026, 3, 3, 8)


def test_a_number_that_is_not_given_out_yet_is_in_its_country():
    assert ZoneInfo("Europe/London") in zones_of(Phone("+447700900123"))


def test_zones_so_far_apart_that_it_is_always_quiet_in_one_give_way_to_one():
    assert open_at(TOLL_FREE, at(2026, 3, 2, 4), NIGHT, "UTC") == at(2026, 3, 2, 22)  # still open
    office, now = QuietHours(start=time(17), end=time(9)), at(2026, 3, 2, 4)
    ours = open_at(TOLL_FREE, now, office, "America/Los_Angeles")
    assert ours == at(2026, 3, 2, 9, zone="America/Los_Angeles")
    middle = open_at(TOLL_FREE, now, office, "Europe/Paris")
    assert at(2026, 3, 2, 9, zone="America/Halifax") <= middle <= ours


def test_an_end_that_the_clock_jumps_over_is_the_moment_it_jumps():
    quiet = QuietHours(start=time(21), end=time(2, 30))
    opens = open_at(NEW_YORK, at(2026, 3, 8, 0, zone="America/New_York"), quiet, "UTC")
    assert opens == at(2026, 3, 8, 7)  # 02:00 EST, which is 03:00 EDT


def test_an_hour_that_comes_twice_is_quiet_by_what_the_clock_shows():
    quiet = QuietHours(start=time(22), end=time(1, 30))
    midnight = at(2026, 11, 1, 4)  # in New York
    first = open_at(NEW_YORK, midnight, quiet, "UTC")
    assert first == at(2026, 11, 1, 5, 30)
    again = open_at(NEW_YORK, at(2026, 11, 1, 6, 5), quiet, "UTC")  # 01:05 for the second time
    assert again == at(2026, 11, 1, 6, 30)


def test_a_clock_set_back_to_before_the_start_opens_for_a_while():
    quiet = QuietHours(start=time(1, 30), end=time(6))
    opens = open_at(NEW_YORK, at(2026, 11, 1, 5, 40), quiet, "UTC")  # 01:40 for the first time
    assert opens == at(2026, 11, 1, 6)  # 02:00, which is 01:00 again


# Around the days on which clocks are set, and others.
moments = st.one_of(
    st.datetimes(datetime(2026, 3, 5), datetime(2026, 4, 6), timezones=st.just(UTC)),  # noqa: DTZ001
    st.datetimes(datetime(2026, 9, 25), datetime(2026, 11, 4), timezones=st.just(UTC)),  # noqa: DTZ001
    st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
minutes = st.builds(time, st.integers(0, 23), st.integers(0, 59))
hours = st.builds(QuietHours, start=minutes, end=minutes)
users = st.sampled_from(USERS)


@given(users, moments, hours)
def test_it_is_the_first_moment_that_is_quiet_nowhere(
    user: Phone, now: datetime, quiet: QuietHours
):
    found = open_at(user, now, quiet, "UTC")
    assert found >= now
    zones = zones_of(user) or (ZoneInfo("UTC"),)
    open_ever = [
        m
        for m in (now + timedelta(minutes=n) for n in range(48 * 60))
        if not any(is_quiet(m, quiet, zone) for zone in zones)
    ][:1]
    if open_ever:
        assert not any(is_quiet(found, quiet, zone) for zone in zones)
        assert found <= open_ever[0]
        before = found - timedelta(microseconds=1)
        assert found == now or any(is_quiet(before, quiet, zone) for zone in zones)
    else:  # one zone decides
        assert not all(is_quiet(found, quiet, zone) for zone in zones)


@given(users, moments, st.timedeltas(timedelta(0), timedelta(hours=30)), hours)
def test_who_asks_later_is_never_told_an_earlier_moment(
    user: Phone, now: datetime, later: timedelta, quiet: QuietHours
):
    first = open_at(user, now, quiet, "UTC")
    second = open_at(user, now + later, quiet, "UTC")
    assert second >= first
