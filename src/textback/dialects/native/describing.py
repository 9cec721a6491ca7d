"""How the routes of our own are described in OpenAPI: the parts that every description has."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from textback.api.openapi_headers import EVERY, RETRY
from textback.api.openapi_schemas import in_one_piece, later
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
COUNTED: Mapping[str, Any] = {
    "RateLimit": {
        "description": "What is left of the project's sends "
        "(draft-ietf-httpapi-ratelimit-headers-10).",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "How many sends the project has in how many seconds.",
        "schema": {"type": "string"},
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body within 24 hours gives the same answer and does "
    "nothing more.",
    "schema": {"type": "string", "minLength": 1, "maxLength": wire.MAX_KEY},
}
_WRONG = "The request is not as described."


def path_id(name: str, pattern: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": pattern},
        "example": example,
    }


def route(
    name: str,
    summary: str,
    description: str,
    answer: type[BaseModel] | Mapping[str, Any],
    asked: type[BaseModel] | Mapping[str, Any] | None = None,
    *,
    path: Sequence[Mapping[str, Any]] = (),
    query: type[BaseModel] | None = None,
    status: int = 200,
    problems: Mapping[int, str] | None = None,
    keyed: bool = False,
    counted: bool = False,
    scoped: bool = True,
    at_most: int = wire.MAX_BODY,
) -> dict[str, Any]:
    """What FastAPI is told of a route.

    `answer` and `asked`: a model, for JSON; or an OpenAPI `content`, for anything else. `problems`
    by status, beside those that every route has. `counted`: against the project's rate limit.
    `scoped`: not any key will do.
    """

    def operation() -> dict[str, Any]:
        more = dict(COUNTED) if counted else {}
        told: dict[int, str] = {401: "The API key is missing, unknown, revoked or expired."}
        if scoped:
            told[403] = "The API key may not do that: it lacks the scope."
        told[503] = "The database cannot be reached: try again."
        if asked is not None or query is not None or keyed:
            told[400] = _WRONG
        if asked is not None:
            told[413] = f"The body has over {at_most // 1024} KB."
        told |= problems or {}
        own: dict[int, dict[str, Any]] = {401: _CHALLENGE, 429: dict(RETRY), 503: dict(RETRY)}
        responses = {
            str(status): {
                "description": summary + ".",
                "headers": EVERY | more | (_REPLAYED if keyed else {}),
                "content": _content(answer),
            },
            "500": _problem("Our fault.", {}),
        }
        for code, why in told.items():
            responses[str(code)] = _problem(why, own.get(code, {}) | more)
        found: dict[str, Any] = {
            "operationId": name,
            "description": description,
            "parameters": [*path, *_parameters(query), *([_KEY] if keyed else [])],
            "responses": dict(sorted(responses.items())),
        }
        if asked is not None:
            content = _content(asked)
            required = any("required" in each["schema"] for each in content.values())
            found["requestBody"] = {
                "required": required or not isinstance(asked, type),
                "description": f"At most {at_most // 1024} KB.",
                "content": content,
            }
        return found

    return {
        "status_code": status,
        "response_class": Response,
        "summary": summary,
        "openapi_extra": later(operation),
    }


def schema(model: type[BaseModel]) -> dict[str, Any]:
    return in_one_piece(model, "serialization")


def _content(of: type[BaseModel] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(of, Mapping):
        return dict(of)
    return {"application/json": {"schema": schema(of)}}


def _parameters(query: type[BaseModel] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    found = schema(query)
    needed = found.get("required", [])
    return [
        {
            "name": name,
            "in": "query",
            "required": name in needed,
            "description": each.pop("description", ""),
            "schema": _not_null(each),
        }
        for name, each in found["properties"].items()
    ]


def _not_null(of: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is left out, and never null."""
    if of.get("default", 0) is None:
        del of["default"]
    kinds = [each for each in of.get("anyOf", []) if each != {"type": "null"}]
    if len(kinds) != 1:
        return of
    return {name: each for name, each in of.items() if name != "anyOf"} | kinds[0]


def _problem(description: str, headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {**EVERY, **headers},
        "content": {"application/problem+json": {"schema": in_one_piece(wire.Problem)}},
    }
