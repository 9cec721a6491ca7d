"""How Nixflex' routes are described in OpenAPI: the parts that every description has."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import Response

from textback.api.openapi_headers import EVERY, RETRY
from textback.api.openapi_schemas import in_one_piece
from textback.dialects.nixflex import wire

_LIMIT: Final[dict[str, Any]] = {
    "X-RateLimit-Limit": {
        "description": "Of this kind: 600 a minute to read, 120 to change; 10 keys an hour.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Remaining": {
        "description": "What is left of them.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Reset": {
        "description": "When all of them are back, in unix seconds.",
        "schema": {"type": "integer"},
    },
}
_ALWAYS: Final = {name: header | {"required": True} for name, header in _LIMIT.items()}
_CHALLENGE: Final = {
    "WWW-Authenticate": {
        "description": "Bearer.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_REPLAYED: Final = {
    "Idempotent-Replayed": {
        "description": "`true` when this is the answer to an earlier request with the same key.",
        "schema": {"type": "string"},
    }
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body within 24 hours gives the same answer and sends"
    " nothing more.",
    "schema": {"type": "string", "minLength": 1, "maxLength": wire.MAX_KEY},
}
_OF_ALL: Final[Mapping[int, str]] = {
    401: "invalid_api_key, key_secret_required.",
    403: "permission_denied: the key lacks the scope.",
    429: "rate_limit_exceeded.",
    500: "internal_error.",
    503: "service_unavailable: the database cannot be reached; try again.",
}
WHOLE: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_OWN: Final[Mapping[int, Mapping[str, Any]]] = {401: _CHALLENGE, 429: RETRY, 503: RETRY}


def schema(model: type[BaseModel]) -> dict[str, Any]:
    return in_one_piece(model, "serialization")


def _with_nulls(of: dict[str, Any]) -> dict[str, Any]:
    """A field that may be left out may as well be null."""
    properties: dict[str, Any] = of["properties"]
    for name, each in properties.items():
        if name not in of.get("required", []) and {"type": "null"} not in each.get("anyOf", []):
            properties[name] = {"anyOf": [each, {"type": "null"}]}
    return of


def query(name: str, description: str, **of: object) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": of,
    }


def limit(usual: int, most: int) -> dict[str, Any]:
    return query(
        "limit",
        f"More than {most} is reduced to that.",
        type="integer",
        minimum=1,
        maximum=999_999_999,
        default=usual,
    )


LIST_OFFSET: Final = query(
    "offset", "How many to pass over.", type="integer", minimum=0, maximum=999_999_999, default=0
)


def obj(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def in_path(name: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "example": example,
    }


def route(
    name: str,
    summary: str,
    description: str,
    answer: Mapping[str, Any],
    asked: type[BaseModel] | None = None,
    *,
    parameters: Sequence[Mapping[str, Any]] = (),
    status: int = 200,
    errors: Mapping[int, str] | None = None,
    keyed: bool = False,
    at_most: int = wire.MAX_BODY,
) -> dict[str, Any]:
    """What FastAPI is told of a route.

    `answer`: its schema. `errors`: codes by status, beside those that every route has.
    """
    told = {**_OF_ALL, **(errors or {})}
    if asked is not None:
        told[400] = f"{told.get(400, '')} body_too_large.".strip()
    responses: dict[str, Any] = {
        str(status): {
            "description": summary + ".",
            "headers": EVERY | _ALWAYS | (_REPLAYED if keyed else {}),
            "content": {"application/json": {"schema": dict(answer)}},
        }
    }
    for code, codes in told.items():
        responses[str(code)] = {
            "description": codes,
            "headers": EVERY | _LIMIT | dict(_OWN.get(code, {})),
            "content": {"application/json": {"schema": schema(wire.Envelope)}},
        }
    operation: dict[str, Any] = {
        "operationId": name,
        "description": description,
        "parameters": [*parameters, *([_KEY] if keyed else [])],
        "responses": dict(sorted(responses.items())),
    }
    if asked is not None:
        body = _with_nulls(in_one_piece(asked))
        operation["requestBody"] = {
            "required": "required" in body or "minProperties" in body,
            "description": f"At most {at_most // 1024} KB.",
            "content": {"application/json": {"schema": body}},
        }
    return {
        "status_code": status,
        "response_class": Response,
        "summary": summary,
        "openapi_extra": operation,
    }
