from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.make import NOW
from textback.core.ids import CarrierId, MessageId, by_hand
from textback.core.message import (
    DropReason,
    Failed,
    Message,
    Queued,
    Sending,
    Uncertain,
    accepted,
    claim,
    doubted,
    dropped,
    hear,
    lost,
    mistaken,
    not_asked,
    not_listed,
    rejected,
    settled_not_sent,
    snoozed,
    unwritten,
    write,
    written,
)
from textback.core.policy import SendPolicy

POLICY = SendPolicy()
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

windows = st.lists(st.integers(1, 3600), min_size=1, max_size=5, unique=True).map(
    lambda seconds: SendPolicy(settle=tuple(timedelta(seconds=s) for s in sorted(seconds)))
)
"""Policies with any settle window."""
delays = st.integers(0, 7200).map(lambda seconds: timedelta(seconds=seconds))
"""How much later than it was due something may happen."""


def test_a_new_text_goes_between_the_conversations_numbers_and_is_due_at_once() -> None:
    talk = make.engaged()
    text = write(
        talk,
        "reply",
        "Done: 3pm.",
        id=MessageId("msg_1"),
        carrier_id=CarrierId("acme-twilio"),
        validity=timedelta(hours=4),
        now=NOW,
    )
    assert text == make.queued(
        id="msg_1",
        conversation_id=talk.id,
        agent_number=talk.agent_number,
        user_number=talk.user_number,
        kind="reply",
        text="Done: 3pm.",
        expires_at=NOW + timedelta(hours=4),
        attempts=0,
        due_at=NOW,
    )


def test_a_claim_holds_the_text_until_the_lease_ends() -> None:
    later = NOW + MINUTE
    assert claim(make.queued(), now=later, lease=30 * SECOND) == make.sending(
        claimed_at=later, lease_until=later + 30 * SECOND
    )


@pytest.mark.parametrize("m", [make.sending(), make.uncertain()])
def test_what_the_carrier_has_taken_is_sent(m: Sending | Uncertain) -> None:
    sent = accepted(m, carrier_message_id="SM7", now=NOW + SECOND)
    assert sent == make.sent(carrier_message_id="SM7", sent_at=NOW + SECOND)


@pytest.mark.parametrize("reason", get_args(DropReason))
def test_a_dropped_text_keeps_why_and_when(reason: DropReason) -> None:
    assert dropped(make.queued(), reason=reason, now=NOW + SECOND) == make.suppressed(
        reason=reason, dropped_at=NOW + SECOND
    )


def test_an_opener_nobody_wrote_has_failed_and_was_never_at_the_carrier() -> None:
    failed = unwritten(make.queued(text=""), now=NOW)
    assert failed.error_code == "agent_failed"
    assert failed.carrier_message_id is None
    assert failed.sent_at is None


MOVES: dict[str, Callable[[], Message]] = {
    "claim": lambda: claim(make.queued(attempts=3), now=NOW, lease=SECOND),
    "dropped": lambda: dropped(make.queued(attempts=3), reason="expired", now=NOW),
    "unwritten": lambda: unwritten(make.queued(attempts=3), now=NOW),
    "doubted": lambda: doubted(make.queued(attempts=3), now=NOW, policy=POLICY),
    "mistaken": lambda: mistaken(make.sent(attempts=3), now=NOW),
    "snoozed": lambda: snoozed(make.sending(attempts=3), until=NOW),
    "accepted": lambda: accepted(make.sending(attempts=3), carrier_message_id="SM1", now=NOW),
    "lost": lambda: lost(make.sending(attempts=3), now=NOW, policy=POLICY),
    "not_listed": lambda: not_listed(
        make.uncertain(attempts=3, look_ups=2), now=NOW, policy=POLICY
    ),
    "settled_not_sent": lambda: settled_not_sent(make.uncertain(attempts=3), now=NOW),
    "not_asked": lambda: not_asked(make.uncertain(attempts=3), now=NOW, policy=POLICY),
}


@pytest.mark.parametrize("move", MOVES)
def test_no_move_changes_what_the_text_is_or_counts_an_attempt(move: str) -> None:
    after = MOVES[move]()
    assert {name: getattr(after, name) for name in make.SHARED} == make.SHARED | {"attempts": 3}


# Refusals


