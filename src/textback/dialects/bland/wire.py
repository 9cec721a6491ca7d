"""Bland AI's words: how each refusal is said, and how bodies are read. No HTTP, no database.

https://docs.bland.ai/api-v1/post/sms-send; the codes are theirs where they document one.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from textback.core import errors, ids
from textback.core.commands import Idempotency
from textback.core.gcra import Rate
from textback.core.ids import ConversationId

MAX_BODY: Final = 256 * 1024
MAX_KEY: Final = 255
DAY: Final = 24 * 60 * 60


class Wrong(errors.BadRequest):
    """A 400 with a code of its own."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


STATUS: Mapping[type[errors.Refusal], int] = {
    errors.BadRequest: 400,
    Wrong: 400,
    errors.NothingToSay: 400,
    errors.UnknownAgent: 400,
    errors.BadKey: 401,
    errors.MissingScope: 403,
    errors.WrongAccount: 403,
    errors.OptedOut: 403,
    errors.NotRegistered: 403,
    errors.UnknownConnector: 404,
    errors.UnknownConversation: 404,
    errors.UnknownResource: 404,
    errors.NoNumber: 404,
    errors.NumberNotProvisioned: 404,
    errors.KeyReused: 409,
    errors.WrongState: 409,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.RateLimited: 429,
    errors.CarrierRefused: 502,
    errors.Unavailable: 503,
}

CODES: Mapping[type[errors.Refusal], str] = {
    errors.BadRequest: "INVALID_REQUEST",
    errors.NothingToSay: "MISSING_AGENT_MESSAGE",
    errors.UnknownAgent: "INVALID_AGENT",
    errors.BadKey: "AUTH_FAILURE",
    errors.MissingScope: "FORBIDDEN",
    errors.WrongAccount: "FORBIDDEN",
    errors.OptedOut: "USER_OPTED_OUT",
    errors.NotRegistered: "NUMBER_NOT_REGISTERED",
    errors.UnknownConnector: "NOT_FOUND",
    errors.UnknownConversation: "CONVERSATION_NOT_FOUND",
    errors.UnknownResource: "NOT_FOUND",
    errors.NoNumber: "INBOUND_NUMBER_NOT_FOUND",
    errors.NumberNotProvisioned: "INBOUND_NUMBER_NOT_FOUND",
    errors.KeyReused: "IDEMPOTENCY_KEY_REUSED",
    errors.WrongState: "INVALID_CONVERSATION_STATE",
    errors.Conflict: "CONFLICT",
    errors.TooLarge: "REQUEST_TOO_LARGE",
    errors.RateLimited: "SMS_RL_PLAN_HOURLY",
    errors.CarrierRefused: "CARRIER_REFUSED",
    errors.Unavailable: "SERVICE_UNAVAILABLE",
}
"""Documented: AUTH_FAILURE, CONVERSATION_NOT_FOUND, INBOUND_NUMBER_NOT_FOUND, SMS_RL_PLAN_*; and of
`Wrong`: MISSING_REQUIRED_FIELDS, INVALID_OBJECTIVE, INVALID_TIMEOUT_CONFIG, MISSING_FILE_ID,
CONVERSATION_ID_REQUIRED. The others are ours."""

Codes = Mapping[type[errors.Refusal], str]


def code_of(refusal: errors.Refusal, of_the_route: Codes) -> str:
    """What is called differently by one route: `of_the_route`."""
    if isinstance(refusal, Wrong):
        return refusal.code
    kind = type(refusal)
    return of_the_route.get(kind) or CODES[kind]


def rate_code(rate: Rate) -> str:
    """Their plans are limited by the hour and by the day; ours are named as the nearest of them."""
    return "SMS_RL_PLAN_DAILY" if rate.seconds >= DAY else "SMS_RL_PLAN_HOURLY"


class Fault(BaseModel):
    error: str
    message: str


class Refused(BaseModel):
    """Every error."""

    data: None
    errors: list[Fault]


def refused(code: str, sentence: str) -> dict[str, JsonValue]:
    return {"data": None, "errors": [{"error": code, "message": sentence}]}


def good(data: JsonValue) -> dict[str, JsonValue]:
    return {"data": data, "errors": None}


# --- Ids and times ------------------------------------------------------------------------------

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CONVERSATION: Final = re.compile(r"\bconv_[0-9a-hjkmnp-tv-z]{26}\b")


