"""The only parser of phone numbers."""

import re
from functools import lru_cache
from typing import NewType

import phonenumbers
from phonenumbers import PhoneNumberType

Phone = NewType("Phone", str)
"""A number as carriers write it: E.164, or for one of our own numbers also a short code."""

# PolyAI's own pattern; nothing is stripped or repaired (wire-compat D15). ASCII: `\d` alone would
# let other scripts' digits through.
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_SHORT_CODE = re.compile(r"[0-9]{3,8}")

_LONGEST_SHOWN = 6
_USUAL_LENGTH = 12


def user_number(raw: str) -> Phone | None:
    """A person's number, or None if it is not E.164 or cannot be a number of its country.

    Possible, not valid (`phonenumbers`): reserved example numbers such as +1 415 555 0100 pass.
    """
    return _possible(raw) if _E164.fullmatch(raw) else None  # only what is short is remembered


@lru_cache(maxsize=65_536)
def _possible(raw: str) -> Phone | None:
    try:
        parsed = phonenumbers.parse(raw)
    except phonenumbers.NumberParseException:
        return None
    return Phone(raw) if phonenumbers.is_possible_number(parsed) else None


def agent_number(raw: str) -> Phone | None:
    """One of our own numbers: as `user_number`, or a short code of 3 to 8 digits."""
    return Phone(raw) if _SHORT_CODE.fullmatch(raw) else user_number(raw)


def is_short_code(number: Phone) -> bool:
    return not number.startswith("+")


@lru_cache(maxsize=65_536)
def region(number: Phone) -> str | None:
    """The country or territory ("US", "GB"); for numbers not in use, the code's main one."""
    if is_short_code(number):
        return None
    parsed = phonenumbers.parse(number)
    return phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(
        parsed.country_code or 0
    )


@lru_cache(maxsize=4_096)
def is_toll_free(number: Phone) -> bool:
    if is_short_code(number):
        return False
    return phonenumbers.number_type(phonenumbers.parse(number)) == PhoneNumberType.TOLL_FREE


def masked(number: str) -> str:
    """For logs: +14155550100 -> +1415***0100 keeps the area and the end, never the whole.

    At least three digits are hidden. Short codes (up to six characters) are nobody's own number.
    """
    if len(number) <= _LONGEST_SHOWN:
        return number
    end = 4 if len(number) >= _USUAL_LENGTH else 2
    return f"{number[: min(5, len(number) - end - 3)]}***{number[-end:]}"
