from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import make
from tests.make import NOW
from textback.core.conversation import (
    Close,
    Closed,
    CloseReason,
    Conversation,
    Engaged,
    HandedOff,
    Live,
    Opened,
    Paused,
    Resume,
    Wait,
    Warn,
    Warned,
    agent_texted,
    close,
    deadline,
    handed_off,
    paused,
    resumed,
    tick,
    user_texted,
)
from textback.core.policy import IdlePolicy

POLICY = IdlePolicy()
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)

spans = st.integers(1, 10**6).map(lambda seconds: seconds * SECOND)
times = st.integers(0, 10**6).map(lambda seconds: NOW + seconds * SECOND)
policies = st.builds(
    IdlePolicy,
    warn_after=st.none() | spans,
    close_after=spans,
    unanswered_after=st.none() | spans,
    warning=st.just("Still there?"),
    closing=st.none() | st.just("Bye."),
)
live = st.one_of(
    times.map(lambda at: make.opened(active_at=at)),
    times.map(lambda at: make.engaged(active_at=at)),
    st.tuples(times, spans).map(lambda t: make.warned(active_at=t[0], warned_at=t[0] + t[1])),
    st.tuples(times, spans).map(lambda t: make.paused(active_at=t[0], paused_until=t[0] + t[1])),
    times.map(lambda at: make.handed_off(active_at=at, handed_off_at=at)),
)


# Deadlines


def test_an_unanswered_conversation_is_due_24_hours_and_10_minutes_after_its_last_text() -> None:
    assert deadline(make.opened(active_at=NOW), POLICY) == NOW + 24 * HOUR + 10 * MINUTE


def test_an_engaged_conversation_is_due_24_hours_after_its_last_text() -> None:
    assert deadline(make.engaged(active_at=NOW), POLICY) == NOW + 24 * HOUR


def test_a_warned_conversation_is_due_10_minutes_after_the_warning() -> None:
    c = make.warned(active_at=NOW - 24 * HOUR, warned_at=NOW)
    assert deadline(c, POLICY) == NOW + 10 * MINUTE


def test_a_closed_conversation_is_never_due() -> None:
    assert deadline(make.closed(), POLICY) is None


def test_without_a_time_to_warn_an_engaged_conversation_is_never_due() -> None:
    assert deadline(make.engaged(), IdlePolicy(warn_after=None)) is None


def test_without_a_time_to_warn_one_that_was_warned_before_still_closes() -> None:
    c = make.warned(warned_at=NOW)
    assert deadline(c, IdlePolicy(warn_after=None)) == NOW + 10 * MINUTE


def test_without_an_end_for_unanswered_ones_an_opened_conversation_is_never_due() -> None:
    assert deadline(make.opened(), IdlePolicy(unanswered_after=None)) is None


@given(live, policies, times)
def test_the_deadline_follows_from_the_state_and_not_from_how_it_came_about(
    c: Live, policy: IdlePolicy, opened_at: datetime
) -> None:
    other = replace(c, opened_at=opened_at, connector_id=None)
    assert deadline(other, policy) == deadline(c, policy)


# What time alone does


@given(live, policies, st.integers(1, 10**9))
def test_before_the_deadline_nothing_happens(c: Live, policy: IdlePolicy, early: int) -> None:
    due = deadline(c, policy)
    now = (due or NOW) - early * INSTANT
    assert tick(c, now=now, policy=policy) == Wait()


@given(live, policies)
def test_at_the_deadline_something_happens(c: Live, policy: IdlePolicy) -> None:
    due = deadline(c, policy)
    if due is not None:
        assert tick(c, now=due, policy=policy) != Wait()


@given(live, policies, spans)
def test_a_deadline_missed_while_we_were_down_is_done_with_the_time_of_doing(
    c: Live, policy: IdlePolicy, late: timedelta
) -> None:
    due = deadline(c, policy)
    if due is None:
        return
    now = due + late
    match tick(c, now=now, policy=policy):
        case Warn(after=after):
            assert after.warned_at == now
        case Close(after=after):
            assert after.closed_at == now
        case Resume(after=after):
            assert after.active_at == now
        case Wait():
            raise AssertionError


