"""PolyAI's words: the body, the errors, and what they mean in ours. No HTTP, no database.

https://docs.poly.ai/api-reference/outbound-sms/endpoint/send-sms
"""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textback.core import errors, phone
from textback.core.commands import Idempotency, SendText
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT
from textback.core.storable import is_text

ROUTE = "/v1/outbound-sms"
MAX_BODY = 64 * 1024
MAX_KEY = 255

E164 = r"^\+[1-9]\d{1,14}$"
RCS_OR_E164 = r"^(rcs:)?\+[1-9]\d{1,14}$"
SERVICE = r"^MG[0-9a-fA-F]{32}$"

STATUS: Mapping[type[errors.Refusal], int] = {
    errors.BadRequest: 400,
    errors.TooLarge: 400,
    errors.NothingToSay: 400,
    errors.NumberNotProvisioned: 400,
    errors.UnknownAgent: 400,
    errors.BadKey: 401,
    errors.MissingScope: 403,
    errors.WrongAccount: 403,
    errors.OptedOut: 403,
    errors.UnknownConnector: 404,
    errors.UnknownResource: 404,
    errors.NoNumber: 404,
    errors.KeyReused: 409,
    errors.WrongState: 409,
    errors.UnknownConversation: 404,
    errors.Conflict: 409,
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

    user_number: Annotated[
        str,
        Field(
            pattern=RCS_OR_E164,
            description="The recipient, in E.164 form; for RCS with `rcs:` before it, together "
            "with messaging_service_sid.",
        ),
    ]
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
            "one of the connector's environment is picked. Not used for RCS.",
        ),
    ] = None
    messaging_service_sid: Annotated[
        str | None,
        Field(
            pattern=SERVICE,
            description="For RCS: the Twilio Messaging Service of the RCS sender, one of the "
            "project's.",
        ),
    ] = None


class Error(BaseModel):
    """Every error: one sentence that says what to change."""

    detail: str


def to_command(body: dict[str, Any], idempotency: Idempotency | None) -> SendText:
    """Raises BadRequest, naming the first field that is wrong."""
    try:
        sms = OutboundSms.model_validate(body)
    except ValidationError as error:
        _check_text(body)
        raise errors.BadRequest(_sentence(error)) from None
    if sms.message is not None and not is_text(sms.message):
        _check_text(body)
    user = phone.user_address(sms.user_number)
    if user is None:
        raise errors.BadRequest(_not_e164("user_number"))
    if sms.message is not None and not sms.message.strip():
        raise errors.BadRequest(_BLANK)
    return SendText(
        user_number=user,
        text=sms.message,
        agent_number=_sender(sms, user),
        dialect="polyai",
        idempotency=idempotency,
    )


def _check_text(body: Mapping[str, Any]) -> None:
    """What is said first of a body that is wrong. Raises BadRequest."""
    for name in OutboundSms.model_fields:
        value = body.get(name)
        if isinstance(value, str) and not is_text(value):
            raise errors.BadRequest(f"{name} holds a character that no text can hold (NUL).")
    if body.get("user_number") is None:
        raise errors.BadRequest(
            "user_number is missing; give the recipient's number in E.164 form, like +14155550123."
        )


def _sender(sms: OutboundSms, user: Phone) -> Phone | None:
    """The number, or for RCS the service.

    RCS takes both, the prefix and the service: of one alone nobody could say what was meant (D15).
    https://docs.poly.ai/api-reference/messaging/sms-and-rcs-api/rcs
    """
    service, is_rcs = sms.messaging_service_sid, phone.channel(user) == "rcs"
    if is_rcs and service is None:
        raise errors.BadRequest(
            "For RCS give messaging_service_sid, the service of the RCS sender."
        )
    if service is not None and not is_rcs:
        raise errors.BadRequest(
            "messaging_service_sid is for RCS: write user_number with rcs: before it, or leave"
            " messaging_service_sid out."
        )
    if service is not None:
        return Phone(service)
    if sms.agent_number is None:
        return None
    agent = _agent_number(sms.agent_number)
    if agent is None:
        raise errors.BadRequest(_not_e164("agent_number"))
    return agent


_agent_number = lru_cache(maxsize=1024)(phone.user_number)


def idempotency(key: str | None, connector_id: str, body: Mapping[str, Any]) -> Idempotency | None:
    """The same parsed JSON through the same connector is the same request. Raises BadRequest."""
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY or not is_text(key):
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
        case _ if field == "messaging_service_sid":
            return "messaging_service_sid must be MG and 32 hexadecimal digits."
        case _:
            return _not_e164(field)
