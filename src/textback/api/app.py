"""The web application: envelope, error shape, health, hooks, and the dialects it is handed."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from textback import __version__
from textback.api import deps, headers, health, hooks, replies
from textback.api.dialect import Dialect, fault_of
from textback.api.direct import Direct
from textback.api.envelope import Envelope
from textback.api.openapi_schemas import describe_all
from textback.exposition import Standing
from textback.runtime import Runtime

DESCRIPTION = """
Text people, and let an agent carry on when they text back.

Beside our own routes there are those of four vendors, byte for byte where they document them; each
family has a document of its own at `/openapi/NAME.json` and a page at `/docs/NAME`.
"""


def create_app(rt: Runtime, dialects: Sequence[Dialect], *, owns: bool = True) -> Direct:
    """`owns`: the runtime is the application's own, and closed when it has shut down."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        await rt.warm_up()
        keeping = [asyncio.create_task(each) for each in (rt.keep_time(), rt.keep_fresh())]
        yield
        for each in keeping:
            each.cancel()
        if owns:
            await rt.close()

    app = _App(
        lifespan=lifespan,
        title="textback",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.runtime = rt
    app.state.standing = Standing(rt)
    served = [(d, route) for d in dialects for route in _routes(d.router)]
    app.state.dialects = {route.path: d for d, route in served}
    app.state.methods = _methods(route for _, route in served)
    app.state.described = {d.name: d for d in dialects}
    app.state.documents = dict[str, JSONResponse]()
    app.add_exception_handler(HTTPException, _http_error)
    of_dialects = [d.router for d in dialects]
    routers = (*of_dialects, hooks.router, replies.router, health.router, _docs)
    app.router.routes.insert(0, _Nowhere())
    for router in routers:
        app.include_router(router)
    # Swagger UI comes with us: the page works without the internet.
    app.mount("/docs/assets", _Whole(packages=[("fastapi_swagger", "resources")]))
    direct = [each for router in routers for each in _routes(router)]
    told = headers.Headers(rt.public_url)
    # Inside of Starlette's own answer to errors, which is plain text and would come first.
    app.add_middleware(Envelope, now=rt.now, headers=told)
    return Direct(app, direct, lambda serve: Envelope(serve, rt.now, told))


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        describe_all()
        return super().openapi()


class _Nowhere(BaseRoute):
    """Paths that end with a newline: the `$` of Starlette's patterns does not mind it."""

    path: Final = "/{any}%0A"

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        is_here = scope["type"] == "http" and scope["path"].endswith("\n")
        return Match.FULL if is_here else Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        raise HTTPException(404)


class _Whole(StaticFiles):
    """Starlette refuses ranges in plain text; nobody needs a part of these files."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": kept}, receive, send)


_docs = APIRouter()


def _routes(router: APIRouter) -> Iterator[Route]:
    for route in router.routes:
        if isinstance(route, Route):
            yield route
        elif isinstance(inside := getattr(route, "original_router", None), APIRouter):
            yield from _routes(inside)


def _methods(routes: Iterable[Route]) -> dict[str, set[str]]:
    """By path."""
    found: dict[str, set[str]] = {}
    for route in routes:
        found.setdefault(route.path, set()).update(route.methods or ())
    return found


@_docs.api_route("/docs", methods=deps.READ, include_in_schema=False)
async def docs() -> Response:
    return _page("openapi.json", "textback API", "docs/assets")


@_docs.api_route("/docs/{name}", methods=deps.READ, include_in_schema=False)
async def docs_of(request: Request, name: str) -> Response:
    dialect = _described(request, name)
    return _page(f"../openapi/{name}.json", dialect.title, "assets")


@_docs.api_route("/openapi/{name}.json", methods=deps.READ, include_in_schema=False)
async def openapi_of(request: Request, name: str) -> Response:
    dialect = _described(request, name)
    written: dict[str, JSONResponse] = request.app.state.documents
    if name not in written:
        describe_all()
        document = get_openapi(
            title=dialect.title,
            version=__version__,
            description=dialect.description,
            routes=dialect.router.routes,
        )
        written[name] = JSONResponse(document)
    return written[name]


def _described(request: Request, name: str) -> Dialect:
    found: dict[str, Dialect] = request.app.state.described
    if name not in found:
        raise HTTPException(404)
    return found[name]


def _page(document: str, title: str, assets: str) -> Response:
    page = get_swagger_ui_html(
        openapi_url=document,
        title=title,
        swagger_js_url=f"{assets}/swagger-ui-bundle.js",
        swagger_css_url=f"{assets}/swagger-ui.css",
        swagger_favicon_url=f"{assets}/favicon-32x32.png",
        swagger_ui_parameters={"docExpansion": "list", "tryItOutEnabled": True},
    )
    page.headers.update(headers.of_page(bytes(page.body).decode()))
    return page


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, in the shape of whose path it is."""
    if not isinstance(error, HTTPException):
        raise error
    path, told = request.scope["path"].replace("\n", "%0A"), dict(error.headers or {})
    match error.status_code:
        case 404:
            detail = f"There is nothing at {path}; the API is described at /docs."
        case 405:
            # Starlette names the methods of the first route alone that has the path.
            route = getattr(request.scope.get("route"), "path", None)
            if others := request.app.state.methods.get(route):
                told["Allow"] = ", ".join(sorted(others))
            allowed = told.get("Allow", "another method")
            detail = f"{request.method} does not work at {path}; use {allowed}."
        case _:
            detail = str(error.detail)
    media_type, body = fault_of(request.scope)(error.status_code, detail)
    return Response(body, error.status_code, headers=told, media_type=media_type)
