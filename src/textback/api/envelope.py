"""Around every route: an id on every answer, no exception past it, one log line per request.

Pure ASGI: Starlette's BaseHTTPMiddleware costs more than half the throughput.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from time import perf_counter
from typing import Final

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textback import logs, tracing
from textback.api import measured
from textback.api.dialect import fault_of
from textback.api.headers import Headers
from textback.core.ids import new_correlation_id
from textback.log_lines import OUR_ID, hide_in_path

log = structlog.stdlib.get_logger()

SERVER_ERROR = "Something went wrong on our side; it was logged under the X-PolyAI-Correlation-Id."

_SERVER_ERROR: Final = 500
_TOLD: Final = "told"
_OUR_ID: Final = re.compile(OUR_ID)


class Envelope:
    def __init__(self, app: ASGIApp, now: Callable[[], datetime], headers: Headers) -> None:
        self.app, self.now, self.headers = app, now, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif not tracing.is_on() or _is_probe(scope):
            await self._answer(scope, receive, send)
        else:
            await self._trace(scope, receive, send)

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the conventions of OpenTelemetry for HTTP; a path may hold a number, a route not."""
        method = scope["method"] if scope["method"] in measured.METHODS else "HTTP"
        parent = next((v for name, v in scope["headers"] if name == b"traceparent"), b"")
        with tracing.span(method, kind="server", parent=parent.decode("latin-1")) as span:
            status = await self._answer(scope, receive, send)
            route = getattr(scope.get("route"), "path", None)
            span.name(f"{method} {route}" if route else method)
            span.set(
                **{
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status or None,
                }
            )
            if status >= _SERVER_ERROR:
                span.fail(str(status))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Gives the status; 0: nobody was there any more."""
        correlation_id = new_correlation_id(self.now())
        scope.setdefault("state", {})["correlation_id"] = correlation_id
        answer_id = (b"x-polyai-correlation-id", correlation_id.encode())
        status = 0
        began = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                always = self.headers.of(scope["path"], status)
                message["headers"] = [*message.get("headers", []), *always, answer_id]
            await send(message)

        with logs.Request(correlation_id) as about:
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                seconds = perf_counter() - began
                measured.answered(scope, measured.ABANDONED, seconds)
                log.info(
                    "http.abandoned",
                    method=scope["method"],
                    path=_path(scope),
                    ms=round(seconds * 1000, 1),
                    **about,
                )
                return 0
            except Exception:
                log.exception("http.failed", method=scope["method"], path=_path(scope), **about)
                if status:  # too late for another answer: break the connection off
                    measured.answered(scope, 500, perf_counter() - began)
                    raise
                await _server_error(scope, send_with_id)
            seconds = perf_counter() - began
            measured.answered(scope, status, seconds)
            is_quiet = _is_probe(scope) or scope["state"].get(_TOLD)
            (log.debug if is_quiet else logs.tell)(
                "http.answered",
                method=scope["method"],
                path=_path(scope),
                status=status,
                ms=round(seconds * 1000, 1),
                **about,
            )
        return status


def is_told(scope: Scope) -> None:
    """A line of its own tells all of this request: its answer is one for `debug`."""
    scope["state"][_TOLD] = True


def _path(scope: Scope) -> str:
    """As the log may tell it: where a route takes what a caller puts there, only ids of ours."""
    path: str = scope["path"]
    route: str | None = getattr(scope.get("route"), "path", None)
    if route == path:
        return path
    if route is None:
        return hide_in_path(logs.without_secrets(path))
    for name, value in scope["path_params"].items():
        if _OUR_ID.fullmatch(value):
            route = route.replace(f"{{{name}}}", value)
    return route


def _is_probe(scope: Scope) -> bool:
    return scope["path"].startswith(("/health/", "/metrics"))


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