@given(live, policies, spans)
def test_one_deadline_never_does_two_things(c: Live, policy: IdlePolicy, late: timedelta) -> None:
    now = (deadline(c, policy) or NOW) + late
    moved = tick(c, now=now, policy=policy)
    if isinstance(moved, Warn | Resume):
        assert tick(moved.after, now=now, policy=policy) == Wait()


def test_an_idle_engaged_conversation_is_warned() -> None:
    now = NOW + 24 * HOUR
    assert tick(make.engaged(), now=now, policy=POLICY) == Warn(
        make.warned(active_at=NOW, warned_at=now), "Are you still there?"
    )


def test_a_warned_conversation_that_stays_silent_closes_with_a_closing_text() -> None:
    now = NOW + 10 * MINUTE
    assert tick(make.warned(), now=now, policy=POLICY) == Close(
        make.closed(closed_at=now, reason="idle"), "I am going to end conversation now"
    )


def test_a_project_may_close_without_a_word() -> None:
    moved = tick(make.warned(), now=NOW + 10 * MINUTE, policy=IdlePolicy(closing=None))
    assert isinstance(moved, Close)
    assert moved.text is None


def test_an_unanswered_conversation_closes_silently() -> None:
    now = NOW + 24 * HOUR + 10 * MINUTE
    assert tick(make.opened(), now=now, policy=POLICY) == Close(
        make.closed(closed_at=now, reason="unanswered"), None
    )


@given(policies, st.lists(spans, max_size=10))
def test_a_user_who_never_replied_is_never_warned(
    policy: IdlePolicy, waits: Sequence[timedelta]
) -> None:
    c, now = make.opened(), NOW
    for wait in waits:
        now += wait
        moved = tick(c, now=now, policy=policy)
        assert not isinstance(moved, Warn | Resume)
        if isinstance(moved, Close):
            assert moved.text is None
            return
        texted = agent_texted(c, now=now)
        assert isinstance(texted, Opened)
        c = texted


# What people do


@pytest.mark.parametrize("c", [make.opened(), make.engaged(), make.warned()])
def test_a_users_text_engages_and_restarts_the_clock(c: Live) -> None:
    assert user_texted(c, now=NOW + HOUR) == make.engaged(active_at=NOW + HOUR)


def test_a_text_just_before_the_end_keeps_a_warned_conversation_open_for_a_whole_day() -> None:
    c = make.warned(warned_at=NOW)
    now = NOW + 10 * MINUTE - INSTANT
    assert tick(c, now=now, policy=POLICY) == Wait()
    assert deadline(user_texted(c, now=now), POLICY) == now + 24 * HOUR


def test_a_text_of_ours_does_not_engage_a_user_who_never_replied() -> None:
    assert agent_texted(make.opened(), now=NOW + HOUR) == make.opened(active_at=NOW + HOUR)


@pytest.mark.parametrize("c", [make.engaged(), make.warned()])
def test_a_text_of_ours_restarts_the_clock_of_an_engaged_conversation(c: Live) -> None:
    assert agent_texted(c, now=NOW + HOUR) == make.engaged(active_at=NOW + HOUR)


def test_the_warning_does_not_count_as_something_said() -> None:
    moved = tick(make.engaged(active_at=NOW), now=NOW + 24 * HOUR, policy=POLICY)
    assert isinstance(moved, Warn)
    assert moved.after.active_at == NOW


@pytest.mark.parametrize("reason", get_args(CloseReason))
@pytest.mark.parametrize("c", make.lives())
def test_any_live_conversation_can_be_closed(c: Live, reason: CloseReason) -> None:
    closed = close(c, reason, now=NOW + HOUR)
    assert closed == make.closed(active_at=NOW, closed_at=NOW + HOUR, reason=reason)


# Pauses


def test_a_paused_conversation_is_due_when_its_pause_is_over() -> None:
    c = paused(make.engaged(), until=NOW + HOUR)
    assert c == make.paused(paused_until=NOW + HOUR)
    assert deadline(c, POLICY) == NOW + HOUR


def test_a_paused_conversation_goes_on_by_itself_when_its_pause_is_over() -> None:
    now = NOW + HOUR
    moved = tick(make.paused(paused_until=now), now=now, policy=POLICY)
    assert moved == Resume(make.engaged(active_at=now))


