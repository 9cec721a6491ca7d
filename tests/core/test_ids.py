from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core import ids

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
NOW = datetime(2026, 3, 1, 12, 30, 15, 123_000, tzinfo=UTC)

moments = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001 - Hypothesis wants bounds without a zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
makers: list[tuple[str, Callable[[datetime], str]]] = [
    ("conv", ids.new_conversation_id),
    ("msg", ids.new_message_id),
    ("turn", ids.new_turn_id),
    ("key", ids.new_key_id),
    ("opt", ids.new_opt_out_id),
    ("batch", ids.new_batch_id),
    ("whe", ids.new_endpoint_id),
    ("file", ids.new_file_id),
]


def decoded(some_id: str) -> UUID:
    return UUID(ids.to_uuid(some_id))


@pytest.mark.parametrize(("kind", "make"), makers)
def test_an_id_names_its_kind_and_holds_26_characters(
    kind: str, make: Callable[[datetime], str]
) -> None:
    prefix, _, rest = make(NOW).partition("_")
    assert prefix == kind
    assert len(rest) == 26
    assert set(rest) <= set(ALPHABET)


@given(moments, st.sampled_from(makers))
def test_an_id_is_a_uuid_of_version_7_that_tells_when_it_was_made(
    now: datetime, maker: tuple[str, Callable[[datetime], str]]
) -> None:
    uuid = decoded(maker[1](now))
    assert uuid.version == 7
    assert uuid.variant == RFC_4122
    made_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=uuid.int >> 80)
    assert abs(made_at - now) <= timedelta(milliseconds=1)


@given(moments, st.integers(2, 10**9))
def test_ids_sort_by_the_time_they_were_made(now: datetime, milliseconds: int) -> None:
    later = now + timedelta(milliseconds=milliseconds)
    assert ids.new_message_id(now) < ids.new_message_id(later)


@given(moments, st.integers(2, 10**9))
def test_where_the_ids_of_a_moment_begin_lies_between_those_before_and_after_it(
    now: datetime, milliseconds: int
) -> None:
    begin = ids.earliest("msg_", now)
    later = now + timedelta(milliseconds=milliseconds)
    assert begin <= ids.new_message_id(now) < ids.earliest("msg_", later)


def test_ids_made_at_the_same_moment_differ() -> None:
    assert len({ids.new_message_id(NOW) for _ in range(10_000)}) == 10_000


def test_a_correlation_id_is_a_plain_uuid() -> None:
    correlation_id = ids.new_correlation_id(NOW)
    assert str(UUID(correlation_id)) == correlation_id
    assert UUID(correlation_id).version == 7


def test_the_zone_of_the_clock_does_not_matter() -> None:
    from_elsewhere = NOW.astimezone(tz=None)
    here, there = (decoded(ids.new_turn_id(now)) for now in (NOW, from_elsewhere))
    assert here.int >> 80 == there.int >> 80


@given(st.uuids())
def test_an_id_that_was_shown_as_a_uuid_is_found_again(uuid: UUID) -> None:
    some_id = ids.from_uuid("conv_", str(uuid))
    assert some_id is not None
    assert len(some_id) == len("conv_") + 26
    assert ids.to_uuid(some_id) == str(uuid)


@pytest.mark.parametrize("wrong", ["", "conv_1", "0" * 33, "g" * 32])
def test_what_is_no_uuid_stands_for_no_id(wrong: str) -> None:
    assert ids.from_uuid("conv_", wrong) is None
