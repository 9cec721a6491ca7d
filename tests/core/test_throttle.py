from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.make import NOW
from textback.core.gcra import Rate
from textback.core.ids import ProjectId
from textback.core.policy import InboundLimits, RepeatLimit
from textback.core.throttle import Heard, Lately, Verdict, look_back, of_project, of_sender

LIMITS = InboundLimits()
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
INSTANT = timedelta(microseconds=1)

# Keywords have no tests here: they are handled before, and are not among the texts heard.


def heard(*ago: timedelta, text: str | None = None, answered: bool = True) -> list[Heard]:
    """Texts from so long ago; different ones, unless `text` is given."""
    return [
        Heard(NOW - span, text or f"text of {span}", answered=answered)
        for span in sorted(ago, reverse=True)
    ]


def verdict(text: str, earlier: Sequence[Heard], limits: InboundLimits = LIMITS) -> Verdict | None:
    return of_sender(text, earlier, limits, now=NOW)


def test_a_first_text_is_answered() -> None:
    assert verdict("hello", []) is None


# 10 in 60 seconds


def test_the_tenth_text_within_a_minute_is_answered() -> None:
    assert verdict("hello", heard(*[n * SECOND for n in range(9)])) is None


def test_the_eleventh_text_within_a_minute_is_not() -> None:
    assert verdict("hello", heard(*[n * SECOND for n in range(10)])) == "rate_limit"


def test_a_text_counts_for_just_under_a_minute() -> None:
    nine = [n * SECOND for n in range(9)]
    assert verdict("hello", heard(*nine, MINUTE - INSTANT)) == "rate_limit"
    assert verdict("hello", heard(*nine, MINUTE)) is None


def test_a_text_that_got_no_answer_does_not_prolong_the_limit() -> None:
    earlier = heard(*[n * SECOND for n in range(30)], answered=False)
    assert verdict("hello", earlier) is None


@given(
    st.integers(1, 5),
    st.integers(1, 20),
    st.lists(st.integers(0, 5).map(lambda n: n * SECOND), max_size=40),
)
def test_no_window_of_time_has_more_answers_than_the_limit(
    amount: int, seconds: int, pauses: Sequence[timedelta]
) -> None:
    limits = InboundLimits(per_sender=Rate(amount, seconds))
    now, texts = NOW, list[Heard]()
    for n, pause in enumerate(pauses):
        now += pause
        over = of_sender(f"text {n}", texts, limits, now=now)
        texts.append(Heard(now, f"text {n}", answered=over is None))
    answers = [t.at for t in texts if t.answered]
    for first in answers:
        window = [at for at in answers if first <= at < first + seconds * SECOND]
        assert len(window) <= amount


# 5 equal texts in 5 minutes block for 10


def test_four_equal_texts_are_answered() -> None:
    assert verdict("hello", heard(3 * SECOND, 2 * SECOND, SECOND, text="hello")) is None


def test_the_fifth_equal_text_within_5_minutes_blocks() -> None:
    four = [n * MINUTE for n in (5, 3, 2, 1)]
    assert verdict("hello", heard(*four, text="hello")) == "abuse_block"


def test_equal_texts_spread_over_more_than_5_minutes_do_not_block() -> None:
    four = [5 * MINUTE + INSTANT, *[n * MINUTE for n in (3, 2, 1)]]
    assert verdict("hello", heard(*four, text="hello")) is None


def test_case_and_blanks_do_not_make_a_text_different() -> None:
    earlier = [*heard(3 * SECOND, 2 * SECOND, text="HELLO "), *heard(SECOND, text=" Hello")]
    earlier += heard(SECOND, text="hello")
    assert verdict("hello\n", earlier) == "abuse_block"


def test_other_texts_in_between_do_not_hide_the_repetition() -> None:
    pattern = ["hello", "x", "hello", "y", "hello", "z", "hello", "w"]
    earlier = [Heard(NOW - (9 - n) * SECOND, text, answered=True) for n, text in enumerate(pattern)]
    assert verdict("hello", earlier) == "abuse_block"


def test_texts_kept_without_an_answer_are_repetitions_too() -> None:
    four = [n * SECOND for n in (4, 3, 2, 1)]
    assert verdict("hello", heard(*four, text="hello", answered=False)) == "abuse_block"


def test_a_blocked_sender_gets_no_answer_to_anything() -> None:
    five = [n * SECOND for n in (5, 4, 3, 2, 1)]
    assert verdict("something else", heard(*five, text="hello")) == "abuse_block"


def test_a_block_ends_10_minutes_after_the_last_repetition() -> None:
    five = [10 * MINUTE + n * SECOND for n in range(5)]
    assert verdict("sorry", heard(*five, text="hello")) is None
    five[0] -= INSTANT
    assert verdict("sorry", heard(*five, text="hello")) == "abuse_block"


def test_saying_it_once_more_begins_the_10_minutes_anew() -> None:
    five = [11 * MINUTE + n * SECOND for n in range(5)]
    assert verdict("sorry", heard(*five, text="hello")) is None
    again = heard(*five, text="hello") + heard(9 * MINUTE, text="hello", answered=False)
    assert verdict("sorry", again) == "abuse_block"


def test_saying_something_else_does_not_prolong_a_block() -> None:
    five = [10 * MINUTE + n * SECOND for n in range(5)]
    earlier = heard(*five, text="hello") + heard(9 * MINUTE, text="sorry", answered=False)
    assert verdict("sorry", earlier) is None


def test_a_block_is_reported_before_the_rate() -> None:
    earlier = heard(*[n * SECOND for n in range(10)], text="hello")
    assert verdict("hello", earlier) == "abuse_block"