@pytest.mark.parametrize("texted", [user_texted, agent_texted])
def test_texts_neither_end_nor_lengthen_a_pause(
    texted: Callable[..., Opened | Engaged | Paused | HandedOff],
) -> None:
    c = texted(make.paused(active_at=NOW), now=NOW + MINUTE)
    assert c == make.paused(active_at=NOW + MINUTE)


@given(policies, spans, spans)
def test_a_pause_that_outlasts_the_silence_before_a_warning_ends_without_one(
    policy: IdlePolicy, length: timedelta, late: timedelta
) -> None:
    until = NOW + length
    moved = tick(paused(make.engaged(), until=until), now=until + late, policy=policy)
    assert isinstance(moved, Resume)
    due = deadline(moved.after, policy)
    assert due is None or policy.warn_after is None or due == until + late + policy.warn_after


def test_who_is_resumed_has_the_whole_silence_before_a_warning() -> None:
    c = resumed(make.paused(active_at=NOW - 30 * HOUR), now=NOW)
    assert deadline(c, POLICY) == NOW + 24 * HOUR


# Hand-offs


@pytest.mark.parametrize("c", [make.opened(), make.engaged(), make.warned(), make.paused()])
def test_whatever_an_agent_has_can_be_handed_to_a_person(
    c: Opened | Engaged | Warned | Paused,
) -> None:
    after = handed_off(c, "a refund", now=NOW + HOUR)
    assert after == make.handed_off(active_at=NOW, handed_off_at=NOW + HOUR, why="a refund")


@given(policies, spans)
def test_while_a_person_has_it_no_time_runs(policy: IdlePolicy, later: timedelta) -> None:
    c = make.handed_off()
    assert deadline(c, policy) is None
    assert tick(c, now=NOW + later, policy=policy) == Wait()


@pytest.mark.parametrize("texted", [user_texted, agent_texted])
def test_texts_do_not_end_a_hand_off(
    texted: Callable[..., Opened | Engaged | Paused | HandedOff],
) -> None:
    c = texted(make.handed_off(active_at=NOW), now=NOW + MINUTE)
    assert c == make.handed_off(active_at=NOW + MINUTE)


def test_after_a_person_the_user_has_the_whole_silence_before_a_warning() -> None:
    c = resumed(make.handed_off(active_at=NOW - 30 * HOUR), now=NOW)
    assert c == make.engaged(active_at=NOW)
    assert deadline(c, POLICY) == NOW + 24 * HOUR


Step = Literal["user", "agent", "time"]


@given(
    st.sampled_from(make.lives()),
    policies,
    st.lists(st.tuples(st.sampled_from(get_args(Step)), spans), max_size=12),
)
def test_whatever_happens_a_conversation_keeps_whose_it_is(
    c: Live, policy: IdlePolicy, script: Sequence[tuple[Step, timedelta]]
) -> None:
    state: Conversation = c
    now = NOW
    for step, wait in script:
        now += wait
        if isinstance(state, Closed):
            break
        match step:
            case "user":
                state = user_texted(state, now=now)
            case "agent":
                state = agent_texted(state, now=now)
            case "time":
                moved = tick(state, now=now, policy=policy)
                state = state if isinstance(moved, Wait) else moved.after
    kept = {name for name in make.TALK if name != "active_at"}
    assert {n: getattr(state, n) for n in kept} == {n: make.TALK[n] for n in kept}


@given(policies, st.lists(st.tuples(st.sampled_from(get_args(Step)), spans), max_size=12))
def test_only_a_whole_silence_after_the_last_text_warns(
    policy: IdlePolicy, script: Sequence[tuple[Step, timedelta]]
) -> None:
    state: Live = make.engaged(active_at=NOW)
    said, now = NOW, NOW
    for step, wait in script:
        now += wait
        if step != "time":
            state = (user_texted if step == "user" else agent_texted)(state, now=now)
            said = now
            continue
        moved = tick(state, now=now, policy=policy)
        long_enough = policy.warn_after is not None and now - said >= policy.warn_after
        assert isinstance(moved, Warn) == long_enough
        if long_enough:
            return


def test_every_state_is_in_the_tests() -> None:
    everyone = {type(c) for c in [*make.lives(), make.closed()]}
    assert everyone == {*get_args(Live), Closed}
