"""How PolyAI's platform says no, on every route but outbound-sms.

https://docs.poly.ai/api-reference/error-codes
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api.dialect import Fault, detail
from textback.api.openapi_headers import EVERY
from textback.core import errors
from textback.dialects.polyai import wire


class PlatformError(BaseModel):
    """One shape for all; `error_id` is also in the X-PolyAI-Correlation-Id header."""

    success: bool = False
    error: str
    error_id: str
    error_code: str
    error_message: str
    data: None = None


_CODES: Final[Mapping[type[errors.Refusal], str]] = {
    errors.BadKey: "UNAUTHORIZED",
    errors.MissingScope: "FORBIDDEN",
    errors.WrongAccount: "FORBIDDEN",
    errors.RateLimited: "RATE_LIMITED",
    errors.Unavailable: "SERVICE_UNAVAILABLE",
}


def refused(
    request: Request,
    refusal: errors.Refusal,
    codes: Mapping[type[errors.Refusal], tuple[int, str]],
) -> Response:
    """`codes`: the route's own, for what is not the same on every route."""
    metrics.refused("polyai", refusal)
    status, code = codes.get(type(refusal)) or (wire.STATUS[type(refusal)], _CODES[type(refusal)])
    headers = dict[str, str]()
    if isinstance(refusal, errors.Unavailable | errors.RateLimited):
        headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    error = PlatformError(
        error=refusal.sentence,
        error_id=request.state.correlation_id,
        error_code=code,
        error_message=refusal.sentence,
    )
    return JSONResponse(error.model_dump(), status, headers)


def fault_at(path: str, correlation_id: str) -> Fault:
    """What is not answered by a route: as the platform writes it, but on outbound-sms."""
    return detail if path == wire.ROUTE else partial(_fault, correlation_id)


def _fault(correlation_id: str, status: int, sentence: str) -> tuple[str, bytes]:
    codes = {405: "METHOD_NOT_ALLOWED", 500: "INTERNAL_SERVER_ERROR"}
    error = PlatformError(
        error=sentence,
        error_id=correlation_id,
        error_code=codes.get(status, "ERROR"),
        error_message=sentence,
    )
    return "application/json", error.model_dump_json().encode()


_ERROR: Final = PlatformError.model_json_schema()


def described(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    """What an OpenAPI document says of such an answer."""
    return {
        "description": description,
        "headers": EVERY | (headers or {}),
        "content": {"application/json": {"schema": _ERROR}},
    }


def key_of(request: Request) -> str:
    """These routes take the key in `x-api-key`. Raises BadKey."""
    key = request.headers.get("x-api-key")
    if not key:
        raise errors.BadKey("Send your API key in the X-API-KEY header.")
    return key
