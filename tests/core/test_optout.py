from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.optout import HELP, START, STOP, Word, normal, word

# PolyAI's page and Twilio's defaults (wire-compat 1.5), written out: the lists are law.
STOP_WORDS = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"]
LATER_STOP_WORDS = ["REVOKE", "OPTOUT", "OPT OUT"]
START_WORDS = ["START", "UNSTOP"]
HELP_WORDS = ["HELP", "INFO"]

MEANING: dict[str, Word] = {
    **dict.fromkeys(STOP_WORDS + LATER_STOP_WORDS, "stop"),
    **dict.fromkeys(START_WORDS, "start"),
    **dict.fromkeys(HELP_WORDS, "help"),
}
MARKS = ".!?,;"

words = st.sampled_from(sorted(MEANING))
blanks = st.text(" \t\r\n\u00a0", max_size=4)


def either_way(text: str) -> set[Word | None]:
    """What it means for a user who has opted out, and for one who has not."""
    return {word(text, opted_out=True), word(text, opted_out=False)}


@pytest.mark.parametrize(("text", "meaning"), MEANING.items())
def test_each_word_means_what_the_carriers_say(text: str, meaning: Word) -> None:
    assert either_way(text) == {meaning}


def test_there_are_no_other_words() -> None:
    assert {w.upper() for w in STOP | START | HELP} == set(MEANING)


@given(words, st.randoms(use_true_random=False), blanks, blanks, st.sampled_from(["", *MARKS]))
def test_case_blanks_around_it_and_one_mark_after_it_do_not_matter(
    text: str, random: Random, before: str, after: str, mark: str
) -> None:
    mixed = "".join(random.choice([c.lower(), c.upper()]) for c in text)
    assert either_way(before + mixed + mark + after) == {MEANING[text]}


@pytest.mark.parametrize("text", ["opt  out", "OPT\tOUT", "Opt\nout."])
def test_the_blank_in_opt_out_may_be_any(text: str) -> None:
    assert either_way(text) == {"stop"}


@given(words, st.text(MARKS, min_size=2, max_size=4))
def test_more_than_one_mark_makes_it_a_message_for_the_agent(text: str, marks: str) -> None:
    assert either_way(text + marks) == {None}


@given(words, st.text(MARKS, min_size=1, max_size=2))
def test_a_mark_before_it_makes_it_a_message_for_the_agent(text: str, marks: str) -> None:
    assert either_way(marks + text) == {None}


@pytest.mark.parametrize(
    "text",
    [
        "STOP please",
        "please STOP",
        "STOP STOP",
        "stop texting me",
        "don't stop",
        "STOPP",
        "S T O P",
        "opt-out",
        "cancel my appointment",
        "the end",
        "start over",
        "help me",
        "info@example.com",
        "yes please",
        "no",
        "",
        " ",
        "!",
        "👍",
    ],
)
def test_other_wording_goes_to_the_agent(text: str) -> None:
    assert either_way(text) == {None}


@given(words, st.text(min_size=1).filter(lambda s: any(c.isalnum() for c in s)))
def test_a_word_among_others_is_no_command(text: str, more: str) -> None:
    for whole in (f"{text} {more}", f"{more} {text}"):
        if normal(whole).upper() not in MEANING:  # "OPT" and "OUT" make one
            assert either_way(whole) == {None}


@pytest.mark.parametrize("text", ["YES", "yes", " Yes! "])
def test_yes_opts_in_who_has_opted_out(text: str) -> None:
    assert word(text, opted_out=True) == "start"


@pytest.mark.parametrize("text", ["YES", "yes", " Yes! "])
def test_yes_is_an_answer_for_the_agent_from_anybody_else(text: str) -> None:
    assert word(text, opted_out=False) is None


@pytest.mark.parametrize(
    ("text", "meaning"), [("Arrêt!", "stop"), ("  ARRÊT ", "stop"), ("Oui", "start"), ("?", None)]
)
def test_a_project_may_add_words(text: str, meaning: Word | None) -> None:
    found = word(
        text,
        opted_out=False,
        stop_words={normal("ARRÊT")},
        start_words={normal("oui")},
        help_words={normal("aide")},
    )
    assert found == meaning


def test_a_projects_words_are_added_to_the_usual_ones() -> None:
    assert word("STOP", opted_out=False, stop_words={"arrêt"}) == "stop"
    assert word("aide.", opted_out=False, help_words={"aide"}) == "help"
    assert word("HELP", opted_out=False, help_words={"aide"}) == "help"


def test_a_project_may_take_every_yes_as_start() -> None:
    assert word("Yes", opted_out=False, start_words={"yes"}) == "start"


def test_no_word_of_a_project_can_turn_stop_into_something_else() -> None:
    assert word("stop", opted_out=False, start_words={"stop"}, help_words={"stop"}) == "stop"


@given(st.text(max_size=12))
def test_a_projects_word_is_found_however_it_was_written_in_the_file(text: str) -> None:
    assert word(text, opted_out=False, stop_words={normal(text)}) == "stop"


@given(st.text(max_size=12), blanks, blanks)
def test_blanks_are_all_the_same(text: str, before: str, after: str) -> None:
    assert normal(before + text + after) == normal(text)
