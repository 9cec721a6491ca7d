"""Is it alive, is it ready, and what has it counted."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import exposition
from textback.api import deps, scraping
from textback.core.errors import Unavailable
from textback.core.gcra import Rate
from textback.core.ports import Unreachable
from textback.db import migrate, reads

router = APIRouter(include_in_schema=False)


@router.api_route("/health/live", methods=deps.READ)
async def live() -> Response:
    """The process answers. Asks nothing of anybody: a database's outage is no reason to restart."""
    return JSONResponse({"status": "ok"})


@router.api_route("/health/ready", methods=deps.READ)
async def ready(request: Request) -> Response:
    """Whether requests should be sent here: the database is there and migrated.

    Without Redis we go on with a local limit, so that is told, and no reason to stop.
    """
    rt = deps.runtime(request)
    try:
        revision = await reads.revision(rt.db)
        database = "ok" if migrate.fits(revision) else f"at revision {revision}: migrate"
    except Unavailable:
        database = "unreachable"
    try:
        await rt.pace.take("health", Rate(1000, 1))
        redis = "ok"
    except Unreachable:
        redis = "unreachable: limits hold per process, and nothing is sent"
    status = "ok" if database == "ok" else "unavailable"
    if getattr(request.state, "stopping", False):  # set by the server, see cli/serving.py
        status = "stopping"
    return JSONResponse(
        {"status": status, "database": database, "redis": redis}, 200 if status == "ok" else 503
    )


@router.api_route("/metrics", methods=deps.READ)
async def metrics(request: Request) -> Response:
    """What this process counted, and how the queues stand for all."""
    if (answer := scraping.refused(request)) is not None:
        return answer
    said = await exposition.text(request.app.state.standing)
    return Response(said, media_type=CONTENT_TYPE_LATEST)
