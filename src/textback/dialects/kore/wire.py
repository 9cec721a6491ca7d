"""Kore.ai's words: the body, the answer, the errors. No HTTP, no database.

https://docs.kore.ai/ai-for-service/apis/contact-center/send-outbound-sms
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from textback.core import errors, phone
from textback.core.commands import SendText
from textback.core.gcra import Rate
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT

ROUTE: Final = "/api/public/bot/{BotId}/outboundsms"
MAX_BODY: Final = 64 * 1024

E164: Final = r"^\+[1-9]\d{1,14}$"

TRIGGERED: Final = "Triggered the configured Experience flow to deliver message via SMS channel"

PER_ACCOUNT: Final = Rate(60, 60)
"""https://docs.kore.ai/ai-for-service/apis/contact-center/rate-limit-ccai"""

EXCEEDED: Final = (
    "You've exceeded the per-minute rate limit. Please wait for sometime before retrying."
)

BAD_CREDENTIALS: Final = 4002
"""Of an app that nobody knows, or a signature that is not its own. All other codes are statuses."""

STATUS: Mapping[type[errors.Refusal], int] = {
    errors.BadRequest: 400,
    errors.TooLarge: 400,
    errors.BadKey: 401,
    errors.BadToken: 401,
    errors.MissingScope: 403,
    errors.OptedOut: 403,
    errors.WrongAccount: 403,
    errors.NoNumber: 404,
    errors.NothingToSay: 404,
    errors.NumberNotProvisioned: 404,
    errors.UnknownAgent: 404,
    errors.UnknownConnector: 404,
    errors.UnknownConversation: 404,
    errors.UnknownResource: 404,
    errors.Conflict: 409,
    errors.KeyReused: 409,
    errors.WrongState: 409,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}


class OutboundSms(BaseModel):
    """The request's body. Fields it does not know are ignored."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"example": {"fromNo": "+14155550100", "toNo": "+14155550123"}},
    )

    fromNo: Annotated[  # noqa: N815 - Kore.ai's name
        str,
        Field(
            pattern=E164,
            description="The number to send from, one of the bot's. Its agent, or else the "
            "project's, is the flow that begins.",
        ),
    ]
    toNo: Annotated[str, Field(pattern=E164, description="The recipient, in E.164 form.")]  # noqa: N815
    message: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_TEXT,
            description="An addition of ours: the text. When it is absent or null, the agent opens "
            "the conversation, as Kore.ai's flow does.",
        ),
    ] = None


class Triggered(BaseModel):
    message: str


class Fault(BaseModel):
    msg: str
    """One sentence."""
    code: int


class Errors(BaseModel):
    """Every error."""

    errors: list[Fault]


def to_command(body: Mapping[str, Any]) -> SendText:
    """Raises BadRequest, naming the first field that is wrong."""
    for name in ("fromNo", "toNo"):
        if body.get(name) is None:
            raise errors.BadRequest(
                f"{name} is missing; give a number in E.164 form, like +14155550123."
            )
    try:
        sms = OutboundSms.model_validate(body)
    except ValidationError as error:
        raise errors.BadRequest(_sentence(error)) from None
    if sms.message is not None and not sms.message.strip():
        raise errors.BadRequest(_BLANK)
    return SendText(
        user_number=_number("toNo", sms.toNo),
        text=sms.message,
        agent_number=_number("fromNo", sms.fromNo),
        dialect="kore",
    )


def refused(refusal: errors.Refusal) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    status = STATUS[type(refusal)]
    if isinstance(refusal, errors.BadToken) and refusal.of_nobody:
        return status, error(BAD_CREDENTIALS, refusal.sentence)
    if isinstance(refusal, errors.NumberNotProvisioned):  # the field has another name here
        return status, error(status, "fromNo is not one of this bot's numbers.")
    return status, error(status, refusal.sentence)


def error(code: int, sentence: str) -> dict[str, Any]:
    return Errors(errors=[Fault(msg=sentence, code=code)]).model_dump()


_BLANK: Final = "message is blank; give a text, or leave message out to let the agent open."


def _number(field: str, raw: str) -> Phone:
    found = phone.user_number(raw)
    if found is None:
        raise errors.BadRequest(_not_e164(field))
    return found


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
