from collections.abc import Sequence
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.make import NOW
from textback.core.conversation import CloseReason, Live
from textback.core.policy import TURN_CAP
from textback.core.turn import Drop, admit, due_at

SECOND = timedelta(seconds=1)

delays = st.integers(0, 60_000).map(lambda ms: timedelta(milliseconds=ms))


def test_a_turn_is_due_when_it_has_been_quiet_for_the_delay() -> None:
    assert due_at(now=NOW, first_text_at=NOW, delay=2 * SECOND) == NOW + 2 * SECOND


def test_each_further_text_restarts_the_quiet_time() -> None:
    second = NOW + 1.5 * SECOND
    assert due_at(now=second, first_text_at=NOW, delay=2 * SECOND) == second + 2 * SECOND


def test_a_busy_typist_is_answered_after_30_seconds() -> None:
    now = NOW + 29 * SECOND
    assert due_at(now=now, first_text_at=NOW, delay=2 * SECOND) == NOW + 30 * SECOND


def test_without_a_delay_a_turn_is_due_at_once() -> None:
    assert due_at(now=NOW, first_text_at=NOW, delay=timedelta(0)) == NOW


@given(delays, st.lists(delays, max_size=20))
def test_a_turn_is_due_neither_in_the_past_nor_after_the_cap(
    delay: timedelta, pauses: Sequence[timedelta]
) -> None:
    now = NOW
    for pause in [timedelta(0), *pauses]:
        now += pause
        due = due_at(now=now, first_text_at=NOW, delay=delay)
        assert now <= due <= now + delay
        assert due <= max(now, NOW + TURN_CAP)


@pytest.mark.parametrize("opener", [False, True])
@pytest.mark.parametrize("c", make.lives())
def test_a_reply_goes_out_while_the_conversation_lives(c: Live, opener: bool) -> None:  # noqa: FBT001 - what the test is about
    assert admit(c, opener=opener) is None


@pytest.mark.parametrize("reason", get_args(CloseReason))
def test_a_reply_that_comes_after_the_end_is_dropped_and_says_why(reason: CloseReason) -> None:
    drop = admit(make.closed(reason=reason), opener=False)
    assert drop == Drop(f"the conversation was closed: {reason}")


def test_an_opener_that_was_accepted_goes_out_although_a_newer_send_took_over() -> None:
    assert admit(make.closed(reason="superseded"), opener=True) is None


@pytest.mark.parametrize("reason", [r for r in get_args(CloseReason) if r != "superseded"])
def test_an_opener_is_dropped_when_the_conversation_ended_otherwise(reason: CloseReason) -> None:
    assert admit(make.closed(reason=reason), opener=True) is not None
