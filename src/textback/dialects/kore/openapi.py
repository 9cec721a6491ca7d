"""What the document says of the route: exactly what it does."""

from typing import Any, Final

from textback.api.openapi_headers import EVERY, RETRY
from textback.dialects.kore.wire import MAX_BODY, TRIGGERED, Errors, OutboundSms, Triggered


def _errors() -> dict[str, Any]:
    """With the shape of one error in its place: the document has no shelf for it."""
    schema = Errors.model_json_schema()
    [(_, fault)] = schema.pop("$defs").items()
    schema["properties"]["errors"]["items"] = fault
    return schema


_ERRORS: Final = _errors()


def _error(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "headers": EVERY | (headers or {}),
        "content": {"application/json": {"schema": _ERRORS}},
    }


def _ours(description: str) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string"}}


OPERATION: dict[str, Any] = {
    "operationId": "outboundSms",
    "description": "Lets the agent of `fromNo` open a conversation. 200 means that it is stored "
    "and will be sent. Each request opens a new conversation and closes the one that the same two "
    "numbers had.",
    "parameters": [
        {
            "name": "BotId",
            "in": "path",
            "required": True,
            "description": "One of the account's connectors.",
            "schema": {"type": "string"},
        },
        {
            "name": "auth",
            "in": "header",
            "required": True,
            "description": "A JWT, signed with HS256 and the app's secret: `appId` is the app's "
            "client id, `sub` whatever you like. With a `jti` it is good once, and `exp` must be "
            "at most an hour ahead.",
            "schema": {"type": "string"},
        },
    ],
    "requestBody": {
        "required": True,
        "description": f"At most {MAX_BODY // 1024} KB.",
        "content": {"application/json": {"schema": OutboundSms.model_json_schema()}},
    },
    "responses": {
        "200": {
            "description": "Accepted. Also when the recipient has opted out: then nothing is sent.",
            "headers": EVERY
            | {
                "X-Conversation-Id": _ours("The new conversation; an addition of ours."),
                "X-Message-Id": _ours("Its first text; an addition of ours."),
            },
            "content": {
                "application/json": {
                    "schema": Triggered.model_json_schema(),
                    "example": {"message": TRIGGERED},
                }
            },
        },
        "400": _error("The body is not as described."),
        "401": _error(
            "The JWT is missing or not good; code 4002: no app has this `appId`, or its secret is "
            "another."
        ),
        "403": _error('The app lacks the scope "send" (Kore.ai: Outbound SMS).'),
        "404": _error(
            "The account has no such bot, or `fromNo` is not one of its numbers, or has no agent "
            "that can open a conversation."
        ),
        "429": _error("More than 60 requests of the account in a minute.", RETRY),
        "500": _error("Our fault."),
        "503": _error("The database cannot be reached; try again, with another `jti`.", RETRY),
    },
}
