"""PolyAI's words: the body, the errors, and what they mean in ours. No HTTP, no database.

https://docs.poly.ai/api-reference/outbound-sms/endpoint/send-sms
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from textback.core import errors, phone
from textback.core.commands import Idempotency, SendText
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT

ROUTE = "/v1/outbound-sms"
MAX_BODY = 64 * 1024
MAX_KEY = 255

E164 = r"^\+[1-9]\d{1,14}$"

STATUS: Mapping[type[errors.Refusal], int] = {
    errors.BadRequest: 400,
    errors.NothingToSay: 400,
    errors.NumberNotProvisioned: 400,
    errors.UnknownAgent: 400,
    errors.BadKey: 401,
    errors.WrongAccount: 403,
    errors.UnknownConnector: 404,
    errors.NoNumber: 404,
    errors.KeyReused: 409,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}


class OutboundSms(BaseModel):
    """The request's body. Fields it does not know are ignored, as PolyAI's own route does."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "example": {
                "user_number": "+14155550123",
                "message": "Hi, this is Acme Dental. Is 3pm tomorrow still good for you?",
                "agent_number": "+14155550100",
            }
        },
    )

    user_number: Annotated[str, Field(pattern=E164, description="The recipient, in E.164 form.")]
    message: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_TEXT,
            description="The text. It counts as the agent's greeting. When it is absent or null, "
            "the agent opens the conversation itself.",
        ),
    ] = None
    agent_number: Annotated[
        str | None,
        Field(
            pattern=E164,
            description="The number to send from, one of the project's. When it is absent or null, "
            "one of the connector's environment is picked.",
        ),
    ] = None


class Error(BaseModel):
    """Every error: one sentence that says what to change."""

    detail: str


def parse_json(content_type: str | None, body: bytes | None) -> dict[str, Any]:
    """The body as an object. Raises BadRequest."""
    if body is None:
        raise errors.BadRequest(f"The body may have {MAX_BODY // 1024} KB at most.")
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise errors.BadRequest("Send the body as JSON, with Content-Type: application/json.")
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise errors.BadRequest("Send the body in UTF-8.")
    try:
        parsed: object = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise errors.BadRequest(
            "The body is not valid JSON; check quotes, commas and UTF-8."
        ) from None
    if not isinstance(parsed, dict):
        raise errors.BadRequest("The body must be a JSON object with a user_number.")
    return cast("dict[str, Any]", parsed)


def to_command(body: dict[str, Any], idempotency: Idempotency | None) -> SendText:
    """Raises BadRequest, naming the first field that is wrong."""
    for name in ("user_number", "message", "agent_number"):
        value = body.get(name)
        if isinstance(value, str) and not _storable(value):
            raise errors.BadRequest(f"{name} holds a character that no text can hold (NUL).")
    if body.get("user_number") is None:
        raise errors.BadRequest(
            "user_number is missing; give the recipient's number in E.164 form, like +14155550123."
        )
    try:
        sms = OutboundSms.model_validate(body)
    except ValidationError as error:
        raise errors.BadRequest(_sentence(error)) from None
    user = phone.user_number(sms.user_number)
    if user is None:
        raise errors.BadRequest(_not_e164("user_number"))
    if sms.message is not None and not sms.message.strip():
        raise errors.BadRequest(_BLANK)
    agent: Phone | None = None
    if sms.agent_number is not None:
        agent = phone.user_number(sms.agent_number)
        if agent is None:
            raise errors.BadRequest(_not_e164("agent_number"))
    return SendText(user_number=user, text=sms.message, agent_number=agent, idempotency=idempotency)


def idempotency(key: str | None, connector_id: str, body: Mapping[str, Any]) -> Idempotency | None:
    """The same parsed JSON through the same connector is the same request. Raises BadRequest."""
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY or not _storable(key):
        raise errors.BadRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
    try:
        canonical = json.dumps([connector_id, body], sort_keys=True, separators=(",", ":"))
    except ValueError:  # Python writes no integer of more than 4300 digits
        raise errors.BadRequest("The body holds a number that is too long.") from None
    return Idempotency(
        route=ROUTE, key=key, fingerprint=hashlib.sha256(canonical.encode()).digest()
    )


_BLANK = "message is blank; give a text, or leave message out to let the agent open."


def _not_e164(field: str) -> str:
    return f"{field} must be a phone number in E.164 form, like +14155550123."


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    field = str(first["loc"][0])
    match first["type"]:
        case "string_type":
            return f"{field} must be a string."
        case "string_too_long":
            return f"message is too long; a text may have {MAX_TEXT} characters at most."
        case "string_too_short":
            return _BLANK
        case _:
            return _not_e164(field)


def _storable(value: str) -> bool:
    """No NUL, no lone surrogate: Postgres' text holds neither."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