def test_a_refusal_for_good_is_final_and_keeps_the_carriers_code() -> None:
    error = make.refusal(code="21610", reason="The user has opted out.", retry="never")
    failed = rejected(make.sending(), error, now=NOW + SECOND, policy=POLICY)
    assert isinstance(failed, Failed)
    assert (failed.error_code, failed.error) == ("21610", "The user has opted out.")
    assert failed.failed_at == NOW + SECOND


def test_a_refused_text_was_never_sent() -> None:
    failed = rejected(make.sending(), make.refusal(), now=NOW, policy=POLICY)
    assert isinstance(failed, Failed)
    assert failed.carrier_message_id is None
    assert failed.sent_at is None


def waits_of_refusals_that_may_pass(policy: SendPolicy) -> list[timedelta]:
    """How long the text waits after each, until it is given up."""
    waits: list[timedelta] = []
    m, now = make.queued(), NOW
    while True:
        sending = claim(m, now=now, lease=policy.lease)
        after = rejected(sending, make.refusal(retry="later"), now=now, policy=policy)
        if isinstance(after, Failed):
            assert after.attempts == len(waits) + 1
            return waits
        assert after.attempts == len(waits) + 1
        waits.append(after.due_at - now)
        m, now = after, after.due_at


def test_each_refusal_that_may_pass_doubles_the_wait_until_the_text_is_given_up() -> None:
    waits = waits_of_refusals_that_may_pass(SendPolicy(max_attempts=7))
    assert waits == [SECOND * seconds for seconds in (1, 2, 4, 8, 16, 32)]


def test_no_wait_grows_over_the_most() -> None:
    waits = waits_of_refusals_that_may_pass(SendPolicy(max_attempts=7, retry_most=5 * SECOND))
    assert waits == [SECOND * seconds for seconds in (1, 2, 4, 5, 5, 5)]


@given(st.integers(1, 20))
def test_a_text_is_tried_as_often_as_the_policy_says(most: int) -> None:
    waits = waits_of_refusals_that_may_pass(SendPolicy(max_attempts=most))
    assert len(waits) + 1 == most


def test_a_carrier_that_says_how_long_to_wait_is_believed() -> None:
    error = make.refusal(retry="later", retry_after=timedelta(seconds=42))
    after = rejected(make.sending(), error, now=NOW, policy=POLICY)
    assert after == make.queued(attempts=1, due_at=NOW + timedelta(seconds=42))


def test_being_told_to_slow_down_costs_no_attempt() -> None:
    error = make.refusal(code="429", retry="slow_down", retry_after=timedelta(seconds=3))
    m = make.sending(attempts=POLICY.max_attempts - 1)
    after = rejected(m, error, now=NOW, policy=POLICY)
    assert after == make.queued(attempts=m.attempts, due_at=NOW + timedelta(seconds=3))


def test_being_told_to_slow_down_without_a_time_waits_a_moment() -> None:
    error = make.refusal(code="429", retry="slow_down")
    after = rejected(make.sending(), error, now=NOW, policy=POLICY)
    assert after == make.queued(due_at=NOW + POLICY.retry_first)


def test_a_snoozed_text_is_due_when_told() -> None:
    assert snoozed(make.sending(), until=NOW + MINUTE) == make.queued(due_at=NOW + MINUTE)


@pytest.mark.parametrize("m", [make.sending(), make.uncertain()])
@pytest.mark.parametrize("retry", ["never", "later", "slow_down"])
def test_a_refusal_means_the_same_when_it_comes_after_the_lease(
    m: Sending | Uncertain, retry: Literal["never", "later", "slow_down"]
) -> None:
    error = make.refusal(retry=retry)
    assert rejected(m, error, now=NOW, policy=POLICY) == rejected(
        make.sending(), error, now=NOW, policy=POLICY
    )
    assert snoozed(m, until=NOW) == make.queued(due_at=NOW)


# Settling


def test_what_an_operator_knows_was_not_sent_goes_out_while_it_is_valid() -> None:
    m = make.uncertain(look_up_at=None)
    just_valid = m.expires_at - timedelta(microseconds=1)
    assert settled_not_sent(m, now=just_valid) == make.queued(due_at=just_valid)
    assert settled_not_sent(m, now=m.expires_at) == make.suppressed(
        reason="expired", dropped_at=m.expires_at
    )


def test_a_receipt_names_what_an_operator_could_only_vouch_for() -> None:
    m = make.sent(carrier_message_id=by_hand(make.queued().id))
    after = hear(m, make.receipt("sent", "SM7"), now=NOW)
    assert after == make.sent(carrier_message_id="SM7", sent_at=m.sent_at)


