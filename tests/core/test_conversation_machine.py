"""One conversation in every order of texts, deadlines that are kept late, pauses and closes."""

import re
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests import make
from tests.make import NOW
from textback.core.conversation import (
    Close,
    Closed,
    CloseReason,
    Conversation,
    Engaged,
    HandedOff,
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

CHART = re.findall(
    r"^    (\w+) --> (\w+): ",
    (Path(__file__).parents[2] / "docs/states.md").read_text().split("## A conversation")[1],
    re.MULTILINE,
)
REASONS: list[CloseReason] = ["superseded", "opted_out", "agent_ended", "operator"]
spans = st.integers(1, 3 * 86_400).map(lambda s: timedelta(seconds=s))
policies = st.builds(
    IdlePolicy,
    warn_after=st.none() | spans,
    close_after=spans,
    unanswered_after=st.none() | spans,
    closing=st.none() | st.just("Goodbye."),
)


class OneConversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = NOW
        self.policy = IdlePolicy()
        self._talk: Conversation = make.opened()
        self.said_at = NOW
        """When the last text was said, or the agent's silence ended."""
        self.warned_at: datetime | None = None
        """Since then nobody has said anything."""
        self.closes = 0

    @initialize(policy=policies)
    def begin(self, policy: IdlePolicy) -> None:
        self.policy = policy

    @property
    def talk(self) -> Conversation:
        return self._talk

    @talk.setter
    def talk(self, after: Conversation) -> None:
        move = type(self._talk).__name__, type(after).__name__
        assert move in CHART, f"{move} is not in docs/states.md"
        self._talk = after
        self.closes += isinstance(after, Closed)

    # What happens

    @rule(span=spans)
    def time_passes(self, span: timedelta) -> None:
        self.now += span

    @rule(early=st.sampled_from([timedelta(0), timedelta(microseconds=1), timedelta(minutes=1)]))
    def the_deadline_comes(self, early: timedelta) -> None:
        due = deadline(self.talk, self.policy)
        if due is not None:
            self.now = max(self.now, due - early)

    @rule()
    @precondition(lambda self: not isinstance(self.talk, Closed))
    def user_texts(self) -> None:
        assert not isinstance(self.talk, Closed)
        self.talk = user_texted(self.talk, now=self.now)
        self.somebody_spoke()

    @rule()
    @precondition(lambda self: not isinstance(self.talk, Closed))
    def agent_texts(self) -> None:
        assert not isinstance(self.talk, Closed)
        self.talk = agent_texted(self.talk, now=self.now)
        self.somebody_spoke()

    @rule(span=spans)
    @precondition(lambda self: isinstance(self.talk, Engaged))
    def too_many_replies(self, span: timedelta) -> None:
        assert isinstance(self.talk, Engaged)
        self.talk = paused(self.talk, until=self.now + span)

    @rule()
    @precondition(lambda self: not isinstance(self.talk, HandedOff | Closed))
    def a_person_takes_it_over(self) -> None:
        assert not isinstance(self.talk, HandedOff | Closed)
        self.talk = handed_off(self.talk, "a refund", now=self.now)
        self.warned_at = None

    @rule()
    @precondition(lambda self: isinstance(self.talk, Paused | HandedOff))
    def it_is_resumed(self) -> None:
        assert isinstance(self.talk, Paused | HandedOff)
        self.talk = resumed(self.talk, now=self.now)
        self.somebody_spoke()

    @rule(reason=st.sampled_from(REASONS))
    @precondition(lambda self: not isinstance(self.talk, Closed))
    def somebody_closes(self, reason: CloseReason) -> None:
        assert not isinstance(self.talk, Closed)
        self.talk = close(self.talk, reason, now=self.now)

    @rule(workers=st.integers(1, 3))
    def deadlines_are_kept(self, workers: int) -> None:
        """By however many workers, one after the other: they lock it."""
        for _ in range(workers):
            if not isinstance(self.talk, Closed):
                self.tick()

    def tick(self) -> None:
        before, due = self.talk, deadline(self.talk, self.policy)
        assert not isinstance(before, Closed)
        then = tick(before, now=self.now, policy=self.policy)
        assert isinstance(then, Wait) == (due is None or self.now < due), "early, or not at all"
        match then:
            case Wait():
                return
            case Warn(after=after, text=text):
                assert self.warned_at is None, "warned twice in one silence"
                assert isinstance(before, Engaged)
                assert self.now - self.said_at >= (self.policy.warn_after or timedelta.max)
                assert text == self.policy.warning
                self.warned_at = self.now
            case Resume(after=after):
                self.somebody_spoke()
            case Close(after=after, text=text):
                if isinstance(before, Warned):
                    assert self.warned_at is not None
                    assert self.now - self.warned_at >= self.policy.close_after, "no full grace"
                    assert (after.reason, text) == ("idle", self.policy.closing)
                else:
                    assert isinstance(before, Opened), "closed without a warning"
                    assert self.now - self.said_at >= (
                        self.policy.unanswered_after or timedelta.max
                    )
                    assert (after.reason, text) == ("unanswered", None)
        self.talk = after

    def somebody_spoke(self) -> None:
        self.said_at, self.warned_at = self.now, None

    # What must hold

    @invariant()
    def closes_once(self) -> None:
        assert self.closes == isinstance(self.talk, Closed)

    @invariant()
    def a_longer_policy_is_no_earlier_deadline(self) -> None:
        longer = IdlePolicy(
            warn_after=_longer(self.policy.warn_after),
            close_after=self.policy.close_after * 2,
            unanswered_after=_longer(self.policy.unanswered_after),
        )
        short, long = deadline(self.talk, self.policy), deadline(self.talk, longer)
        assert (short is None) == (long is None)
        assert short is None or long is None or short <= long

    @invariant()
    def a_text_puts_the_deadline_off(self) -> None:
        if isinstance(self.talk, Closed):
            assert deadline(self.talk, self.policy) is None
            return
        for after in (
            user_texted(self.talk, now=self.now),
            agent_texted(self.talk, now=self.now),
        ):
            due = deadline(after, self.policy)
            assert due is None or isinstance(after, Paused) or due > self.now

    @invariant()
    def a_person_is_never_hurried(self) -> None:
        if isinstance(self.talk, HandedOff):
            assert deadline(self.talk, self.policy) is None
            assert self.warned_at is None

    def teardown(self) -> None:
        """If nobody says anything more, it ends, unless its policy says that it never does.

        Or unless a person has it.
        """
        for _ in range(4):
            self.the_deadline_comes(timedelta(0))
            self.deadlines_are_kept(2)
        match self.talk:
            case Opened():
                assert self.policy.unanswered_after is None
            case Engaged():
                assert self.policy.warn_after is None
            case Closed():
                self.closes_once()
            case HandedOff():
                self.a_person_is_never_hurried()
            case Warned() | Paused():
                raise AssertionError(f"left {self.talk}")


def _longer(span: timedelta | None) -> timedelta | None:
    return None if span is None else span * 2


def test_a_conversation_is_warned_once_in_a_silence_and_closed_once() -> None:
    run_state_machine_as_test(
        OneConversation, settings=settings(max_examples=200, stateful_step_count=20, deadline=None)
    )
