"""What a text costs, by the standards; and that writing it plainly never costs more."""
# ruff: noqa: RUF001 - the letters and signs themselves

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.segments import Size, count, fold, size

GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = "\f^{}\\[~]|€"


@pytest.mark.parametrize(
    ("length", "segments"),
    [(0, 1), (1, 1), (160, 1), (161, 2), (306, 2), (307, 3), (459, 3), (460, 4), (1600, 11)],
)
def test_plain_text_is_cut_at_160_and_then_at_each_153(length: int, segments: int) -> None:
    assert count("a" * length) == segments


@pytest.mark.parametrize(
    ("length", "segments"),
    [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4), (1600, 24)],
)
def test_other_scripts_are_cut_at_70_and_then_at_each_67(length: int, segments: int) -> None:
    assert count("щ" * length) == segments


@pytest.mark.parametrize(
    ("length", "segments"), [(35, 1), (36, 2), (66, 2), (67, 3), (99, 3), (100, 4)]
)
def test_an_emoji_is_two_units_and_never_cut_in_two(length: int, segments: int) -> None:
    # 67 units hold 33 emoji and leave one unit empty.
    assert count("🎉" * length) == segments


@pytest.mark.parametrize("letter", EXTENSION)
def test_an_extension_letter_is_two_septets(letter: str) -> None:
    assert count(letter * 80) == 1
    assert count(letter * 80 + "a") == 2


@pytest.mark.parametrize("letter", EXTENSION)
def test_an_extension_letter_is_never_cut_in_two(letter: str) -> None:
    # 153 septets hold 76 of them and leave one septet empty.
    assert count(letter * 152) == 2
    assert count(letter * 153) == 3


def test_one_letter_outside_the_alphabet_changes_what_all_others_cost() -> None:
    assert count("a" * 160) == 1
    assert count("a" * 159 + "ç") == 3  # GSM 7-bit has the capital only


def test_the_whole_alphabet_is_127_letters_and_10_in_the_extension() -> None:
    assert len(set(GSM)) == 127
    assert count(GSM + "a" * (160 - 127)) == 1
    assert count(GSM + "a" * (161 - 127)) == 2
    assert count(EXTENSION + "a" * 140) == 1
    assert count(EXTENSION + "a" * 141) == 2


@given(st.text(alphabet=GSM + EXTENSION, max_size=1600))
def test_plain_segments_hold_at_most_their_septets_and_waste_at_most_one_each(text: str) -> None:
    septets = len(text) + sum(letter in EXTENSION for letter in text)
    if septets <= 160:
        assert count(text) == 1
    else:
        assert -(-septets // 153) <= count(text) <= -(-septets // 152)


@given(st.text(max_size=800), st.text(max_size=800))
def test_a_longer_text_is_never_fewer_segments(text: str, more: str) -> None:
    assert count(text + more) >= count(text) >= 1


@given(st.text(max_size=1600).filter(lambda text: not set(text) <= set(GSM + EXTENSION)))
def test_wide_segments_hold_at_most_their_units_and_waste_at_most_one_each(text: str) -> None:
    units = len(text.encode("utf-16-le")) // 2
    if units <= 70:
        assert count(text) == 1
    else:
        assert -(-units // 67) <= count(text) <= -(-units // 66)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Size("GSM-7", 0, 1)),
        ("a" * 160, Size("GSM-7", 160, 1)),
        ("a" * 161, Size("GSM-7", 161, 2)),
        ("a" * 158 + "€", Size("GSM-7", 160, 1)),
        ("a" * 159 + "€", Size("GSM-7", 161, 2)),
        ("щ" * 70, Size("UCS-2", 70, 1)),
        ("щ" * 69 + "🎉", Size("UCS-2", 71, 2)),
    ],
)
def test_a_size_is_the_alphabet_its_units_and_the_segments(text: str, expected: Size) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("n", [2, 3, 4, 10])
def test_an_extension_letter_that_would_be_cut_goes_into_the_next_segment(n: int) -> None:
    full = 153 * n  # TS 23.038: the escape and its letter stay together
    assert count("a" * full) == n
    assert count("a" * (full - 2) + "€") == n
    assert count("a" * (153 * (n - 1) - 1) + "€" + "a" * 152) == n + 1
    assert count("a" * (153 * (n - 1) - 2) + "€" + "a" * 153) == n


