"""What an agent says is cut where a reader would pause, and nothing of it is lost."""
# ruff: noqa: RUF001 - the letters and signs themselves

import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from textback.core import segments
from textback.core.policy import Replies
from textback.core.split import MOST_PARTS, Part, parts, say

SENTENCES = (
    "We have three tables free tonight. The first is by the window, the second is near the bar, "
    "and the third is outside. Would you like one of them? I can hold it for an hour."
)
FAMILY = "👨‍👩‍👧‍👦"
PIECES = (
    *"ab \t\n.!?,;:-–—…。、！\u00a0\u200b\u0308\u200dé🎉ابдश्क漢\r",
    "\n\n",
    "Dr. ",
    "e.g. ",
    "3.5",
    "No. 5",
    "https://example.com/a?b=c.d",
    "jo@example.com",
    FAMILY,
    "🇬🇧",
    "word ",
    "Sentence. ",
)
WRITTEN = st.one_of(st.text(max_size=300), st.lists(st.sampled_from(PIECES)).map("".join))


TraceFunction: TypeAlias = Callable[[FrameType, str, object], "TraceFunction | None"]


def unspaced(text: str) -> str:
    return "".join(text.split())


def clusters(text: str) -> list[str]:
    return regex.findall(r"\X", text)


# --- Where it is cut ------------------------------------------------------------------------------


def test_a_text_that_is_short_enough_stays_as_it_is() -> None:
    assert parts(SENTENCES, longest=len(SENTENCES)) == [SENTENCES]
    assert parts("  Yes.\n", longest=4) == ["Yes."]
    assert parts(" \n ", longest=4) == []


@pytest.mark.parametrize(
    ("text", "longest", "cut"),
    [
        (
            SENTENCES,
            120,
            [
                SENTENCES[: SENTENCES.index(" Would")],
                "Would you like one of them? I can hold it for an hour.",
            ],
        ),
        ("One. Two.\n\nThree. Four. Five.", 20, ["One. Two.", "Three. Four. Five."]),
        ("Choose one:\n- red wine\n- white wine", 24, ["Choose one:\n- red wine", "- white wine"]),
        ('He said "wait!" Then he left.', 20, ['He said "wait!"', "Then he left."]),
        ("Wait (for me.) Then *go.* Bye, bye", 28, ["Wait (for me.) Then *go.*", "Bye, bye"]),
        ("first one thing, then another thing", 20, ["first one thing,", "then another thing"]),
        ("no commas are in here at all", 16, ["no commas are in", "here at all"]),
        ("abcdefghijklmnopqrstuvwxyz", 10, ["abcdefghij", "klmnopqrst", "uvwxyz"]),
    ],
)
def test_the_best_place_is_a_paragraph_then_a_sentence_a_comma_and_a_space(
    text: str, longest: int, cut: list[str]
) -> None:
    assert parts(text, longest=longest) == cut


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("我们明天九点开门。", "欢迎您来！"),
        ("営業時間は九時からです！", "お待ちしています。"),
        ("هل تريد موعدا غدا؟", "أجبنا من فضلك."),
        ("कल नौ बजे आइए।", "धन्यवाद।"),
        ("Откроемся завтра…", "Приходите!"),
        ("ነገ እንገናኛለን።", "አመሰግናለሁ።"),
    ],
)
def test_sentences_of_other_scripts_end_too(first: str, second: str) -> None:
    joined = first + ("" if first[-1] in "。！" else " ") + second

    assert parts(joined, longest=len(joined) - 1) == [first, second]


@pytest.mark.parametrize(
    "sentence",
    [
        "Please ask for Dr. Smith",
        "Please ask for J. Smith",
        "It is by J. R. R. Tolkien",
        "Bring papers, e.g. Form A",
        "Your seat is No. 5",
        "Wir sehen uns am 3. Mai",
        "Wir haben Zimmer Nr. 12",
        "Das gilt z.B. Montags",
        "Pregunte por la Sra. García",
        "It is approx. Five miles",
        "It was Kramer vs. Kramer",
        "He lives on St. James",
        "They live in the U.S. East",
        "It depends... on the day",
        "It depends… on the day",
    ],
)
def test_a_full_stop_within_a_sentence_does_not_end_it(sentence: str) -> None:
    first = "That is all right with us."

    cut = parts(f"{first} {sentence}.", longest=len(first) + len(sentence))

    assert cut == [first, sentence + "."]


