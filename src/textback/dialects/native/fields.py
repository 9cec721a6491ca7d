"""What single fields of our own requests may hold, in bodies and in queries. No HTTP."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from textback.core import phone
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_WHOLE: Final = re.compile(r"[0-9]{1,18}")
_FIRST_YEAR, _LAST_YEAR = 1970, 9000

MOST_JSON: Final = 16 * 1024
"""Bytes of `metadata` and of `variables`, each, written as JSON."""

MOST_VERSION: Final = 2**31 - 1


def moment(value: object) -> datetime:
    """RFC 3339, with a zone; -> UTC. Raises ValueError."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            found = datetime.fromisoformat(value.upper())
        except ValueError:
            pass
        else:
            # What lies further off cannot be turned into UTC, or is no time of a text's.
            if _FIRST_YEAR < found.year < _LAST_YEAR:
                return found.astimezone(UTC)
    raise ValueError(
        "must be a time with its zone, such as 2027-01-31T12:00:00Z (+ is %2B in URLs)"
    )


def _whole(value: object) -> object:
    """A query's values are texts."""
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else value


def _user_number(value: str) -> Phone:
    found = phone.user_address(value)
    if found is None:
        raise ValueError("must be a phone number in E.164 format, such as +14155550123")
    return found


def _agent_number(value: str) -> Phone:
    found = phone.agent_address(value)
    if found is None:
        raise ValueError(
            "must be one of your numbers in E.164 format, a short code, or the id of a "
            "Messaging Service"
        )
    return found


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False).encode()) > MOST_JSON:
        raise ValueError(f"is too large; it may have {MOST_JSON // 1024} KB as JSON at most")
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a character that no text can hold (NUL)")
    return value


def _recipient(value: str) -> Phone:
    found = phone.user_address(value)
    if found is None or phone.channel(found) == "chat":
        raise ValueError("must be a phone number in E.164 format, such as +14155550123")
    return found


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank; leave it out, or say something")
    return value


def _version(value: object) -> object:
    if isinstance(value, bool) or not (
        value is None
        or value in ("production", "draft")
        or (isinstance(value, int) and 1 <= value <= MOST_VERSION)
    ):
        raise ValueError('must be "production", "draft" or the number of a version')
    return value


Moment = Annotated[
    datetime,
    BeforeValidator(moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A point in time, in UTC."""

Whole = Annotated[int, BeforeValidator(_whole)]

UserNumber = Annotated[
    str, Field(max_length=140, examples=["+14155550123"]), AfterValidator(_user_number)
]
"""`core.phone.user_address`: E.164, with `rcs:` or `whatsapp:` before it on those channels."""

AgentNumber = Annotated[
    str, Field(max_length=140, examples=["+14155550100"]), AfterValidator(_agent_number)
]

Text = Annotated[str, AfterValidator(_no_nul)]

Recipient = Annotated[
    str, Field(max_length=40, examples=["+14155550123"]), AfterValidator(_recipient)
]
"""Who can be texted: as UserNumber, and not somebody in a chat."""

Said = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_said)]

Version = Annotated[
    str | int | None,
    BeforeValidator(_version),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["production", "draft"], "type": "string"},
                {"type": "integer", "minimum": 1, "maximum": MOST_VERSION},
                {"type": "null"},
            ]
        }
    ),
]
"""Of an agent; null: as the environment has it."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
"""Of what was provisioned: an account's project, connector, agent."""

Json = Annotated[dict[str, Any], AfterValidator(_bounded)]
