"""Requests go straight to the function of their route.

FastAPI describes our routes, and would serve them too; but each of ours takes the request alone, so
its layers, its solving of dependencies and its walk through all routers would be for nothing, at
more than half of the throughput (ADR 35). What is not found here (404, 405, pages) goes on to it.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from fastapi import FastAPI
from starlette.convertors import StringConvertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_Where: TypeAlias = tuple[str, int, str]
"""A method, how many slashes its path has, and what comes first in it."""


class Direct:
    def __init__(
        self, app: FastAPI, routes: Iterable[Route], around: Callable[[ASGIApp], ASGIApp]
    ) -> None:
        """`routes`: as they are included, the first that fits serves. `around`: the envelope."""
        self.app = app
        self._serve = around(_serve)
        self._exact: dict[tuple[str, str], Route] = {}
        self._open: dict[_Where, list[Route]] = {}
        for route in routes:
            if not _takes_request_alone(route):
                continue
            for method in route.methods or ():
                if "{" in route.path:
                    self._open.setdefault(_where(method, route.path), []).append(route)
                else:
                    self._exact.setdefault((method, route.path), route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._find(scope) if scope["type"] == "http" else None
        if route is None:
            await self.app(scope, receive, send)
            return
        scope["app"], scope["route"], scope["endpoint"] = self.app, route, route.endpoint
        await self._serve(scope, receive, send)

    def _find(self, scope: Scope) -> Route | None:
        method, path = scope["method"], scope["path"]
        if scope.get("root_path"):
            return None
        if (exact := self._exact.get((method, path))) is not None:
            scope["path_params"] = {}
            return exact
        for route in self._open.get(_where(method, path), ()):
            if found := route.path_regex.fullmatch(path):  # `$` lets a newline follow
                scope["path_params"] = found.groupdict()
                return route
        return None


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    endpoint: Endpoint = scope["endpoint"]
    response = await endpoint(Request(scope, receive, send))
    await response(scope, receive, send)


def _where(method: str, path: str) -> _Where:
    return method, path.count("/"), path[1:].partition("/")[0]


def _takes_request_alone(route: Route) -> bool:
    """And its path, if it has parameters, begins with a word and has words for parameters."""
    if list(inspect.signature(route.endpoint).parameters) != ["request"]:
        return False
    has_words = all(isinstance(each, StringConvertor) for each in route.param_convertors.values())
    return has_words and "{" not in _where("", route.path)[2]
