"""The shape of what gives access: API keys, key pairs, JWT apps; and of webhooks out."""

import re
from datetime import time
from typing import Annotated, Final, cast, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from textback.core import signing
from textback.core.commands import Scope
from textback.core.events import Kind
from textback.core.webhook import url_fault
from textback.provisioning_file.values import Credential, Id, Moment, Name, Shape

FORMATS: Final = ("native", "bland", "nixflex")
"""The dialects that have a format for events (`dialects/*/events.py`)."""

_SCOPES: Final = frozenset(get_args(Scope))
_KINDS: Final = frozenset(get_args(Kind))
_MORE: Final = {"message.accepted": ("message.promised", "message.queued")}
"""What webhooks call otherwise than we do."""
_PAIR: Final = re.compile("nxf_[0-9a-f]{32}")
_CLIENT: Final = re.compile("cs-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME: Final = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]")


def _one_of(known: frozenset[str], name: str) -> str:
    if name not in known:
        raise ValueError(f"must be one of {', '.join(sorted(known))}")
    return name


def _is_scope(value: str) -> Scope:
    return cast("Scope", _one_of(_SCOPES, value))


def _is_kind(value: str) -> str:
    return _one_of(_KINDS | _MORE.keys(), value)


def _is_format(value: str) -> str:
    return _one_of(frozenset(FORMATS), value)


def _in_order(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(sorted(set(values)))


def _is_pair_id(value: str) -> str:
    if not _PAIR.fullmatch(value):
        raise ValueError("must be nxf_ and 32 digits or letters from a to f")
    return value


def _is_client_id(value: str) -> str:
    if not _CLIENT.fullmatch(value):
        raise ValueError("must be cs- and a UUID in lower case")
    return value


def _is_url(value: str) -> str:
    # Which addresses are private is a matter of the process that posts, and of its settings.
    if (fault := url_fault(value, private=True)) is not None:
        raise ValueError(fault)
    return value


def _as_time(value: object) -> time:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return time.fromisoformat(value)
    raise ValueError('must be a time in quotes, such as "21:00"')


Scopes = Annotated[
    tuple[Annotated[str, AfterValidator(_is_scope)], ...],
    Field(min_length=1),
    AfterValidator(_in_order),
]
TimeOfDay = Annotated[time, BeforeValidator(_as_time)]


class ApiKey(Shape):
    name: Name
    key: Credential | None = None
    scopes: Scopes | None = None
    """Left out: everything."""
    expires_at: Moment | None = None
    revoked: bool = False


class KeyPair(Shape):
    """Nixflex': the token is `ID:SECRET`."""

    id: Annotated[str, AfterValidator(_is_pair_id)]
    name: Name | None = None
    secret: Credential | None = None
    scopes: Scopes | None = None

    @field_validator("secret")
    @classmethod
    def _is_in_one_piece(cls, value: str | None) -> str | None:
        if value is not None and ":" in value:
            raise ValueError("must have no colon: it ends at one")
        return value


class JwtApp(Shape):
    """Kore.ai's: whoever signs with its secret."""

    client_id: Annotated[str, AfterValidator(_is_client_id)]
    name: Name | None = None
    secret: Credential | None = None
    require_jti: bool = False
    scopes: Scopes | None = None


class Webhook(Shape):
    id: Id
    url: Annotated[str, AfterValidator(_is_url)]
    kinds: tuple[Annotated[str, AfterValidator(_is_kind)], ...] = ()
    """None: of every kind."""
    format: Annotated[str, AfterValidator(_is_format)] = "native"
    secret: Credential | None = None
    """Left out: the account's `webhook_secret` signs."""
    description: Annotated[str, Field(max_length=500)] | None = None

    @field_validator("kinds")
    @classmethod
    def _in_our_words(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({kind for name in value for kind in _MORE.get(name, (name,))}))

    @field_validator("secret")
    @classmethod
    def _can_sign(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("format", "native") == "native":
            signing.secret_bytes(value)
        return value


class QuietHours(Shape):
    start: TimeOfDay
    end: TimeOfDay

    @model_validator(mode="after")
    def _have_an_end(self) -> "QuietHours":
        if self.start == self.end:
            raise ValueError("must start and end at different times")
        return self
