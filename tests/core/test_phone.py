import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from textback.core.phone import (
    Phone,
    agent_address,
    agent_number,
    bare,
    channel,
    is_messaging_service,
    is_possible_by_length,
    is_short_code,
    is_toll_free,
    masked,
    region,
    user_address,
    user_number,
)

digits = st.text("0123456789", max_size=13)
codes = st.sampled_from(list(COUNTRY_CODE_TO_REGION_CODE))
of_countries = st.tuples(codes, digits).map(lambda both: f"+{both[0]}{both[1]}")
made_up = st.from_regex(r"\+[1-9][0-9]{1,14}", fullmatch=True)


@given(of_countries | made_up)
def test_what_its_length_tells_of_a_number_is_what_the_library_says(number: str) -> None:
    known = is_possible_by_length(number)
    try:
        found = phonenumbers.is_possible_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        found = False
    assert known in {None, found}


SERVICE = "MG" + "0aF9" * 8
NUMBER = "+14155550100"


@pytest.mark.parametrize(
    "number",
    [
        "+14155550100",
        "+14155550199",
        "+12025550143",
        "+447700900123",
        "+491711234567",
        "+6591234567",
    ],
)
def test_a_number_of_a_country_passes_also_one_reserved_for_examples(number: str) -> None:
    assert user_number(number) == number
    assert agent_number(number) == number


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "+",
        "14155550100",
        "0014155550100",
        "+04155550100",
        "+1 415 555 0100",
        "+1-415-555-0100",
        "(415) 555-0100",
        " +14155550100",
        "+14155550100 ",
        "+14155550100\n",
        "\n+14155550100",
        "+14155550100x",
        "tel:+14155550100",
        "rcs:+14155550100",
        "++14155550100",
        "+1415555010O",
        "\u202a+14155550100",
        "\uff0b14155550100",
    ],
)
def test_nothing_is_stripped_or_repaired(raw: str) -> None:
    assert user_number(raw) is None
    assert agent_number(raw) is None


@pytest.mark.parametrize("digits", ["٤١٥٥٥٥٠١٠٠", "４１５５５５０１００", "४१५५५५०१००"])  # noqa: RUF001 - digits that are not ASCII are the point
def test_only_ascii_digits_are_digits(digits: str) -> None:
    assert user_number("+1" + digits) is None


@pytest.mark.parametrize(
    "raw",
    ["+10", "+1415555", "+1415555010", "+141555501000", "+1234567890123456", "+99912345678"],
)
def test_a_number_no_country_has_is_refused(raw: str) -> None:
    assert user_number(raw) is None


@pytest.mark.parametrize("code", ["123", "12345", "262966", "12345678"])
def test_a_short_code_can_be_our_number_and_never_a_users(code: str) -> None:
    assert agent_number(code) == code
    assert is_short_code(Phone(code))
    assert user_number(code) is None


@pytest.mark.parametrize("raw", ["12", "123456789", "12a45", "12345\n", "٤١٥٥٥"])
def test_what_is_no_short_code_is_no_number_of_ours(raw: str) -> None:
    assert agent_number(raw) is None


@given(st.text(max_size=20) | st.from_regex(r"\+\d{1,16}", fullmatch=True))
def test_what_passes_is_plain_e164_as_it_was_written(raw: str) -> None:
    number = user_number(raw)
    if number is not None:
        assert number == raw
        assert number.isascii()
        assert number[0] == "+"
        assert number[1:].isdecimal()
        assert 2 <= len(number[1:]) <= 15
        assert not is_short_code(number)


@pytest.mark.parametrize(
    ("number", "country"),
    [
        ("+14165550100", "CA"),
        ("+14155550100", "US"),
        ("+447700900123", "GB"),
        ("+491711234567", "DE"),
        ("12345", None),
    ],
)
def test_the_country_is_told_from_the_number(number: str, country: str | None) -> None:
    assert region(Phone(number)) == country


def test_toll_free_numbers_are_told_from_others() -> None:
    assert is_toll_free(Phone("+18002345678"))
    assert not is_toll_free(Phone("+14155550100"))
    assert not is_toll_free(Phone("12345"))


