"""Requests and how long they took, for Prometheus; on the path of every request, so in one look-up.

What a request is counted under is put together once for each route, method and class of status.
"""

from typing import Final

from prometheus_client import Histogram
from starlette.types import Scope

from textback import metrics

ABANDONED: Final = 0
"""Instead of a status: the client went away before its answer."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_HERE: Final = {
    "/hooks/": "hooks",
    "/v1/turns/": "agents",
    "/health/": "operation",
    "/metrics": "operation",
}
"""What is no dialect's, by how its routes begin."""

NOBODY: Final = "none"
"""The route of paths that nobody serves, and the dialect of what is not told apart."""

_bound: dict[tuple[str, str, int], Histogram] = {}


def answered(scope: Scope, status: int, seconds: float) -> None:
    """`status`: of HTTP, or ABANDONED."""
    route = getattr(scope.get("route"), "path", NOBODY)
    method = scope["method"] if scope["method"] in METHODS else metrics.OTHER
    found = _bound.get((route, method, status // 100))
    if found is None:
        dialect = scope["app"].state.dialects.get(route)
        found = _bound[route, method, status // 100] = metrics.HTTP.labels(
            dialect=_here(route) if dialect is None else dialect.name,
            route=route,
            method=method,
            status=f"{status // 100}xx" if status else "abandoned",
        )
    found.observe(seconds)


def _here(route: str) -> str:
    return next((name for begins, name in _HERE.items() if route.startswith(begins)), NOBODY)
