from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.make import NOW
from textback.core.conversation import CloseReason, Live
from textback.core.engine import TurnFailed, TurnReply
from textback.core.policy import TURN_CAP
from textback.core.turn import Drop, admit, due_at, usable

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


@pytest.mark.parametrize("c", make.lives())
def test_a_reply_goes_out_while_the_conversation_lives(c: Live) -> None:
    assert admit(c) is None


@pytest.mark.parametrize("reason", [r for r in get_args(CloseReason) if r != "superseded"])
def test_a_reply_that_comes_after_the_end_is_dropped_and_says_why(reason: CloseReason) -> None:
    drop = admit(make.closed(reason=reason))
    assert drop == Drop(f"the conversation was closed: {reason}")


def test_who_asked_is_answered_although_a_newer_send_took_over() -> None:
    assert admit(make.closed(reason="superseded")) is None


def test_who_opted_out_is_not_answered_whatever_closed_the_conversation() -> None:
    assert admit(make.closed(reason="superseded"), opted_out=True) is not None


# --- What engines answer ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        TurnReply(texts=[]),
        TurnReply(texts=("Hi", "x" * 1600), end_conversation=True),
        TurnReply(texts=["\U0001f600" * 1600] * 10),
    ],
)
def test_an_answer_that_keeps_to_the_contract_is_used_as_it_is(answer: TurnReply) -> None:
    assert usable(answer) is answer


NOT_TEXTS: Any = [None, 7, "Hello", {"Hi"}, [None], [b"Hi"], ["Hi", 7]]
UNSAYABLE = ["", " \n\t", "x" * 1601, "SECRET\x00", "SECRET\ud800"]


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "Hello",
        {"texts": ["Hello"]},
        *(TurnReply(texts=texts) for texts in NOT_TEXTS),
        *(TurnReply(texts=["Hi", text]) for text in UNSAYABLE),
        TurnReply(texts=["Hi"] * 11),
        TurnReply(texts=["Hi"], end_conversation=cast("Any", "SECRET")),
    ],
)
def test_nonsense_is_a_failure_that_does_not_quote_it(answer: object) -> None:
    found = usable(answer)
    assert isinstance(found, TurnFailed)
    assert "SECRET" not in found.reason


def test_why_an_engine_failed_can_be_stored_whatever_it_says() -> None:
    found = usable(TurnFailed("bad\x00\ud800" + "x" * 10_000))
    assert isinstance(found, TurnFailed)
    assert found.reason.startswith("bad??xxx")
    assert len(found.reason) <= 500
