"""What the application is told of a dialect."""

import json
from collections.abc import Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import APIRouter

from textback.core.frozen import frozen

Fault: TypeAlias = Callable[[int, str], tuple[str, bytes]]
"""An HTTP status and a sentence -> media type and body, as the dialect writes its errors."""


def detail(_status: int, sentence: str) -> tuple[str, bytes]:
    """`{"detail": "<sentence>"}`: PolyAI's, and of every path that is no dialect's."""
    return "application/json", json.dumps({"detail": sentence}).encode()


@frozen
class Dialect:
    name: str
    """Of its folder, its document (`/openapi/NAME.json`) and its switch (TEXTBACK_DIALECTS)."""
    title: str
    description: str
    router: APIRouter
    fault: Fault = detail
    """What its clients get where no route of its own could answer: 405, 500."""
    fault_at: Callable[[str, str], Fault] | None = None
    """Where not all paths write errors the same: a route's path and the request's correlation id
    -> how."""


def fault_of(scope: MutableMapping[str, Any]) -> Fault:
    """Of the dialect whose path was asked for."""
    path = getattr(scope.get("route"), "path", None)
    dialects: dict[str, Dialect] = scope["app"].state.dialects
    if path not in dialects:
        return detail
    found = dialects[path]
    if found.fault_at is None:
        return found.fault
    return found.fault_at(path, scope["state"]["correlation_id"])
