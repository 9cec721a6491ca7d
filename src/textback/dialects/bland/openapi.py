"""What /openapi/bland.json says of each route."""

from typing import Any, Final

from pydantic import BaseModel
from starlette.responses import Response

from textback.api.openapi_headers import EVERY, RETRY
from textback.api.openapi_schemas import in_one_piece
from textback.dialects.bland import wire

Schema = dict[str, Any]

ANYTHING: Final[Schema] = {}

_ID: Final[Schema] = {
    "name": "conversation_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
    "example": "019cad0a-36d9-7c35-9c0d-46fdb7e2cb27",
}
_KEY: Final[Schema] = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "description": "The same key within 24 hours gets the first answer again, and sends nothing "
    "more, even if the body differs.",
    "schema": {"type": "string", "minLength": 1, "maxLength": wire.MAX_KEY},
}
_CHALLENGE: Final[Schema] = {
    "WWW-Authenticate": {
        "description": "Bearer.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_WHY: Final = {
    400: "The body is not as described; or the agent cannot do what is asked.",
    401: "AUTH_FAILURE: the API key is missing, unknown, revoked or expired.",
    403: "FORBIDDEN: the API key may not do this.",
    404: "Your account has no such thing.",
    409: "The conversation is not in a state in which that can be done.",
    413: "REQUEST_TOO_LARGE: the body is larger than that.",
    429: "SMS_RL_PLAN_HOURLY or SMS_RL_PLAN_DAILY: the project's rate limit is used up.",
    500: "Our fault.",
    502: "CARRIER_REFUSED: the carrier says no.",
    503: "SERVICE_UNAVAILABLE: the database cannot be reached; try again.",
}
_HEADERS: Final[dict[int, Schema]] = {401: _CHALLENGE, 429: RETRY, 503: RETRY}


def schema(model: type[BaseModel]) -> Schema:
    return in_one_piece(model)


def text(description: str, **more: object) -> Schema:
    return {"type": "string", "description": description, **more}


def maybe(schema: Schema) -> Schema:
    return schema | {"type": [schema["type"], "null"]}


def fields(**of: Schema) -> Schema:
    """An object that has all of these."""
    return {"type": "object", "properties": of, "required": list(of)}


def enveloped(data: Schema) -> Schema:
    return fields(data=data, errors={"type": "null"})


def route(
    name: str,
    summary: str,
    description: str,
    good: Schema,
    *,
    asked: Schema | None = None,
    needs_body: bool = True,
    status: int = 200,
    refusals: tuple[int, ...] = (),
    by_id: bool = False,
    keyed: bool = False,
    query: tuple[Schema, ...] = (),
    form: Schema | None = None,
    at_most: int = wire.MAX_BODY,
) -> Schema:
    """What FastAPI is told of a route: `@router.post(path, **route(...))`.

    `good` is the schema of the whole answer (`enveloped(...)`), `refusals` the statuses beside
    400, 401, 403, 413, 500 and 503, which every route has.
    """
    codes = {400, 401, 403, 500, 503, *refusals}
    codes |= {404} if by_id else set[int]()
    codes |= {413} if asked is not None else set[int]()
    responses: Schema = {
        str(status): {
            "description": summary + ".",
            "headers": EVERY,
            "content": {"application/json": {"schema": good}},
        }
    }
    for code in sorted(codes):
        responses[str(code)] = {
            "description": _WHY[code],
            "headers": EVERY | _HEADERS.get(code, {}),
            "content": {"application/json": {"schema": _refused()}},
        }
    operation: Schema = {
        # Two of our own API have the same names, and one document describes both.
        "operationId": f"bland{name[0].upper()}{name[1:]}",
        "description": description,
        "parameters": [*([_ID] if by_id else []), *([_KEY] if keyed else []), *query],
        "responses": responses,
    }
    if asked is not None:
        operation["requestBody"] = {
            "required": needs_body,
            "description": f"At most {at_most // 1024} KB. Fields that are not named here "
            "are ignored.",
            "content": {"application/json": {"schema": asked}}
            | ({} if form is None else {"multipart/form-data": {"schema": form}}),
        }
    return {
        "status_code": status,
        "response_class": Response,
        "summary": summary,
        "openapi_extra": operation,
    }


def _refused() -> Schema:
    fault = fields(error=text("The code."), message=text("What to change."))
    return fields(data={"type": "null"}, errors={"type": "array", "items": fault, "minItems": 1})