@pytest.mark.parametrize(
    "sentence", ["It costs 3.50 today.", "It is 9.30 now.", "See example.com now.", "Ask a@b.co."]
)
def test_numbers_times_and_addresses_are_never_cut(sentence: str) -> None:
    for longest in range(max(map(len, sentence.split())), len(sentence)):
        assert " ".join(parts(sentence, longest=longest)) == sentence


@pytest.mark.parametrize(
    "address", ["https://example.com/book?day=3.5&x=a-b", "www.example.com/a", "jo@example.com"]
)
@pytest.mark.parametrize(
    "around", ["x" * 30 + "{}" + "y" * 30, "请看{}谢谢您的来信我们会回复的请等一下"]
)
def test_an_address_that_fits_into_a_part_is_never_cut(address: str, around: str) -> None:
    spaced = around.format(f" {address} ")
    run_together = around.format(address)

    assert any(address in part for part in parts(spaced, longest=len(address)))
    if around.startswith("请"):  # among letters nobody could tell where it begins
        assert any(address in part for part in parts(run_together, longest=len(address)))


def test_an_address_that_is_longer_than_a_text_is_cut_all_the_same() -> None:
    address = "https://example.com/" + "a" * 100

    assert "".join(parts(address, longest=50)) == address


def test_a_name_is_not_torn_from_its_title_at_a_line_of_words() -> None:
    assert parts("you will be seen by Dr. Smith", longest=24) == [
        "you will be seen by",
        "Dr. Smith",
    ]


def test_a_space_that_ties_is_no_place_to_cut() -> None:
    assert parts("it costs 10\u00a0000 euros", longest=13) == ["it costs", "10\u00a0000 euros"]


@pytest.mark.parametrize("letter", [FAMILY, "🇬🇧", "e\u0301\u0323", "👍🏽", "நி", "각"])
def test_what_is_seen_as_one_character_is_never_cut(letter: str) -> None:
    for longest in range(len(letter), 3 * len(letter)):
        assert all(set(clusters(part)) == {letter} for part in parts(letter * 9, longest=longest))


def test_the_last_part_is_no_single_word_if_that_can_be() -> None:
    assert parts("word " * 24 + "Bye", longest=119) == ["word " * 19 + "word", "word " * 4 + "Bye"]
    long, short = "This is a sentence of some length. ", "So be it. "
    assert parts(long * 3 + short + "Bye.", longest=116) == [
        (long * 2).strip(),
        long + short + "Bye.",
    ]


@given(WRITTEN, st.integers(1, 60))
@example(" \u0308" * 3, 1)
@example("a\r\nb\u00a0\u00a0c", 1)
def test_nothing_is_lost_and_every_part_is_short_enough(text: str, longest: int) -> None:
    cut = parts(text, longest=longest)

    assert unspaced("".join(cut)) == unspaced(text)
    assert all(1 <= len(part) <= longest and part.strip() for part in cut)
    rest = text
    for part in cut:  # they are the text's own pieces, with white space alone between them
        between, found, rest = rest.partition(part)
        assert found
        assert not between.strip()
    assert not rest.strip()


@given(WRITTEN, st.integers(1, 60))
def test_parts_are_not_cut_again(text: str, longest: int) -> None:
    for part in parts(text, longest=longest):
        assert unspaced("".join(parts(part, longest=longest))) == unspaced(part)
        if part == part.strip():
            assert parts(part, longest=longest) == [part]