def test_a_masked_number_keeps_its_area_and_its_end() -> None:
    assert masked("+14155550100") == "+1415***0100"
    assert masked("12345") == "12345"


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_masked_number_hides_at_least_three_digits(number: str) -> None:
    # Numbers of eight and nine characters were once shown whole, around the stars.
    start, end = masked(number).split("***")
    assert number.startswith(start)
    assert number.endswith(end)
    assert len(start) + len(end) <= len(number) - 3


@pytest.mark.parametrize(
    ("address", "travels_on", "inside"),
    [
        (NUMBER, "sms", NUMBER),
        ("12345", "sms", "12345"),
        (f"rcs:{NUMBER}", "rcs", NUMBER),
        (SERVICE, "rcs", SERVICE),
        (f"whatsapp:{NUMBER}", "whatsapp", NUMBER),
        ("chat:conv_01abc", "chat", "conv_01abc"),
        ("chat:a:b", "chat", "a:b"),
    ],
)
def test_an_address_carries_its_channel(address: str, travels_on: str, inside: str) -> None:
    assert channel(Phone(address)) == travels_on
    assert bare(Phone(address)) == inside


@pytest.mark.parametrize(
    ("raw", "of_user", "of_agent", "on_any_channel"),
    [
        (NUMBER, True, True, True),
        ("12345", False, True, True),
        (SERVICE, False, True, True),
        (f"whatsapp:{NUMBER}", True, True, True),
        (f"rcs:{NUMBER}", True, False, False),
        ("chat:conv_01abc", True, False, True),
    ],
)
def test_who_may_have_which_address(
    raw: str, *, of_user: bool, of_agent: bool, on_any_channel: bool
) -> None:
    assert user_address(raw) == (raw if of_user else None)
    assert agent_number(raw) == (raw if of_agent else None)
    assert agent_address(raw) == (raw if on_any_channel else None)
    assert user_number(raw) == (raw if raw == NUMBER else None)


@pytest.mark.parametrize(
    "raw",
    [
        "rcs:",
        "rcs:12345",
        "rcs:brand_agent",
        "RCS:+14155550100",
        "rcs: +14155550100",
        "rcs:rcs:+14155550100",
        "whatsapp:+1415",
        "whatsapp:US.13491208655302741918",
        "sms:+14155550100",
        ":+14155550100",
        "chat:",
        "chat:a b",
        "chat:" + "a" * 129,
        "chat:a\n",
        "MG" + "0" * 31,
        "MG" + "0" * 33,
        "MG" + "g" * 32,
        "mg" + "0" * 32,
        SERVICE + "\n",
    ],
)
def test_no_other_form_is_an_address(raw: str) -> None:
    assert user_address(raw) is None
    assert agent_number(raw) is None
    assert agent_address(raw) is None


def test_what_holds_of_numbers_holds_of_them_on_other_channels() -> None:
    assert region(Phone("rcs:+447700900123")) == "GB"
    assert region(Phone("whatsapp:+14165550100")) == "CA"
    for address in (SERVICE, "chat:conv_01abc", "whatsapp:+18002345678"):
        assert not is_toll_free(Phone(address))
        assert not is_short_code(Phone(address))
    assert region(Phone(SERVICE)) is None
    assert region(Phone("chat:conv_01abc")) is None
    assert is_messaging_service(SERVICE)
    assert not is_messaging_service(NUMBER)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rcs:+14155550100", "rcs:+1415***0100"),
        ("whatsapp:+14155550100", "whatsapp:+1415***0100"),
        (SERVICE, SERVICE),
        ("chat:conv_01abc", "chat:conv_01abc"),
    ],
)
def test_an_address_is_masked_as_its_number_is(address: str, shown: str) -> None:
    assert masked(address) == shown


@given(
    st.text(max_size=40) | st.from_regex(r"(rcs|whatsapp|x)?:?\+[0-9]{5,16}:?x?", fullmatch=True)
)
def test_whatever_a_webhook_says_can_be_masked(raw: str) -> None:
    shown = masked(raw)
    if "***" not in shown:
        assert shown == raw
        assert len(raw) <= 6 or is_messaging_service(raw) or raw.startswith("chat:")
