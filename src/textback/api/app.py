"""The web application: envelope, error shape, health, hooks, and the dialects it is handed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from textback import __version__
from textback.api import health, hooks, replies
from textback.api.envelope import Envelope
from textback.runtime import Runtime

DESCRIPTION = """
Text people, and let an agent carry on when they text back.

`POST /v1/outbound-sms` is PolyAI's route, byte for byte where PolyAI documents it; the others are
ours. Every error has `{"detail": "<one sentence>"}`.
"""


def create_app(rt: Runtime, dialects: Sequence[APIRouter], *, owns: bool = True) -> ASGIApp:
    """`owns`: the runtime is the application's own, and closed when it has shut down."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        await rt.warm_up()
        keeping = asyncio.create_task(rt.keep_time())
        yield
        keeping.cancel()
        if owns:
            await rt.close()

    app = FastAPI(
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
    app.add_exception_handler(HTTPException, _http_error)
    for router in (*dialects, replies.router, hooks.router, health.router, _docs):
        app.include_router(router)
    # Swagger UI comes with us: the page works without the internet.
    app.mount("/docs/assets", _Whole(packages=[("fastapi_swagger", "resources")]))
    # Inside of Starlette's own answer to errors, which is plain text and would come first.
    app.add_middleware(Envelope, now=rt.now)
    return app


class _Whole(StaticFiles):
    """Starlette refuses ranges in plain text; nobody needs a part of these files."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


_docs = APIRouter()


@_docs.get("/docs", include_in_schema=False)
async def docs() -> Response:
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="textback API",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon-32x32.png",
        swagger_ui_parameters={"docExpansion": "full", "tryItOutEnabled": True},
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, in our shape."""
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path
    match error.status_code:
        case 404:
            detail = f"There is nothing at {path}; the API is described at /docs."
        case 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            detail = f"{request.method} does not work at {path}; use {allowed}."
        case _:
            detail = str(error.detail)
    return JSONResponse({"detail": detail}, error.status_code, headers=error.headers)
