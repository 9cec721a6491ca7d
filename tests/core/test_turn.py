import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.make import NOW
from textback.core.conversation import CloseReason, HandedOff, Live
from textback.core.engine import NOTHING, Later, TurnFailed, TurnReply, Usage
from textback.core.policy import MOST_RESTARTS, TURN_CAP, WhileThinking
from textback.core.turn import (
    LATEST,
    SOONEST,
    Drop,
    UnderWay,
    admit,
    answer_by,
    due_at,
    landing,
    usable,
)

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


# --- A text that lands --------------------------------------------------------------------------

policies: st.SearchStrategy[WhileThinking] = st.sampled_from(get_args(WhileThinking))
busy: st.SearchStrategy[UnderWay | None] = st.sampled_from([None, *get_args(UnderWay)])


@given(
    policy=policies,
    under_way=busy,
    waits=st.booleans(),
    again=st.booleans(),
    restarts=st.integers(0, 9),
)
def test_a_text_joins_what_hears_it_anyway_and_never_makes_a_second_turn_wait(
    *, policy: WhileThinking, under_way: UnderWay | None, waits: bool, again: bool, restarts: int
) -> None:
    found = landing(waits=waits, under_way=under_way, again=again, restarts=restarts, policy=policy)
    if waits:
        assert found == "put off"
    elif under_way is None:
        assert found == "new"
    elif again:
        assert found == "again"
    else:
        assert (found == "nothing") == (policy == "ignore")
        assert (found == "again") <= (under_way == "thinking")
        assert (found == "restart") <= (under_way == "awaiting")


@given(busy.filter(bool), st.lists(st.just("text"), min_size=1, max_size=20))
def test_a_busy_typist_makes_a_turn_run_again_only_so_often(
    under_way: UnderWay, texts: Sequence[str]
) -> None:
    restarts, waits = 0, False
    for _ in texts:
        found = landing(
            waits=waits, under_way=under_way, again=False, restarts=restarts, policy="restart"
        )
        restarts += found in {"again", "restart"}
        waits = waits or found == "new"
    assert restarts == min(len(texts), MOST_RESTARTS)
    assert waits == (len(texts) > MOST_RESTARTS)


@given(st.timedeltas(min_value=timedelta(days=-9), max_value=timedelta(days=9)))
def test_an_answer_is_awaited_for_a_second_to_a_day(within: timedelta) -> None:
    assert NOW + SOONEST <= answer_by(within, now=NOW) <= NOW + LATEST


@pytest.mark.parametrize("c", [c for c in make.lives() if not isinstance(c, HandedOff)])
def test_a_reply_goes_out_while_the_conversation_lives(c: Live) -> None:
    assert admit(c) is None


def test_the_agent_is_silent_while_a_person_has_the_conversation() -> None:
    assert admit(make.handed_off()) == Drop("a person has the conversation")


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
        TurnReply(texts=("Hi", "x" * 4000), end_conversation=True),
        TurnReply(texts=["\U0001f600" * 4000] * 10),
        TurnReply(texts=["One moment."], hand_off="The user asks for a person."),
        TurnReply(texts=[], state={"node": "start", "left": [1, 2.5, None, {"a": "\\u0000"}]}),
        TurnReply(texts=[], state={"x": "y" * 63_000}),
        TurnReply(texts=[], usage=Usage(input_tokens=10, output_tokens=3, cost_usd=0.002)),
        Later(within=SECOND),
        TurnFailed("no answer", Usage(input_tokens=10)),
    ],
)
def test_an_answer_that_keeps_to_the_contract_is_used_as_it_is(
    answer: TurnReply | Later | TurnFailed,
) -> None:
    assert usable(answer) == answer


NOT_TEXTS: Any = [None, 7, "Hello", {"Hi"}, [None], [b"Hi"], ["Hi", 7]]
NO_REASONS: Any = ["", " ", "SECRET" * 100, "SECRET\x00", 7]
NESTED: Any = json.loads("[" * 900 + "]" * 900)
NO_STATES: Any = [
    ["SECRET"],
    {"a": NOW},
    {"a": float("nan")},
    {"a": "SECRET\x00"},
    {"a": "\ud800"},
    {"a": "x" * 64_001},
    {"a": {1, 2}},
    {"SECRET": [NESTED] * 40},
]
NO_USAGES: Any = [
    None,
    {"input_tokens": 1},
    Usage(input_tokens=-1),
    Usage(output_tokens=cast("Any", 1.5)),
    Usage(output_tokens=cast("Any", bool(1))),
    Usage(input_tokens=10**30),
    Usage(cost_usd=-0.1),
    Usage(cost_usd=float("inf")),
    Usage(cost_usd=float("nan")),
    Usage(cost_usd=cast("Any", "1")),
]
UNSAYABLE = ["", " \n\t", "x" * 4001, "SECRET\x00", "SECRET\ud800"]


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
        *(TurnReply(texts=["Hi"], hand_off=why) for why in NO_REASONS),
        *(TurnReply(texts=["Hi"], state=state) for state in NO_STATES),
        *(TurnReply(texts=["Hi"], usage=usage) for usage in NO_USAGES),
        Later(within=cast("Any", 30)),
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


@pytest.mark.parametrize("usage", NO_USAGES)
def test_a_failure_that_cannot_say_what_it_used_used_nothing(usage: Any) -> None:
    assert usable(TurnFailed("no answer", usage)) == TurnFailed("no answer", NOTHING)


def test_what_an_unusable_answer_used_is_not_forgotten() -> None:
    used = Usage(input_tokens=10)
    found = usable(TurnReply(texts=[""], usage=used))
    assert isinstance(found, TurnFailed)
    assert found.usage == used
