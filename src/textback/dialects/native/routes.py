"""Our own routes: parse -> flow -> render."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api import deps
from textback.core.errors import BadKey, Refusal, Unavailable, UnknownConversation
from textback.core.ids import ConversationId
from textback.db import reads
from textback.dialects.native import openapi, reading, shown, wire
from textback.flows import admit, hand
from textback.flows.say import Who, say
from textback.runtime import Runtime

_KEYS = [
    Security(HTTPBearer(auto_error=False, description="Your API key.")),
    Security(APIKeyHeader(name="X-PolyAi-Auth-Token", auto_error=False)),
]
router = APIRouter(dependencies=_KEYS, tags=["Conversations"])


@dataclass(frozen=True, slots=True)
class _Asked:
    rt: Runtime
    who: Who
    id: ConversationId
    body: Mapping[str, Any]
    key: str | None


@router.get(wire.ROUTE, **openapi.GET)
async def conversation(request: Request) -> Response:
    async def act(asked: _Asked) -> Response:
        found = await reads.whole_conversation(asked.rt.db, asked.id)
        if found is None or found.conversation.account_id != asked.who.account_id:
            raise UnknownConversation(f"There is no conversation {asked.id}.")
        return _json(shown.conversation(found))

    return await _answer(request, act)


@router.post(wire.ROUTE + "/handoff", **openapi.HAND_OFF)
async def hand_off(request: Request) -> Response:
    async def act(asked: _Asked) -> Response:
        it = reading.read(wire.HandOff, asked.body)
        db, why, now = asked.rt.db, it.reason or "no reason was given", asked.rt.now()
        return _json(
            shown.handed_off(
                await hand.off(db, asked.id, why, who=asked.who, metadata=it.metadata, now=now)
            )
        )

    return await _answer(request, act)


@router.post(wire.ROUTE + "/resume", **openapi.RESUME)
async def resume(request: Request) -> Response:
    async def act(asked: _Asked) -> Response:
        it = reading.read(wire.Resume, asked.body)
        given = it.model_dump()
        done = await hand.resume(asked.rt.db, asked.id, who=asked.who, now=asked.rt.now(), **given)
        return _json(shown.resumed(done))

    return await _answer(request, act)


@router.post(wire.ROUTE + "/messages", **openapi.MESSAGES)
async def messages(request: Request) -> Response:
    async def act(asked: _Asked) -> Response:
        it = reading.read(wire.Message, asked.body)
        db, who, now = asked.rt.db, asked.who, asked.rt.now()
        key = reading.idempotency(asked.key, asked.id, asked.body)
        said = await say(db, asked.id, it.text, sender=it.sender, who=who, key=key, now=now)
        (metrics.REPLAYED if said.replayed else metrics.ACCEPTED).labels("native").inc()
        headers = {"Idempotent-Replayed": "true"} if said.replayed else None
        return _json(shown.queued(said), 202, headers)

    return await _answer(request, act)


@router.post(wire.ROUTE + "/end", **openapi.END)
async def end(request: Request) -> Response:
    async def act(asked: _Asked) -> Response:
        it = reading.read(wire.End, asked.body)
        db, now = asked.rt.db, asked.rt.now()
        return _json(shown.ended(await hand.end(db, asked.id, it.reason, who=asked.who, now=now)))

    return await _answer(request, act)


async def _answer(request: Request, act: Callable[[_Asked], Awaitable[Response]]) -> Response:
    rt = deps.runtime(request)
    try:
        body = await deps.body(request, at_most=wire.MAX_BODY)
        account_id = await admit.account(rt.db, key=deps.key(request), now=rt.now())
        asked = _Asked(
            rt,
            Who("caller", account_id),
            reading.conversation_id(request.path_params["conversation_id"]),
            reading.parse(request.headers.get("content-type"), body),
            request.headers.get("idempotency-key"),
        )
        return await act(asked)
    except Refusal as refusal:
        return _refused(refusal)


def _json(
    answer: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(answer.model_dump(mode="json"), status, headers)


def _refused(refusal: Refusal) -> Response:
    headers: dict[str, str] = {}
    if isinstance(refusal, Unavailable):
        headers["Retry-After"] = str(round(refusal.retry_after))
    if isinstance(refusal, BadKey):
        headers["WWW-Authenticate"] = "Bearer"
    problem = wire.problem(refusal)
    return JSONResponse(
        problem.model_dump(), problem.status, headers, media_type="application/problem+json"
    )
