"""Around every route: an id on every answer, no exception past it, one log line per request.

Pure ASGI: Starlette's BaseHTTPMiddleware costs more than half the throughput.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textback import metrics
from textback.api.dialect import fault_of
from textback.core.ids import new_correlation_id

log = structlog.stdlib.get_logger()

SERVER_ERROR = "Something went wrong on our side; it was logged under the X-PolyAI-Correlation-Id."

_HEADERS = [(b"x-content-type-options", b"nosniff")]


class Envelope:
    def __init__(self, app: ASGIApp, now: Callable[[], datetime]) -> None:
        self.app, self.now = app, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        correlation_id = new_correlation_id(self.now())
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        extra = [*_HEADERS, (b"x-polyai-correlation-id", correlation_id.encode())]
        status = 0
        began = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                log.info("http.abandoned", method=scope["method"], path=scope["path"])
                return
            except Exception:
                log.exception("http.failed", method=scope["method"], path=scope["path"])
                if status:  # too late for another answer: break the connection off
                    raise
                await _server_error(scope, send_with_id)
            route = getattr(scope.get("route"), "path", "none")
            metrics.ANSWERED.labels(route, status).inc()
            probe = scope["path"].startswith(("/health/", "/metrics"))
            log.log(
                logging.DEBUG if probe else logging.INFO,
                "http.answered",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((perf_counter() - began) * 1000, 1),
            )


async def _server_error(scope: Scope, send: Send) -> None:
    """With the headers that the route would have sent, in the shape of its dialect."""
    media_type, body = fault_of(scope)(500, SERVER_ERROR)
    told: Mapping[str, str] = scope["state"].get("headers", {})
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in told.items()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})