def is_uuid(text: str) -> bool:
    """Written as usual; Python takes other forms, too."""
    return _UUID.fullmatch(text) is not None


def conversation_id(shown: str) -> ConversationId:
    """Ours, of the UUID that is shown (D19). Raises UnknownConversation."""
    found = ids.from_uuid("conv_", shown) if is_uuid(shown) else None
    if found is None:
        raise errors.UnknownConversation("There is no conversation with that id.")
    return ConversationId(found)


def shown_id(conversation: str) -> str:
    """The UUID of a conversation, as it is also its `workflow_id`."""
    return ids.to_uuid(conversation)


def shown_sentence(sentence: str) -> str:
    """With conversations by the ids that a caller knows."""
    return _CONVERSATION.sub(lambda found: shown_id(found[0]), sentence)


def shown_time(at: datetime) -> str:
    """As JavaScript writes it, which is what they show: 2026-03-02T09:00:00.000Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def idempotency(route: str, key: str | None) -> Idempotency | None:
    """The first answer is given again even if the body differs (D20). Raises BadRequest."""
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY or "\0" in key:
        raise errors.BadRequest(f"idempotency-key must have 1 to {MAX_KEY} characters.")
    return Idempotency(route=route, key=key, fingerprint=b"bland")


# --- Bodies -------------------------------------------------------------------------------------

Asked = TypeVar("Asked", bound=BaseModel)


class Body(BaseModel):
    """A request's body. Fields it does not know are ignored (D16); null and "" are absence."""

    model_config = ConfigDict(strict=True)


def present(body: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that are null or "": they stand for absence."""
    return {name: value for name, value in body.items() if value is not None and value != ""}


def read(
    model: type[Asked], body: Mapping[str, Any], codes: Mapping[str, str] | None = None
) -> Asked:
    """Raises Wrong, naming the first field that is wrong. `codes`: by field."""
    try:
        return model.model_validate(present(body))
    except ValidationError as error:
        raise _wrong(error, codes or {}) from None


def _wrong(error: ValidationError, codes: Mapping[str, str]) -> Wrong:
    found = error.errors(include_input=False, include_url=False)
    missing = [".".join(map(str, e["loc"])) for e in found if e["type"] == "missing"]
    first = found[0]
    places = missing[:1] if missing else list(map(str, first["loc"]))
    usual = "MISSING_REQUIRED_FIELDS" if missing else "INVALID_REQUEST"
    code = next((codes[place] for place in places if place in codes), usual)
    if missing:
        return Wrong(code, f"{' and '.join(missing)} {'are' if missing[1:] else 'is'} required.")
    if first["type"] in _IS_NOT and places[1:] and places[-1] in _KINDS:  # it may be of several
        tried = [str(e["loc"][-1]) for e in found if e["loc"][:-1] == first["loc"][:-1]]
        kinds = dict.fromkeys(_KINDS[each] for each in tried if each in _KINDS)
        return Wrong(code, f"{'.'.join(places[:-1])} must be {' or '.join(kinds)}.")
    given: dict[str, Any] = {"field": ".".join(places)} | first.get("ctx", {})
    sentence = _SENTENCES.get(first["type"], "{field} is not as described.")
    return Wrong(code, sentence.format_map(given))


_IS_NOT: Final = frozenset({"string_type", "float_type", "int_type", "dict_type", "list_type"})
_KINDS: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "dict[str,any]": "an object",
    "list[any]": "an array",
}
"""What pydantic puts behind a field's name for each kind of value that the field may have."""

_SENTENCES: Mapping[str, str] = {
    "string_type": "{field} must be a string.",
    "string_too_long": "{field} is too long; it may have {max_length} characters at most.",
    "string_too_short": "{field} is empty; leave it out, or give a value.",
    "bool_type": "{field} must be true or false.",
    "literal_error": "{field} must be {expected}.",
    "dict_type": "{field} must be an object.",
    "list_type": "{field} must be an array.",
    "float_type": "{field} must be a number.",
    "model_type": "{field} must be an object.",
    "too_long": "{field} may have {max_length} entries at most.",
    "greater_than_equal": "{field} must be 0 or more.",
    "less_than_equal": "{field} must be {le:.0f} or less.",
    "int_type": "{field} must be a whole number.",
}
