"""The only parser of phone numbers."""

import re
from functools import cache, lru_cache
from typing import Literal, NewType, cast

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberType

Phone = NewType("Phone", str)
"""An address as carriers write it: E.164; with `rcs:`, `whatsapp:` or `chat:` before it on another
channel than SMS; for one of our own also a short code, or the id of a Twilio Messaging Service."""

Channel = Literal["sms", "rcs", "whatsapp", "chat"]

# PolyAI's own pattern; nothing is stripped or repaired (wire-compat D15). ASCII: `\d` alone would
# let other scripts' digits through.
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
_SHORT_CODE = re.compile(r"[0-9]{3,8}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_CHAT = re.compile(r"chat:[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

_LONGEST_SHOWN = 6
_USUAL_LENGTH = 12


def channel(address: Phone) -> Channel:
    """What a text to or from it travels on. A Messaging Service of ours is there for RCS."""
    if address.startswith("+"):
        return "sms"
    if is_messaging_service(address):
        return "rcs"
    head, colon, _ = address.partition(":")
    return cast("Channel", head) if colon else "sms"


def bare(address: Phone) -> Phone:
    """The number itself, without its channel; of a Messaging Service its id."""
    return Phone(address.partition(":")[2] or address)


def user_number(raw: str) -> Phone | None:
    """A person's number, or None if it is not E.164 or cannot be a number of its country.

    Possible, not valid (`phonenumbers`): reserved example numbers such as +1 415 555 0100 pass.
    """
    if not _E164.fullmatch(raw):
        return None
    known = is_possible_by_length(raw)
    if known is None:
        return _possible(raw)
    return Phone(raw) if known else None


def user_address(raw: str) -> Phone | None:
    """A person on any channel: a `user_number`, with `rcs:` or `whatsapp:` before it; or a chat."""
    if raw.startswith("+"):
        return user_number(raw)
    head, _, number = raw.partition(":")
    if head in {"rcs", "whatsapp"}:
        return Phone(raw) if user_number(number) else None
    return Phone(raw) if _CHAT.fullmatch(raw) else None


def is_possible_by_length(raw: str) -> bool | None:
    """What `phonenumbers` would find, at a twentieth of its cost; None: it has to be asked.

    Of an E.164 number of a known country, whose digits are not changed on the way, it looks at
    nothing but how many there are.
    """
    if (plan := _plan(raw[1:4])) is None:
        return False
    begins, changed, lengths = plan
    national = raw[begins:]
    return None if changed.match(national) else len(national) in lengths


@cache
def _plan(digits: str) -> tuple[int, re.Pattern[str], frozenset[int]] | None:
    """Of the country whose numbers begin with these three digits, or fewer; None: there is none.

    Where a national number begins behind the `+`; how those begin of which digits are cut off; and
    how long they may be.
    """
    for length in (1, 2, 3):  # no country's code begins with another's
        if int(digits[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return (1 + length, *_lengths(int(digits[:length])))
    return None


def _lengths(country_code: int) -> tuple[re.Pattern[str], frozenset[int]]:
    code = phonenumbers.region_code_for_country_code(country_code)
    plan = PhoneMetadata.metadata_for_region_or_calling_code(country_code, code)
    if plan is None or plan.general_desc is None:
        return re.compile(""), frozenset()
    described = plan.general_desc
    lengths = (*described.possible_length, *described.possible_length_local_only)
    return re.compile(f"0|{plan.national_prefix_for_parsing or '0'}"), frozenset(lengths)


@lru_cache(maxsize=65_536)
def _possible(raw: str) -> Phone | None:
    try:
        parsed = phonenumbers.parse(raw)
    except phonenumbers.NumberParseException:
        return None
    return Phone(raw) if phonenumbers.is_possible_number(parsed) else None


def agent_number(raw: str) -> Phone | None:
    """One of our own: as `user_number`, or a short code of 3 to 8 digits.

    Or `whatsapp:` and a number, or the id of a Messaging Service, for RCS.
    """
    if _SHORT_CODE.fullmatch(raw) or _SERVICE.fullmatch(raw):
        return Phone(raw)
    return user_address(raw) if raw.startswith("whatsapp:") else user_number(raw)


def agent_address(raw: str) -> Phone | None:
    """One of our own on any channel: an `agent_number`, or a project's place in the chats."""
    return Phone(raw) if _CHAT.fullmatch(raw) else agent_number(raw)


def is_short_code(number: Phone) -> bool:
    return _SHORT_CODE.fullmatch(number) is not None


def is_messaging_service(address: str) -> bool:
    return _SERVICE.fullmatch(address) is not None


@lru_cache(maxsize=65_536)
def region(number: Phone) -> str | None:
    """The country or territory ("US", "GB"); for numbers not in use, the code's main one.

    None for what is no number of a country: a short code, a Messaging Service, a chat.
    """
    if not bare(number).startswith("+"):
        return None
    parsed = phonenumbers.parse(bare(number))
    return phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(
        parsed.country_code or 0
    )


@lru_cache(maxsize=4_096)
def is_toll_free(number: Phone) -> bool:
    if not number.startswith("+"):
        return False
    return phonenumbers.number_type(phonenumbers.parse(number)) == PhoneNumberType.TOLL_FREE


def masked(number: str) -> str:
    """For logs: +14155550100 -> +1415***0100 keeps the area and the end, never the whole.

    At least three digits are hidden. Short codes (up to six characters) are nobody's own number;
    neither are Messaging Services and chats.
    """
    if len(number) <= _LONGEST_SHOWN or is_messaging_service(number) or _CHAT.fullmatch(number):
        return number
    prefix = next((p for p in ("rcs:", "whatsapp:") if number.startswith(p + "+")), "")
    plain = number.removeprefix(prefix)
    end = 4 if len(plain) >= _USUAL_LENGTH else 2
    return f"{prefix}{plain[: max(0, min(5, len(plain) - end - 3))]}***{plain[-end:]}"
