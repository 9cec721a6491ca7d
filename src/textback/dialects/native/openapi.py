"""What /openapi.json says of our own routes: exactly what they do."""

from typing import Any, cast

from pydantic import BaseModel
from starlette.responses import Response

from textback.api.openapi_headers import EVERY, RETRY
from textback.dialects.native import wire

_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "Bearer.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true` when this is the answer to an earlier request with the same key.",
        "schema": {"type": "string"},
    }
}
_ID = {
    "name": "conversation_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": wire.ID},
    "example": "conv_01kk2v5m7xq1t8c9d0e2f3g4h5",
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body within 24 hours gives the same answer and says "
    "nothing more.",
    "schema": {"type": "string", "minLength": 1, "maxLength": wire.MAX_KEY},
}
_UNKNOWN = "Your account has no such conversation."
_FAULT = {
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """In one piece: it is put somewhere in a larger document, where its own references fail."""
    whole = model.model_json_schema(mode="serialization")
    parts: dict[str, Any] = whole.pop("$defs", {})

    def put(found: object) -> object:
        if isinstance(found, dict):
            inner = cast("dict[str, object]", found)
            reference = inner.get("$ref")
            if isinstance(reference, str):
                return put(parts[reference.rpartition("/")[2]])
            return {name: put(each) for name, each in inner.items()}
        return (
            [put(each) for each in cast("list[object]", found)]
            if isinstance(found, list)
            else found
        )

    return cast("dict[str, Any]", put(whole))


def _problem(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "description": description,
        "headers": EVERY | (headers or {}),
        "content": {"application/problem+json": {"schema": wire.Problem.model_json_schema()}},
    }


def _route(
    name: str,
    summary: str,
    description: str,
    answer: type[BaseModel],
    asked: type[BaseModel] | None = None,
    *,
    status: int = 200,
    wrong: str = "The body is not as described.",
    conflict: str | None = None,
    keyed: bool = False,
) -> dict[str, Any]:
    """What FastAPI is told of a route."""
    good = {
        "description": summary + ".",
        "headers": EVERY | (_REPLAYED if keyed else {}),
        "content": {"application/json": {"schema": _schema(answer)}},
    }
    responses = {
        str(status): good,
        "400": _problem(wrong),
        "401": _problem("The API key is missing, unknown, revoked or expired.", _CHALLENGE),
        "404": _problem(_UNKNOWN),
        "413": _problem(f"The body has over {wire.MAX_BODY // 1024} KB."),
        "500": {
            "description": "Our fault.",
            "headers": EVERY,
            "content": {"application/json": {"schema": _FAULT}},
        },
        "503": _problem("The database cannot be reached: try again.", RETRY),
    }
    if conflict is not None:
        responses["409"] = _problem(conflict)
    operation: dict[str, Any] = {
        "operationId": name,
        "description": description,
        "parameters": [_ID, _KEY] if keyed else [_ID],
        "responses": responses,
    }
    if asked is not None:
        schema = _schema(asked)
        operation["requestBody"] = {
            "required": "required" in schema,
            "description": f"At most {wire.MAX_BODY // 1024} KB.",
            "content": {"application/json": {"schema": schema}},
        }
    return {
        "status_code": status,
        "response_class": Response,
        "summary": summary,
        "openapi_extra": operation,
    }


_LIVE = "The conversation is over."

GET = _route(
    "getConversation",
    "One conversation, with all that was said",
    "Who has it, what state it is in, every text and what became of it.",
    wire.Conversation,
)
HAND_OFF = _route(
    "handOffConversation",
    "Hand a conversation to a person",
    "The agent falls silent: what it was about to say is dropped, texts that are queued go out. "
    "What the user says is kept and told as the event `message.received` with the note "
    "`handed_off`. Neither a warning nor a close for silence comes until it is resumed. One that "
    "a person has already stays as it is.",
    wire.HandedOff,
    wire.HandOff,
    conflict=_LIVE,
)
MESSAGES = _route(
    "sayInConversation",
    "Write to the user in the same thread",
    "As a person, or as the agent; in any state but closed. 202 means that the text is stored and "
    "will be sent, in its order; whether it arrived is not known yet.",
    wire.Queued,
    wire.Message,
    status=202,
    conflict="The conversation is over, the user has opted out, or the idempotency key came before "
    "with another body.",
    keyed=True,
)
RESUME = _route(
    "resumeConversation",
    "Give a conversation back to its agent",
    "From a person, or after a pause. What was said meanwhile is in the transcript that the agent "
    "sees, and is not answered any more, unless `reply` asks for that; texts kept during a pause "
    "are answered, unless `message` is given.",
    wire.Resumed,
    wire.Resume,
    wrong="The body is not as described, or the agent has no such node.",
    conflict="The conversation is neither handed off nor paused.",
)
END = _route(
    "endConversation",
    "End a conversation",
    "Sends nothing to the user. Texts that are queued go out. One that is over stays as it is.",
    wire.Ended,
    wire.End,
)
