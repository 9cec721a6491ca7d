"""Answers that an agent's server posts later: verify, read, hand to the flow, say what became."""

import re
from typing import Any

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import tracing
from textback.api import deps
from textback.api.replies_openapi import OPERATION
from textback.core.engine import TurnFailed, TurnReply
from textback.core.errors import Unavailable
from textback.core.ids import TurnId
from textback.core.ports import AnswersLater, Forged, Malformed
from textback.db import turn_reads
from textback.db.turn_reads import TurnRecord
from textback.flows import traces, turn
from textback.runtime import Runtime

log = structlog.stdlib.get_logger()
router = APIRouter()

ROUTE = "/v1/turns/{turn_id}/{run}/reply"

MAX_BODY = 1_000_000
"""Bytes; as of an answer that comes at once."""

DEADLINE = 5.0
"""Seconds for what comes after the body."""

UNKNOWN = "There is no such turn, or no such run of it; post to the reply_url that came with it."

_ID = re.compile(r"[a-z0-9_]{1,40}", re.ASCII)
_RUN = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


@router.post(
    ROUTE,
    status_code=202,
    response_class=Response,
    tags=["Agents"],
    summary="Answer a turn later",
    openapi_extra=OPERATION,
)
async def reply(request: Request) -> Response:
    rt = deps.runtime(request)
    turn_id, run = request.path_params["turn_id"], request.path_params["run"]
    if not _ID.fullmatch(turn_id) or not _RUN.fullmatch(run):
        return _refused(404, UNKNOWN)
    body = await deps.body(request, at_most=MAX_BODY)
    if body is None:
        return _refused(413, f"An answer may have {MAX_BODY} bytes at most.")
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        return await deps.in_time(_take(rt, TurnId(turn_id), int(run), headers, body), DEADLINE)
    except (Unavailable, TimeoutError) as error:
        away = error if isinstance(error, Unavailable) else Unavailable()
        return _refused(503, away.sentence, {"Retry-After": str(round(away.retry_after))})


async def _take(
    rt: Runtime, turn_id: TurnId, run: int, headers: dict[str, str], body: bytes
) -> Response:
    try:
        return await _take_once(rt, turn_id, run, headers, body)
    except Unavailable:
        # Most often a pooled connection from before a restart of Postgres, and the next one is new.
        return await _take_once(rt, turn_id, run, headers, body)


async def _take_once(
    rt: Runtime, turn_id: TurnId, run: int, headers: dict[str, str], body: bytes
) -> Response:
    found = await turn_reads.find(rt.db, turn_id)
    if found is None or found.run < run:
        return _refused(404, UNKNOWN)
    answer = await _read(rt, found, run, headers, body)
    if not isinstance(answer, TurnReply):
        forged = isinstance(answer, Forged)
        log.warning("reply.refused", turn_id=turn_id, run=run, why=answer.why)
        return _refused(401 if forged else 400, answer.why)
    parent = await traces.of_turn(rt.db, turn_id)
    with tracing.span("turn.answered", parent=parent, turn_id=turn_id, run=run) as span:
        outcome = await turn.answer_later(rt.db, turn_id, run, answer, now=rt.now())
        span.set(outcome="failed" if isinstance(outcome, TurnFailed) else outcome)
    told = outcome.reason if isinstance(outcome, TurnFailed) else outcome
    log.info(
        "reply.posted",
        turn_id=turn_id,
        run=run,
        agent_id=found.agent_id,
        conversation_id=found.conversation_id,
        outcome=told,
    )
    match outcome:
        case TurnFailed():
            return _refused(400, f"This is no answer that can be used: {told}.")
        case "recorded":
            return Response(status_code=202)
        case "late" | "unknown":
            return _late(await turn_reads.find(rt.db, turn_id), run)


async def _read(
    rt: Runtime, found: TurnRecord, run: int, headers: dict[str, str], body: bytes
) -> TurnReply | Forged | Malformed:
    engine, _fallback = await rt.engines.get(found.agent_id, found.agent_version)
    if not isinstance(engine, AnswersLater):
        return Forged("The agent of this turn takes no answers here.")
    answer = engine.posted(headers, body, turn_id=found.id, run=run, now=rt.now())
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if isinstance(answer, TurnReply) and media_type != "application/json":
        return Malformed("Send the answer as JSON, with Content-Type: application/json.")
    return answer


def _late(found: TurnRecord | None, run: int) -> Response:
    """Say why it does not count, or that an answer of this run did."""
    if found is None or found.run != run or found.state == "waiting" or found.outcome == "merged":
        return _refused(
            409,
            "The turn runs again, most often because the user has said more; this run needs no "
            "answer any more.",
        )
    match found.outcome:
        case "answered" | "silent":
            return Response(status_code=200)
        case "dropped":
            why = "The conversation was ended, or handed to a person, before this answer came."
        case _:
            why = "The answer comes too late; the turn goes on, or ended, without it."
    return _refused(409, why)


def _refused(status: int, detail: str, headers: dict[str, Any] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers=headers)
