"""The shape of a provisioning file: its fields, their defaults and what each may hold.

Lengths of time are seconds and may have fractions. A carrier and an engine are checked on their
own, by their `kind`. The messages here are whole predicates: they are shown after the path.
"""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from textback.core import optout, phone
from textback.core.gcra import Rate
from textback.core.plan import CarrierKind
from textback.core.policy import (
    DEFAULT_FALLBACK,
    MAX_TEXT,
    Environment,
    OptOutReplies,
    ProjectPolicy,
    UnknownUser,
)

_LONGEST: Final = 315_360_000  # ten years
_DEFAULT: Final = ProjectPolicy()

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_VISIBLE = re.compile(r"[!-~]{1,512}")
_TWILIO_SID = re.compile(r"AC[0-9A-Za-z]{1,62}")


def _is_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError(
            "must be 1 to 128 letters, digits or . _ : - and start with a letter or digit"
        )
    return value


def _is_said(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty or blank")
    return value


def _is_text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ValueError(f"must be at most {MAX_TEXT} characters, and has {len(value)}")
    return _is_said(value)


def _is_credential(value: str) -> str:
    """Credentials travel in HTTP headers; a blank or a newline is one too many from a shell."""
    if not value:
        raise ValueError("must not be empty")
    if not _VISIBLE.fullmatch(value):
        raise ValueError("must be at most 512 visible ASCII characters, without blanks")
    return value


def _is_number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


def _is_agent_number(value: str) -> str:
    if phone.agent_number(value) is None:
        raise ValueError(
            "must be a phone number such as +14155550100 (E.164), or a short code of 3 to 8 digits"
        )
    return value


def _is_base_url(value: str) -> str:
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


def _is_twilio_sid(value: str) -> str:
    if not _TWILIO_SID.fullmatch(value):
        raise ValueError("must be AC and up to 62 letters or digits, as Twilio's console shows it")
    return value


def _moment(value: object) -> datetime:
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
Name = Annotated[str, AfterValidator(_is_said), Field(max_length=200)]
Text = Annotated[str, AfterValidator(_is_text)]
Credential = Annotated[str, AfterValidator(_is_credential)]
Count = Annotated[int, BeforeValidator(_is_number), Field(ge=1, le=1_000_000_000)]
Seconds = Annotated[
    float, BeforeValidator(_is_number), Field(ge=0.001, le=_LONGEST, allow_inf_nan=False)
]
Moment = Annotated[datetime, BeforeValidator(_moment)]
Word = Annotated[str, Field(max_length=100), AfterValidator(_word)]
Entry = dict[str, object]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("key", "auth_token", "account_sid", mode="before", check_fields=False)
    @classmethod
    def _not_null(cls, value: object) -> object:
        # `key:` with nothing behind it is a forgotten value, not a wish to have one made.
        if value is None:
            raise ValueError("must not be empty")
        return value


class ApiKey(_Shape):
    name: Name
    key: Credential | None = None
    expires_at: Moment | None = None
    revoked: bool = False


class TwilioCarrier(_Shape):
    id: Id
    kind: Literal["twilio"]
    account_sid: Annotated[str, AfterValidator(_is_twilio_sid)]
    auth_token: Credential
    base_url: Annotated[str, AfterValidator(_is_base_url)] = "https://api.twilio.com"


class SandboxCarrier(_Shape):
    id: Id
    kind: Literal["sandbox"]
    account_sid: Id | None = None
    auth_token: Credential | None = None


CARRIERS: Final[dict[CarrierKind, type[TwilioCarrier | SandboxCarrier]]] = {
    "twilio": TwilioCarrier,
    "sandbox": SandboxCarrier,
}


class Agent(_Shape):
    id: Id
    greeting: Text | None = None
    fallback: Text | None = DEFAULT_FALLBACK
    """Null: nothing is sent when the engine fails."""
    engine: Entry


class RateLimit(_Shape):
    """`requests` at once, refilled evenly over `per_seconds`."""

    requests: Count
    per_seconds: Seconds


def _rate(default: Rate) -> RateLimit:
    return RateLimit(requests=int(default.amount), per_seconds=default.seconds)


_DEFAULT_WARN: Final = (
    _DEFAULT.idle.warn_after.total_seconds() if _DEFAULT.idle.warn_after else None
)


class Inactivity(_Shape):
    warn_after_seconds: Seconds | None = _DEFAULT_WARN
    """Null: never; then an engaged conversation is not closed for silence either."""
    close_after_seconds: Seconds = _DEFAULT.idle.close_after.total_seconds()
    unanswered_after_seconds: Seconds | None = None
    """Left out: as long as an engaged conversation may be silent; null: never."""
    warning: Text = _DEFAULT.idle.warning
    closing: Text | None = _DEFAULT.idle.closing


class Repeats(_Shape):
    count: Annotated[int, BeforeValidator(_is_number), Field(ge=2, le=1000)] = (
        _DEFAULT.inbound.repeats.count
    )
    within_seconds: Seconds = _DEFAULT.inbound.repeats.within.total_seconds()
    block_seconds: Seconds = _DEFAULT.inbound.repeats.block.total_seconds()


class Inbound(_Shape):
    per_sender: RateLimit = _rate(_DEFAULT.inbound.per_sender)
    per_project: RateLimit = _rate(_DEFAULT.inbound.per_project)
    repeats: Repeats = Repeats()


class ReplyBudget(_Shape):
    """Cannot be switched off: it is what ends a talk between two machines."""

    replies: Annotated[int, BeforeValidator(_is_number), Field(ge=1, le=1000)]
    per_seconds: Annotated[
        float, BeforeValidator(_is_number), Field(ge=1, le=86_400, allow_inf_nan=False)
    ]


_DEFAULT_BUDGET: Final = ReplyBudget(
    replies=int(_DEFAULT.reply_budget.amount), per_seconds=_DEFAULT.reply_budget.seconds
)


class OptOutWords(_Shape):
    """Whole messages, beside the usual words; case, blanks and one trailing mark do not matter."""

    stop: list[Word] = []
    start: list[Word] = []
    help: list[Word] = []


class Connector(_Shape):
    id: Id
    environment: Environment


class Number(_Shape):
    number: Annotated[str, AfterValidator(_is_agent_number)]
    environment: Environment = "live"
    carrier: Id
    segments_per_second: (
        Annotated[float, BeforeValidator(_is_number), Field(gt=0, le=10_000, allow_inf_nan=False)]
        | None
    ) = None
    opt_out_replies: OptOutReplies | None = None


class Project(_Shape):
    id: Id
    name: Name | None = None
    agent: Id
    rate_limit: RateLimit = _rate(_DEFAULT.rate_limit)
    inactivity: Inactivity = Inactivity()
    reply_delay_seconds: Annotated[
        float, BeforeValidator(_is_number), Field(ge=0, le=30, allow_inf_nan=False)
    ] = _DEFAULT.reply_delay.total_seconds()
    """At most the 30 s that a turn ever waits (`core.policy.TURN_CAP`)."""
    validity_seconds: Annotated[
        float, BeforeValidator(_is_number), Field(ge=1, le=604_800, allow_inf_nan=False)
    ] = _DEFAULT.validity.total_seconds()
    """Up to a week in our own queue; Twilio holds a text for at most 36,000 s of what is left."""
    unknown_user: UnknownUser = _DEFAULT.unknown_user
    opt_out_words: OptOutWords = OptOutWords()
    inbound_limits: Inbound = Inbound()
    reply_budget: ReplyBudget = _DEFAULT_BUDGET
    connectors: list[Connector] = []
    numbers: list[Number] = []


class Account(_Shape):
    id: Id
    name: Name | None = None
    api_keys: list[ApiKey] = []
    carriers: list[Entry] = []
    agents: list[Agent] = []
    projects: list[Project] = []


class File(_Shape):
    accounts: Annotated[list[Account], Field(min_length=1)]