def test_an_unanswered_text_remembers_since_when_the_carrier_may_have_it() -> None:
    m = make.sending(claimed_at=NOW - 20 * SECOND)
    uncertain = lost(m, now=NOW, policy=POLICY)
    assert uncertain == make.uncertain(claimed_at=NOW - 20 * SECOND, uncertain_at=NOW)


def look_ups_all_in_time(policy: SendPolicy) -> tuple[list[timedelta], Queued]:
    """When the list was asked, counted from when the text became uncertain; it never had it."""
    m: Uncertain | Queued = lost(make.sending(), now=NOW, policy=policy)
    asked: list[timedelta] = []
    while isinstance(m, Uncertain):
        assert m.look_up_at is not None
        asked.append(m.look_up_at - NOW)
        m = not_listed(m, now=m.look_up_at, policy=policy)
    return asked, m


def test_an_uncertain_text_is_looked_up_after_10_seconds_a_minute_and_5_minutes() -> None:
    asked, _ = look_ups_all_in_time(POLICY)
    assert asked == [10 * SECOND, MINUTE, 5 * MINUTE]


def test_a_text_the_list_never_had_is_due_again_at_once() -> None:
    _, queued = look_ups_all_in_time(POLICY)
    assert queued == make.queued(due_at=NOW + 5 * MINUTE)


@given(windows)
def test_prompt_look_ups_follow_the_schedule_of_the_policy(policy: SendPolicy) -> None:
    asked, _ = look_ups_all_in_time(policy)
    assert tuple(asked) == policy.settle


@given(windows, st.lists(st.tuples(st.booleans(), delays), max_size=20))
def test_only_a_full_window_of_answers_puts_a_text_back(
    policy: SendPolicy, script: Sequence[tuple[bool, timedelta]]
) -> None:
    m: Uncertain | Queued = lost(
        make.sending(expires_at=NOW + timedelta(days=365)), now=NOW, policy=policy
    )
    answers, now = 0, NOW
    for answered, late in script:
        if isinstance(m, Queued):
            break
        assert m.look_up_at is not None
        now = m.look_up_at + late
        m = (not_listed if answered else not_asked)(m, now=now, policy=policy)
        answers += answered
    assert isinstance(m, Queued) == (answers == len(policy.settle))
    if isinstance(m, Queued):
        assert now - NOW >= policy.settle[-1]


@given(windows, st.lists(delays, max_size=20))
def test_a_list_that_does_not_answer_never_puts_a_text_back(
    policy: SendPolicy, script: Sequence[timedelta]
) -> None:
    m = lost(make.sending(), now=NOW, policy=policy)
    for late in script:
        if m.look_up_at is None:
            break
        m = not_asked(m, now=m.look_up_at + late, policy=policy)
        assert isinstance(m, Uncertain)
        assert m.look_ups == 0


@given(windows, delays)
def test_a_list_that_did_not_answer_is_asked_again_within_a_minute(
    policy: SendPolicy, late: timedelta
) -> None:
    m = lost(make.sending(), now=NOW, policy=policy)
    again = not_asked(m, now=NOW + late, policy=policy)
    assert again.look_up_at is not None
    assert timedelta(0) < again.look_up_at - (NOW + late) <= MINUTE


def test_a_text_past_its_validity_that_cannot_be_looked_up_is_left_to_an_operator() -> None:
    m = make.uncertain()
    assert not_asked(m, now=m.expires_at, policy=POLICY) == replace(m, look_up_at=None)


def test_every_state_is_in_the_tests() -> None:
    assert {type(m) for m in make.messages()} == set(get_args(Message))
    assert {f.name for m in make.messages() for f in fields(m)} >= set(make.SHARED)


def test_a_text_without_words_keeps_its_id_and_is_never_due_until_it_is_written() -> None:
    promise = write(
        make.opened(),
        "opener",
        None,
        id=MessageId("msg_promise"),
        carrier_id=CarrierId("carrier"),
        validity=timedelta(hours=4),
        now=NOW,
    )
    assert (promise.text, promise.is_promise) == ("", True)
    text = written(promise, "Good morning.", now=NOW + timedelta(seconds=9))
    assert (text.id, text.text, text.is_promise) == ("msg_promise", "Good morning.", False)
    assert (text.due_at, text.expires_at) == (NOW + timedelta(seconds=9), promise.expires_at)
