"""How others write a phone number: with spaces, brackets and dashes, with or without its country.

Nobody is texted by it; it only finds what is held about somebody.
"""

from typing import Final

import phonenumbers

from textback.core.phone import Phone, bare, region

_MARKS: Final = " \t/().\u00a0\u2010-\u2015-"
_BETWEEN: Final = f"[{_MARKS}]*"
"""What may stand between two digits."""

TOLD_APART: Final = 9
"""Digits from which on a number without its country's code is not taken for a date."""


def pattern(user: Phone, *, shortest: int = 0) -> str | None:
    """A regular expression, of Postgres and of Python, that finds the number; None: it is a chat.

    With a digit before or after it, or behind another country's code, it is another number. With
    fewer digits than `shortest` it is not found without its country's code.
    """
    country = region(user)
    if country is None:
        return None
    number = bare(user)
    local = phonenumbers.national_significant_number(phonenumbers.parse(number))
    code = number[1 : len(number) - len(local)]
    trunk = phonenumbers.ndd_prefix_for_region(country, strip_non_digits=True)
    abroad = f"((00|011){_BETWEEN})?"
    forms = [f"(^|[^0-9]){abroad}{_spaced(code)}{_BETWEEN}({_BETWEEN}0[)]{_BETWEEN})?"]
    if len(local) >= shortest:
        forms.append(f"(^|[^0-9+{_MARKS}]){_BETWEEN}({_spaced(trunk or '0')}{_BETWEEN})?")
    return f"({'|'.join(forms)}){_spaced(local)}([^0-9]|$)"


def _spaced(digits: str) -> str:
    return _BETWEEN.join(digits)
