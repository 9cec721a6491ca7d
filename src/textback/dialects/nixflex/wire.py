"""Nixflex' errors, and how its answers write things. No HTTP, no database.

https://docs.nixflex.com/reference/errors (types, shape), the pages of each route (codes); where the
status of a code is not documented, as D31 has it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel

from textback.core import errors, ids

MAX_BODY: Final = 256 * 1024
MAX_CAMPAIGN: Final = 8 * 1024 * 1024
"""Bytes; 10,000 recipients with their variables."""
MAX_KEY: Final = 255

DOCS: Final = "https://docs.nixflex.com/reference/errors#"

Type = Literal[
    "authentication_error",
    "permission_error",
    "invalid_request",
    "not_found",
    "conflict",
    "rate_limit_error",
    "provider_error",
    "server_error",
]

TYPES: Final[Mapping[int, Type]] = {
    400: "invalid_request",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found",
    405: "invalid_request",
    409: "conflict",
    429: "rate_limit_error",
    500: "server_error",
    502: "provider_error",
    503: "server_error",
}

CODES: Final[Mapping[str, int]] = {
    # Documented.
    "invalid_api_key": 401,
    "key_secret_required": 401,
    "missing_field": 400,
    "invalid_phone_format": 400,
    "invalid_json": 400,
    "message_too_long": 400,
    "sms_not_supported_in_region": 400,
    "from_number_not_owned": 403,
    "recipient_unsubscribed": 409,
    "agent_not_found": 404,
    "agent_not_owned": 403,
    "prompt_too_long": 400,
    "custom_prompt_too_long": 400,
    "invalid_twilio_sid": 400,
    "number_not_found": 404,
    "number_not_in_twilio": 404,
    "twilio_invalid_credentials": 401,
    "twilio_auth_failed": 401,
    "number_already_imported": 409,
    "too_many_recipients": 400,
    "invalid_schedule": 400,
    "campaign_not_found": 404,
    "campaign_already_completed": 400,
    "campaign_no_recipients": 400,
    "voicemail_message_required": 400,
    "rate_limit_exceeded": 429,
    # Ours, where none is documented.
    "invalid_field": 400,
    "invalid_request": 400,
    "body_too_large": 400,
    "sms_prompt_too_long": 400,
    "telnyx_not_supported": 400,
    "permission_denied": 403,
    "outbound_disabled": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "idempotency_key_reused": 409,
    "internal_error": 500,
    "twilio_account_taken": 409,
    "twilio_unreachable": 502,
    "service_unavailable": 503,
}
"""The HTTP status of each."""


class Refused(errors.Refusal):
    """A refusal with a code of Nixflex' own."""

    def __init__(self, code: str, sentence: str, **details: object) -> None:
        super().__init__(sentence)
        self.code, self.details = code, details


_OF: Final[Mapping[type[errors.Refusal], str]] = {
    errors.BadRequest: "invalid_request",
    errors.TooLarge: "body_too_large",
    errors.NothingToSay: "missing_field",
    errors.BadKey: "invalid_api_key",
    errors.MissingScope: "permission_denied",
    errors.WrongAccount: "from_number_not_owned",
    errors.NumberNotProvisioned: "from_number_not_owned",
    errors.NoNumber: "from_number_not_owned",
    errors.UnknownConnector: "not_found",
    errors.UnknownResource: "not_found",
    errors.UnknownConversation: "not_found",
    errors.UnknownAgent: "agent_not_found",
    errors.NotRegistered: "sms_not_supported_in_region",
    errors.OptedOut: "recipient_unsubscribed",
    errors.Conflict: "conflict",
    errors.WrongState: "conflict",
    errors.KeyReused: "idempotency_key_reused",
    errors.CarrierRefused: "twilio_unreachable",
    errors.RateLimited: "rate_limit_exceeded",
    errors.Unavailable: "service_unavailable",
}

STATUS: Final[Mapping[type[errors.Refusal], int]] = {
    Refused: 400,  # or as its code has it
    **{refusal: CODES[code] for refusal, code in _OF.items()},
}

_OF_CARRIER: Final[Mapping[str, str]] = {
    "credentials": "twilio_invalid_credentials",
    "access": "twilio_auth_failed",
    "number": "number_not_in_twilio",
    "taken": "twilio_account_taken",
}


class Error(BaseModel):
    type: Type
    code: str
    message: str
    doc_url: str
    details: dict[str, Any]


class Envelope(BaseModel):
    """Every error."""

    error: Error


def code_of(refusal: errors.Refusal) -> str:
    if isinstance(refusal, Refused):
        return refusal.code
    if isinstance(refusal, errors.CarrierRefused):
        return _OF_CARRIER.get(refusal.code, "twilio_unreachable")
    return _OF[type(refusal)]


def envelope(refusal: errors.Refusal) -> tuple[int, dict[str, Any]]:
    """HTTP status and body."""
    code = code_of(refusal)
    details: dict[str, Any] = {}
    if isinstance(refusal, Refused):
        details = refusal.details
    if isinstance(refusal, errors.RateLimited):
        details = {"retry_after": seconds(refusal.retry_after)}
    return CODES[code], error(CODES[code], code, refusal.sentence, details)


def error(
    status: int, code: str, message: str, details: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "error": {
            "type": TYPES[status],
            "code": code,
            "message": message,
            "doc_url": DOCS + code,
            "details": dict(details or {}),
        }
    }


_FAULTS: Final[Mapping[int, str]] = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    500: "internal_error",
    503: "service_unavailable",
}


def fault(status: int, sentence: str) -> dict[str, Any]:
    """Where no route could answer."""
    known = status if status in _FAULTS else 500
    return error(known, _FAULTS[known], sentence)


def seconds(span: float) -> int:
    """Whole seconds to wait, at least one."""
    return max(1, -int(-span // 1))


def when(moment: datetime | None) -> str | None:
    """As the documented answers write a time: 2026-05-17T03:45:12Z."""
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def made_at(id: str) -> datetime:  # noqa: A002 - any of ours
    """When one of our ids was made, to the millisecond: they hold it (UUIDv7)."""
    high = ids.to_uuid(id).replace("-", "")[:12]
    return datetime.fromtimestamp(int(high, 16) / 1000, UTC)
