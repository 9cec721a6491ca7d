import pytest
from hypothesis import given
from hypothesis import strategies as st

from textback.core.segments import count

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