@given(WRITTEN, st.integers(30, 60))
def test_no_character_is_cut_in_two(text: str, longest: int) -> None:
    text = text.strip()
    whole = [cluster for cluster in clusters(text) if cluster.strip()]

    if all(len(cluster) <= longest for cluster in whole):
        cut = parts(text, longest=longest)
        assert [c for part in cut for c in clusters(part) if c.strip()] == whole


# --- What goes out --------------------------------------------------------------------------------


def test_several_texts_of_an_answer_are_split_each_for_itself() -> None:
    said = say(["Hello!", " ", SENTENCES], Replies(longest=120))

    assert [part.text for part in said] == ["Hello!", *parts(SENTENCES, longest=120)]


def test_each_part_is_folded_and_tells_what_that_saved() -> None:
    dear, cheap = "It’s " + "a" * 60 + " — really…", "Plain."

    assert say([dear, cheap, "It’s 🎉 " * 10], Replies()) == [
        Part("It's " + "a" * 60 + " - really...", 1),
        Part("Plain."),
        Part(("It’s 🎉 " * 10).strip()),
    ]
    assert say([dear], Replies(fold=False)) == [Part(dear)]


def test_an_emoji_in_one_part_leaves_the_others_plain() -> None:
    first, second = "It’s fine. " * 10, "That’s it 🎉. " * 10

    said = say([first + "\n\n" + second], Replies(longest=140))

    assert said[0] == Part(first.strip().replace("’", "'"), 1)
    assert all("’" in part.text for part in said[1:])


def test_what_folding_would_make_too_long_stays_as_it_was() -> None:
    text = "a" * 98 + "…"

    assert say([text], Replies(longest=100)) == [Part(text)]
    assert say([text], Replies(longest=101)) == [Part("a" * 98 + "...", 1)]


def test_a_text_is_never_longer_than_carriers_take() -> None:
    assert max(len(part.text) for part in say(["a" * 3000], Replies(longest=5000))) <= 1600


@pytest.mark.parametrize("texts", [["a"] * 11, ["a" * 4801], ["a" * 480] * 9 + ["a" * 481]])
def test_an_answer_of_too_many_parts_is_none(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="10 texts of 480"):
        say(texts, Replies())


@given(st.lists(WRITTEN, max_size=3), st.integers(20, 300), st.booleans())
def test_an_answer_goes_out_whole_or_not_at_all(texts: list[str], longest: int, fold: bool) -> None:  # noqa: FBT001
    try:
        said = say(texts, Replies(longest=longest, fold=fold))
    except ValueError:
        assert sum(len(parts(text, longest=longest)) for text in texts) > MOST_PARTS // 2
        return
    assert len(said) <= MOST_PARTS
    assert all(0 < len(part.text) <= longest and part.text.strip() for part in said)
    assert all(part.saved >= 0 for part in said)
    if not fold:
        assert unspaced("".join(p.text for p in said)) == unspaced("".join(texts))


# --- How much work it is --------------------------------------------------------------------------


def steps(work: Callable[[], object]) -> int:
    """Lines of Python that it runs."""
    taken = 0

    def line(_frame: FrameType, event: str, _arg: object) -> TraceFunction:
        nonlocal taken
        taken += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(line)
    try:
        work()
    finally:
        sys.settrace(before)
    return taken


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a ",
        "a. ",
        "Dr. ",
        "。",
        "…",
        "a.b",
        "\u00a0a",
        "www.",
        "(",
        "e\u0301",
        FAMILY,
        ". ",
        "\n\n",
        "@a.",
    ],
)
def test_the_work_grows_with_the_length(piece: str) -> None:
    small, large = (piece * (n // len(piece)) for n in (25_000, 100_000))

    more = steps(lambda: parts(large, longest=480))

    assert more < 4.5 * steps(lambda: parts(small, longest=480)) + 200
    assert more < 30 * 100_000


def test_a_book_is_refused_before_it_is_cut() -> None:
    def tell() -> None:
        with pytest.raises(ValueError, match="longer than 10"):
            say(["a. " * 1_000_000], Replies())

    assert steps(tell) < 5_000
    assert segments.count("a" * 1600) == 11
