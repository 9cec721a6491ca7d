"""What /openapi.json says of the route: exactly what it does."""

from typing import Any, Final

from textback.api.openapi_headers import EVERY, RETRY
from textback.dialects.polyai.wire import MAX_BODY, MAX_KEY, Error, OutboundSms

_COUNTED = {
    "RateLimit": {
        "description": "What is left of the project's limit: `r` requests, full again in `t` s "
        "(draft-ietf-httpapi-ratelimit-headers-10).",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "The project's limit: `q` requests each `w` s.",
        "schema": {"type": "string"},
    },
}


_ALWAYS_COUNTED = {name: header | {"required": True} for name, header in _COUNTED.items()}


_ERROR: Final = Error.model_json_schema()


def _string_header(description: str, *, required: bool) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


def _error(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "headers": EVERY | (headers or {}),
        "content": {"application/json": {"schema": _ERROR}},
    }


def _parameter(name: str, description: str, *, required: bool, **schema: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string", **schema},
    }


OPERATION: dict[str, Any] = {
    "operationId": "sendOutboundSms",
    "description": "202 means that the text and its conversation are stored, and will be sent; "
    "whether it arrived is not known yet. Each request opens a new conversation and closes the "
    "one that the same two numbers had.",
    "parameters": [
        _parameter("X-PolyAi-Auth-Token", "Your API key.", required=True),
        _parameter("X-TOKEN-ID", "The connector to send with.", required=True),
        _parameter(
            "Idempotency-Key",
            "An addition of ours: the same key with the same body within 24 hours gives the same "
            "answer and sends nothing more.",
            required=False,
            minLength=1,
            maxLength=MAX_KEY,
        ),
    ],
    "requestBody": {
        "required": True,
        "description": f"At most {MAX_BODY // 1024} KB.",
        "content": {"application/json": {"schema": OutboundSms.model_json_schema()}},
    },
    "responses": {
        "202": {
            "description": "Accepted; the body is empty. Also when the recipient has opted out: "
            "then nothing is sent.",
            "headers": EVERY
            | {
                "X-Conversation-Id": _string_header("The new conversation.", required=True),
                "X-Message-Id": _string_header("The text's id.", required=True),
                "Idempotent-Replayed": _string_header(
                    "`true` when this is the answer to an earlier request with the same key.",
                    required=False,
                ),
            }
            | _COUNTED,
        },
        "400": _error(
            "The body is not as described, X-TOKEN-ID is missing, agent_number is not one of the "
            "project's, or there is no message and the agent cannot open.",
            _COUNTED,
        ),
        "401": _error("The API key is missing, unknown, revoked or expired."),
        "403": _error("The API key belongs to another account than the connector."),
        "404": _error("No such connector, or it has no number to send from.", _COUNTED),
        "409": _error("The idempotency key came before with another body.", _COUNTED),
        "429": _error("The project's rate limit is used up.", _ALWAYS_COUNTED | RETRY),
        "500": _error("Our fault.", _COUNTED),
        "503": _error(
            "The database cannot be reached. The text is stored only if it was at the very last "
            "moment: try again with an Idempotency-Key.",
            _COUNTED | RETRY,
        ),
    },
}
