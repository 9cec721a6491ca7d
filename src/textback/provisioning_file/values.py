"""What single fields of a provisioning file may hold.

The messages here are whole predicates: they are shown after the path.
"""

import re
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from textback.core import optout, phone
from textback.core.policy import MAX_TEXT

_LONGEST: Final = 315_360_000  # ten years

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_OURS = "chat:"
_VISIBLE = re.compile(r"[!-~]{1,512}")
_TWILIO_SID = re.compile(r"AC[0-9A-Za-z]{1,62}")


def _is_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(
            "must be 1 to 128 letters, digits or . _ : - and start with a letter or digit"
        )
    if value.startswith(_OURS):
        raise ValueError(f"must not start with {_OURS} as what we make for chats does")
    return value


def is_said(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty or blank")
    return value


def _is_text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ValueError(f"must be at most {MAX_TEXT} characters, and has {len(value)}")
    return is_said(value)


def _is_credential(value: str) -> str:
    """Credentials travel in HTTP headers; a blank or a newline is one too many from a shell."""
    if not value:
        raise ValueError("must not be empty")
    if not _VISIBLE.fullmatch(value):
        raise ValueError("must be at most 512 visible ASCII characters, without blanks")
    return value


def is_number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def is_agent_number(value: str) -> str:
    if phone.agent_number(value) is None:
        raise ValueError(
            "must be a phone number such as +14155550100 (E.164), or a short code of 3 to 8 digits"
        )
    return value


def is_messaging_service(value: str) -> str:
    if not phone.is_messaging_service(value):
        raise ValueError("must be MG and 32 digits or letters from a to f, as Twilio shows it")
    return value


def is_base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    else:
        good = good and not (parts.query or parts.fragment or "@" in parts.netloc)
        good = good and re.search(r"\s", value) is None
    if not good:
        raise ValueError("must be an address such as https://api.twilio.com")
    return value.rstrip("/")


def is_twilio_sid(value: str) -> str:
    if not _TWILIO_SID.fullmatch(value):
        raise ValueError("must be AC and up to 62 letters or digits, as Twilio's console shows it")
    return value


def as_moment(value: object) -> datetime:
    """RFC 3339 with a zone; or a date, which means its first moment in UTC."""
    if isinstance(value, str):
        try:
            if len(value) == len("2027-01-31"):
                return datetime.combine(date.fromisoformat(value), time(), UTC)
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError("must be a date (2027-01-31) or a time with its zone (2027-01-31T12:00:00Z)")


def _word(value: str) -> str:
    word = optout.normal(value)
    if not word:
        raise ValueError("must not be empty or blank")
    return word


Id = Annotated[str, AfterValidator(_is_id)]
Name = Annotated[str, AfterValidator(is_said), Field(max_length=200)]
Text = Annotated[str, AfterValidator(_is_text)]
Credential = Annotated[str, AfterValidator(_is_credential)]
Count = Annotated[int, BeforeValidator(is_number), Field(ge=1, le=1_000_000_000)]
Seconds = Annotated[
    float, BeforeValidator(is_number), Field(ge=0.001, le=_LONGEST, allow_inf_nan=False)
]
Moment = Annotated[datetime, BeforeValidator(as_moment)]
Word = Annotated[str, Field(max_length=100), AfterValidator(_word)]
Entry = dict[str, object]


def _timezone(value: str) -> str:
    if value == "UTC":  # known also where there is no table of zones
        return value
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        known = available_timezones()
        if not known:
            raise ValueError(
                "cannot be looked up: this machine has no table of time zones; install tzdata"
            ) from None
        by_name = {name.lower(): name for name in known}
        close = get_close_matches(value.lower().replace(" ", "_"), by_name, n=1, cutoff=0.6)
        said = f'; did you mean "{by_name[close[0]]}"?' if close else ""
        raise ValueError(f"must be a time zone such as Europe/Berlin{said}") from None
    return value


Timezone = Annotated[str, AfterValidator(_timezone)]
Turns = Annotated[int, BeforeValidator(is_number), Field(ge=1, le=1_000_000_000)]
Tokens = Annotated[int, BeforeValidator(is_number), Field(ge=1, le=10**15)]
Dollars = Annotated[
    float, BeforeValidator(is_number), Field(gt=0, le=1_000_000_000, allow_inf_nan=False)
]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator(
        "key",
        "auth_token",
        "account_sid",
        "secret",
        "webhook_secret",
        mode="before",
        check_fields=False,
    )
    @classmethod
    def _not_null(cls, value: object) -> object:
        # `key:` with nothing behind it is a forgotten value, not a wish to have one made.
        if value is None:
            raise ValueError("must not be empty")
        return value