@pytest.mark.parametrize("n", [2, 3, 4, 10])
def test_a_surrogate_pair_that_would_be_cut_goes_into_the_next_segment(n: int) -> None:
    full = 67 * n
    assert count("щ" * full) == n
    assert count("щ" * (full - 2) + "🎉") == n
    assert count("щ" * (67 * (n - 1) - 1) + "🎉" + "щ" * 66) == n + 1
    assert count("щ" * (67 * (n - 1) - 2) + "🎉" + "щ" * 67) == n


@given(st.text(max_size=300))
def test_the_units_are_septets_or_utf_16(text: str) -> None:
    found = size(text)

    if set(text) <= set(GSM + EXTENSION):
        assert found.encoding == "GSM-7"
        assert found.units == len(text) + sum(letter in EXTENSION for letter in text)
    else:
        assert found.encoding == "UCS-2"
        assert found.units == len(text.encode("utf-16-le")) // 2


# --- Writing it plainly ---------------------------------------------------------------------------

FILL = "a" * 70
"""With it, one letter outside GSM-7 makes two segments of one."""

FOLDED = {
    "“Hi” „there‟ «you»": '"Hi" "there" "you"',
    "It’s ‘ok’ ‚now‛ ‹so›": "It's 'ok' 'now' 'so'",
    "5′ 3″": "5' 3\"",
    "9–17 h ‑ − ‒": "9-17 h - - -",
    "well—maybe, or — not": "well - maybe, or - not",
    "wait… ok": "wait... ok",
    "10\u00a0000\u202fkm\u2009is\u3000far\tout": "10 000 km is far out",
    "a\u200bb\u2060c\ufeffd\u00ade": "abcde",
    "one\u2028two": "one\ntwo",
    "• one ◦ two": "- one - two",
    "ＦＵＬＬ　ｗｉｄｔｈ！？": "FULL width!?",
    "eﬃcient ﬁsh ﬂoat": "efficient fish float",
    "A → B ← C ⇒ D": "A -> B <- C => D",
    "cafe\u0301 u\u0308ber n\u0303": "café über ñ",
    "\u212bngstro\u0308m \u2126": "Ångström Ω",
    "`x` ´y´": "'x' 'y'",
}


@pytest.mark.parametrize("smart", FOLDED)
def test_smart_punctuation_is_written_plainly_where_that_is_cheaper(smart: str) -> None:
    assert fold(FILL + smart) == FILL + FOLDED[smart]
    assert (count(FILL + smart), count(FILL + FOLDED[smart])) == (2, 1)


@pytest.mark.parametrize(
    "text",
    [
        "It’s “fine”",  # one segment either way
        FILL + "It’s fine 🎉",
        FILL + "Idę na łódź — jutro…",  # letters stay what they are
        FILL + "ça va — garçon",
        FILL + "2½ – 3¾",  # 21/2 is another number
        FILL + "10² — m²",
        FILL + "20° – 25°",
        "Привет — как дела…" * 5,
        "\u200b" * 80,  # nothing would be left
        "Plain already.",
    ],
)
def test_what_would_not_be_cheaper_or_not_the_same_stays_as_it_is(text: str) -> None:
    assert fold(text) == text


def test_as_many_segments_of_fewer_units_are_cheaper() -> None:
    assert fold("cafe\u0301") == "café"


SMART = "".join(FOLDED) + "łç½²🎉щ漢 {}€" + GSM


@given(st.one_of(st.text(alphabet=SMART, max_size=400), st.text(max_size=400)))
def test_folding_never_costs_more_and_never_touches_a_letter(text: str) -> None:
    folded = fold(text)

    before, after = size(text), size(folded)
    assert (after.segments, after.units) <= (before.segments, before.units) or folded == text
    assert fold(folded) == folded
    assert bool(folded.strip()) == bool(text.strip()) or folded == text
    if folded != text:
        assert after.encoding == "GSM-7"
        assert letters(folded) == letters(unicodedata.normalize("NFKC", text))


def letters(text: str) -> str:
    return "".join(c for c in text if c.isalnum())
