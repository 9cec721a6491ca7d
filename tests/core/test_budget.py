"""When agents have used what they may, and until when that is so."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.make import NOW
from textback.core.budget import Reached, Spent, day_of, midnight_after, reached
from textback.core.policy import Budget, Budgets

NONE = Budgets(conversation=Budget(), day=Budget())

amounts = st.integers(0, 50)
limits = st.none() | amounts
spents = st.builds(Spent, turns=amounts, tokens=amounts, cost_usd=amounts.map(float))
each = st.builds(Budget, turns=limits, tokens=limits, cost_usd=limits.map(lambda n: n and float(n)))
zones = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "America/Los_Angeles",
        "America/Havana",  # midnight comes twice, or not at all
        "America/Santiago",
        "Africa/Cairo",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",  # half an hour of summer time
        "Pacific/Apia",
    ]
)
moments = st.integers(0, 24 * 365 * 24 * 60).map(
    lambda minutes: datetime(2012, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


def look(budgets: Budgets, conversation: Spent, day: Spent) -> Reached | None:
    return reached(budgets, conversation=conversation, day=day, now=NOW, timezone="UTC")


@given(spents, spents)
def test_without_budgets_agents_use_what_they_want(conversation: Spent, day: Spent) -> None:
    assert look(NONE, conversation, day) is None


def test_a_budget_of_so_many_turns_allows_so_many() -> None:
    budgets = Budgets(conversation=Budget(turns=3))
    assert look(budgets, Spent(turns=2), Spent()) is None
    found = look(budgets, Spent(turns=3), Spent())
    assert found == Reached(scope="conversation", what="turns", limit=3, until=None)
    assert found is not None
    assert found.why == "the conversation's budget of 3 turns is used up"


def test_a_days_budget_is_used_up_until_midnight() -> None:
    budgets = Budgets(conversation=Budget(), day=Budget(cost_usd=2.5))
    found = look(budgets, Spent(), Spent(cost_usd=2.5))
    midnight = datetime(2026, 3, 3, tzinfo=UTC)
    assert found == Reached(scope="day", what="cost_usd", limit=2.5, until=midnight)
    assert found is not None
    assert found.why == "the project's daily budget of 2.5 US dollars is used up"


@given(each, each, spents, spents)
def test_a_turn_runs_exactly_while_every_budget_has_something_left(
    conversation: Budget, day: Budget, talked: Spent, today: Spent
) -> None:
    def left(budget: Budget, spent: Spent) -> bool:
        pairs = [
            (budget.turns, spent.turns),
            (budget.tokens, spent.tokens),
            (budget.cost_usd, spent.cost_usd),
        ]
        return all(limit is None or used < limit for limit, used in pairs)

    found = look(Budgets(conversation=conversation, day=day), talked, today)
    assert (found is None) == (left(conversation, talked) and left(day, today))
    if found is not None:
        assert found.scope == ("day" if left(conversation, talked) else "conversation")


@given(moments, zones)
def test_midnight_is_where_the_day_changes(now: datetime, zone: str) -> None:
    midnight = midnight_after(now, zone)
    assert now < midnight <= now + timedelta(hours=26)
    assert day_of(midnight, zone) == day_of(now, zone) + timedelta(days=1)
    assert day_of(midnight - timedelta(microseconds=1), zone) == day_of(now, zone)


@pytest.mark.parametrize(
    ("zone", "now", "local"),
    [
        # Clocks leap from 24:00 to 01:00, and that day has 23 hours.
        ("America/Havana", datetime(2025, 3, 9, 2, tzinfo=UTC), "2025-03-09T01:00:00-04:00"),
        # 00:00 to 01:00 comes twice: the day begins with the first.
        ("America/Havana", datetime(2025, 11, 2, 3, tzinfo=UTC), "2025-11-02T00:00:00-04:00"),
        ("Europe/Berlin", datetime(2025, 3, 30, 12, tzinfo=UTC), "2025-03-31T00:00:00+02:00"),
    ],
)
def test_where_clocks_change_at_midnight_the_day_begins_with_its_first_moment(
    zone: str, now: datetime, local: str
) -> None:
    midnight = midnight_after(now, zone)
    assert midnight.astimezone(ZoneInfo(zone)).isoformat() == local


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "\x00"])
def test_a_zone_that_this_machine_does_not_know_stops_no_turn(zone: str) -> None:
    assert day_of(NOW, zone) == date(2026, 3, 2)
    assert midnight_after(NOW, zone) == datetime(2026, 3, 3, tzinfo=UTC)
