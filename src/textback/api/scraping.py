"""Whether who asks for what was counted may know it."""

import hmac

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback.api import deps

_DETAIL = "Send the token of TEXTBACK_METRICS_TOKEN as Authorization: Bearer TOKEN."


def refused(request: Request) -> Response | None:
    """The answer to who may not; None: it may, or no token is set."""
    wanted = deps.runtime(request).metrics_token
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Headers are Latin-1 (RFC 9110); bytes, because compare_digest takes no other text than ASCII.
    right = hmac.compare_digest(given.strip().encode(), wanted.encode())
    if not wanted or (scheme.lower() == "bearer" and right):
        return None
    return JSONResponse({"detail": _DETAIL}, 401, {"WWW-Authenticate": "Bearer"})