def test_pictures_without_words_do_not_repeat_each_other() -> None:
    # "Send us photos of the damage": the fifth one once blocked the sender for ten minutes.
    assert verdict("", heard(*[n * SECOND for n in (5, 4, 3, 2, 1)], text=" ")) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200), st.booleans()), max_size=40),
    st.sampled_from("abc"),
)
def test_texts_older_than_we_look_back_make_no_difference(
    script: Sequence[tuple[str, int, bool]], text: str
) -> None:
    now, texts = NOW - sum(pause for _, pause, _ in script) * SECOND, list[Heard]()
    for words, pause, answered in script:
        now += pause * SECOND
        texts.append(Heard(now, words, answered=answered))
    since = NOW - look_back(LIMITS)
    assert verdict(text, [t for t in texts if t.at > since]) == verdict(text, texts)


def test_how_far_we_look_back_is_the_longer_of_both_limits() -> None:
    assert look_back(LIMITS) == 15 * MINUTE
    slow = InboundLimits(
        per_sender=Rate(10, 3600), repeats=RepeatLimit(within=MINUTE, block=MINUTE)
    )
    assert look_back(slow) == 60 * MINUTE


# 100 per minute and project


@pytest.mark.parametrize(
    ("answered", "expected"),
    [(0, None), (99, None), (100, "project_limit"), (200, "project_limit")],
)
def test_a_project_answers_100_texts_in_its_window(answered: int, expected: Verdict | None) -> None:
    assert of_project(answered, LIMITS) == expected


# ... counted only when it must be

PROJECT = ProjectId("reminders")


class Processes:
    """Some processes that hear texts of one project, and what they answered."""

    def __init__(self, limit: Rate, many: int) -> None:
        self.limit, self.lately = limit, [Lately() for _ in range(many)]
        self.let_through: list[datetime] = []
        self.counts = 0

    def within(self, at: datetime) -> int:
        since = at - timedelta(seconds=self.limit.seconds)
        return sum(since < when <= at for when in self.let_through)

    def hear(self, nth: int, at: datetime) -> bool:
        lately = self.lately[nth]
        answered = lately.known(PROJECT, self.limit, at=at)
        if answered is None:
            self.counts += 1
            answered = min(self.within(at), int(self.limit.amount))
            lately.counted(PROJECT, self.limit, answered, at=at)
        answers = of_project(answered, InboundLimits(per_project=self.limit)) is None
        if answers:
            self.let_through.append(at)
        return answers


def limits_and_times(*, processes: int) -> st.SearchStrategy[tuple[int, list[tuple[int, int]]]]:
    """A limit, and of each text which process hears it, and how long after the one before."""
    text = st.tuples(st.integers(0, processes - 1), st.sampled_from([0, 0, 0, 0, 1, 40, 1000]))
    return st.tuples(st.integers(1, 400), st.lists(text, min_size=100, max_size=500))


@given(limits_and_times(processes=1))
def test_one_process_never_exceeds_a_limit_and_refuses_for_a_64th_of_its_time_more(
    given_: tuple[int, list[tuple[int, int]]],
) -> None:
    amount, texts = given_
    heard, at = Processes(Rate(amount, 10), 1), NOW
    full_at = NOW - MINUTE
    for _, after in texts:
        at += timedelta(milliseconds=after)
        within = heard.within(at)
        answered = heard.hear(0, at)
        assert heard.within(at) <= amount
        if within >= amount:
            full_at = at
        if not answered:
            assert at - full_at < timedelta(seconds=10) / 64 or within >= amount


@given(limits_and_times(processes=1), st.integers(1, 128))
def test_up_to_128_texts_are_counted_exactly_by_any_number_of_processes(
    given_: tuple[int, list[tuple[int, int]]], amount: int
) -> None:
    heard, at = Processes(Rate(amount, 10), 3), NOW
    for nth, (_, after) in enumerate(given_[1]):
        at += timedelta(milliseconds=after)
        heard.hear(nth % 3, at)
        assert heard.within(at) <= amount


@given(limits_and_times(processes=4))
def test_each_process_exceeds_a_limit_by_no_more_than_a_64th(
    given_: tuple[int, list[tuple[int, int]]],
) -> None:
    amount, texts = given_
    heard, at = Processes(Rate(amount, 10), 4), NOW
    for nth, after in texts:
        at += timedelta(milliseconds=after)
        heard.hear(nth, at)
        assert heard.within(at) <= amount + 3 * (amount // 64)


def test_far_from_a_limit_hardly_any_text_is_counted() -> None:
    heard = Processes(Rate(1_000_000, 60), 1)
    for n in range(2_000):
        heard.hear(0, NOW + n * timedelta(milliseconds=5))
    assert heard.counts == 65  # up to 64 they are few


def test_what_is_over_a_large_limit_is_not_counted_each_time() -> None:
    heard = Processes(Rate(640, 64), 1)
    for n in range(2_000):
        heard.hear(0, NOW + n * timedelta(milliseconds=1))
    before = heard.counts
    assert not any(heard.hear(0, NOW + SECOND * (10 + n / 100)) for n in range(100))
    assert heard.counts - before <= 2


def test_a_changed_limit_holds_at_once() -> None:
    lately = Lately()
    lately.counted(PROJECT, Rate(10_000, 60), 100, at=NOW)
    assert lately.known(PROJECT, Rate(10_000, 60), at=NOW) == 100
    assert lately.known(PROJECT, Rate(50, 60), at=NOW) is None
    assert lately.known(ProjectId("other"), Rate(10_000, 60), at=NOW) is None


def test_a_text_that_was_said_before_the_count_is_counted_for_itself() -> None:
    lately = Lately()
    lately.counted(PROJECT, Rate(10_000, 60), 100, at=NOW)
    assert lately.known(PROJECT, Rate(10_000, 60), at=NOW - INSTANT) is None
