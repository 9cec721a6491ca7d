"""What /openapi.json says of answers that come later."""

from typing import Any

from textback.api.openapi_headers import EVERY, RETRY
from textback.core.turn import LONGEST_STATE, LONGEST_TEXT, MOST_TEXTS


def _error(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {"detail": {"type": "string"}},
        "required": ["detail"],
    }
    return {
        "description": description,
        "headers": EVERY | (headers or {}),
        "content": {"application/json": {"schema": schema}},
    }


def _path(name: str, pattern: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "pattern": pattern},
    }


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _nullable(**schema: object) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_COUNT = {"type": "integer", "minimum": 0, "maximum": 1_000_000_000}

_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {
            "type": "array",
            "maxItems": MOST_TEXTS,
            "description": "What the agent says; none: it stays silent.",
            "items": {
                "type": "object",
                "required": ["text"],
                "properties": {
                    "text": {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}
                },
            },
        },
        "end_conversation": {
            "type": "boolean",
            "default": False,
            "description": "Close the conversation after that.",
        },
        "hand_off": _nullable(
            type="string",
            minLength=1,
            maxLength=500,
            description="Why a person is to take over after that.",
        ),
        "state": _nullable(
            type="object",
            description=f"Comes back with the next turn; at most {LONGEST_STATE} bytes of JSON.",
        ),
        "usage": _nullable(
            type="object",
            description="What it cost, for the project's budgets.",
            properties={
                "input_tokens": _COUNT,
                "output_tokens": _COUNT,
                "cost_usd": {"type": "number", "minimum": 0, "maximum": 1_000_000},
            },
        ),
        "turn_id": _nullable(
            type="string", description="The turn's; then this answers no other turn."
        ),
        "run": _nullable(type="integer", description="The run's; then this answers no other run."),
    },
}

OPERATION: dict[str, Any] = {
    "operationId": "answerTurn",
    "description": "For servers of `http` agents that answered a turn with 202: the URL is the "
    "turn's `reply_url`. Signed as Standard Webhooks describe, with the agent's `secret`. Of one "
    "run of a turn, one answer counts.",
    "parameters": [
        _path("turn_id", "^[a-z0-9_]{1,40}$", "The turn."),
        _path("run", "^[1-9][0-9]{0,8}$", "Which of its runs this answers."),
        _header("webhook-id", "Any words of yours; they are part of what is signed."),
        _header("webhook-timestamp", "The time in unix seconds, within 5 minutes of ours."),
        _header("webhook-signature", "`v1,` and the signature; or several, with blanks between."),
    ],
    "requestBody": {
        "required": True,
        "description": "The same as an answer that is given at once; at most 1 MB.",
        "content": {
            "application/json": {
                "schema": _ANSWER,
                "examples": {
                    "answer": {
                        "summary": "A text, and something to remember",
                        "value": {
                            "messages": [{"text": "4pm works. See you then!"}],
                            "state": {"booked": "16:00"},
                        },
                    },
                    "hand_off": {
                        "summary": "A person is to take over",
                        "value": {
                            "messages": [{"text": "Let me get Ann for you."}],
                            "hand_off": "asked for a person",
                        },
                    },
                    "silence": {"summary": "Nothing to say", "value": {"messages": []}},
                },
            }
        },
    },
    "responses": {
        "202": {"description": "Recorded: what it says will be sent.", "headers": EVERY},
        "200": {
            "description": "This run has its answer already, this one or another; nothing changes.",
            "headers": EVERY,
        },
        "400": _error("Not an answer that can be used; the turn waits for a better one."),
        "401": _error("Not signed with the agent's secret, or not within 5 minutes."),
        "404": _error("There is no such turn, or no such run of it."),
        "409": _error(
            "Too late: the conversation is over, the user has said more and the turn runs again, "
            "or its time has passed."
        ),
        "413": _error("The body is over 1 MB."),
        "500": _error("Our fault."),
        "503": _error(
            "The database cannot be reached. Try again: what was recorded counts once.", RETRY
        ),
    },
}
