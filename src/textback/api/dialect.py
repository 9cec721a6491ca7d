"""What the application is told of a dialect."""

import json
from collections.abc import Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import APIRouter

from textback.core.frozen import frozen

Fault: TypeAlias = Callable[[int, str], tuple[str, bytes]]
"""An HTTP status and a sentence -> media type and body, as the dialect writes its errors."""


def detail(_status: int, sentence: str) -> tuple[str, bytes]:
    """`{"detail": "<sentence>"}`: PolyAI's, and of every path that is no other dialect's."""
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
    under: tuple[str, ...] = ()
    """How the paths begin that are its own even where nothing is: what says so is `fault`."""
    fault_at: Callable[[str, str], Fault] | None = None
    """Where not all paths write errors the same: a route's path and the request's correlation id
    -> how."""


def fault_of(scope: MutableMapping[str, Any]) -> Fault:
    """Of the dialect whose path was asked for."""
    path = getattr(scope.get("route"), "path", None)
    dialects: dict[str, Dialect] = scope["app"].state.dialects
    if path not in dialects:
        return _of_nothing(scope)
    found = dialects[path]
    if found.fault_at is None:
        return found.fault
    return found.fault_at(path, scope["state"]["correlation_id"])


def _of_nothing(scope: MutableMapping[str, Any]) -> Fault:
    """Of the dialect that has the longest beginning of a path where nothing is."""
    described: dict[str, Dialect] = scope["app"].state.described
    path: str = scope["path"]
    claims = {b: d.fault for d in described.values() for b in d.under if path.startswith(b)}
    return claims[max(claims, key=len)] if claims else detail
