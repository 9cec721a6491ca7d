"""PolyAI's route: parse -> flow -> render."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api import deps
from textback.api.bare import Bare
from textback.api.body import parse_json
from textback.api.dialect import Dialect
from textback.core.commands import Accepted, Caller
from textback.core.errors import BadRequest, Refusal, Unavailable
from textback.dialects.polyai import chat_routes, history_routes, platform, wire
from textback.dialects.polyai.openapi import OPERATION
from textback.flows import admit
from textback.runtime import Runtime

_ACCEPTED, _REPLAYED = metrics.ACCEPTED.labels("polyai"), metrics.REPLAYED.labels("polyai")

router = APIRouter()
router.include_router(history_routes.router)
router.include_router(chat_routes.router)


@router.post(
    wire.ROUTE,
    status_code=202,
    response_class=Response,
    tags=["PolyAI"],
    summary="Send an SMS and open a conversation",
    openapi_extra=OPERATION,
    include_in_schema=True,
)
async def outbound_sms(request: Request) -> Response:
    rt = deps.runtime(request)
    headers: dict[str, str] = {}
    request.scope["state"]["headers"] = headers  # the limit is also told when we fail
    try:
        body = await deps.body(request, at_most=wire.MAX_BODY)
        now = rt.now()
        caller = await admit.caller(
            rt.book,
            key=deps.header(request, b"x-polyai-auth-token"),
            # Postgres looks nothing up by a NUL; no connector's id has one.
            connector_id=(deps.header(request, b"x-token-id") or "").replace("\0", "\ufffd"),
            now=now,
        )
        accepted = None
        if (key := _key(request)) is not None:
            accepted = await _replayed(rt, caller, request, body, key, now=now)
        if accepted is None:
            accepted = await _accept(rt, caller, request, body, headers, now=now)
    except Refusal as refusal:
        return _refused(refusal, headers)
    (_REPLAYED if accepted.replayed else _ACCEPTED).inc()
    headers |= {
        "X-Conversation-Id": accepted.conversation_id,
        "X-Message-Id": accepted.message_id or "",  # a new conversation's text always has one
    }
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Bare(202, headers)


async def _accept(
    rt: Runtime,
    caller: Caller,
    request: Request,
    body: bytes | None,
    headers: dict[str, str],
    *,
    now: datetime,
) -> Accepted:
    """Counted against the project's limit first; only then is the body looked at."""
    counted = await deps.count(rt, caller)
    headers |= counted.headers
    if counted.refusal is not None:
        raise counted.refusal
    parsed = parse_json(request, body, at_most=wire.MAX_BODY, storable=False)
    key = wire.idempotency(_key(request), caller.connector_id or "", parsed)
    accepted = await rt.accepting.send_text(caller, wire.to_command(parsed, key), now=now)
    if accepted.replayed:  # a twin of this request, sent at the same time, was faster
        await deps.uncount(rt, caller)
        headers.clear()
    return accepted


async def _replayed(
    rt: Runtime, caller: Caller, request: Request, body: bytes | None, given: str, *, now: datetime
) -> Accepted | None:
    """The first answer to the same request, if it came before. Raises KeyReused."""
    try:
        parsed: Mapping[str, Any] = parse_json(request, body, at_most=wire.MAX_BODY, storable=False)
        key = wire.idempotency(given, caller.connector_id or "", parsed)
    except BadRequest:
        return None  # said again, and counted, where every body is looked at
    return await rt.accepting.replay(caller, key, now=now) if key else None


def _key(request: Request) -> str | None:
    return deps.header(request, b"idempotency-key")


def _refused(refusal: Refusal, headers: dict[str, str]) -> Response:
    metrics.refused("polyai", refusal)
    if isinstance(refusal, Unavailable):
        headers["Retry-After"] = str(round(refusal.retry_after))
    return JSONResponse({"detail": refusal.sentence}, wire.STATUS[type(refusal)], headers)


DIALECT = Dialect(
    name="polyai",
    title="textback: PolyAI",
    description="PolyAI's routes (https://docs.poly.ai/api-reference).",
    router=router,
    fault_at=platform.fault_at,
)
