"""Kore.ai's route: parse -> flow -> render."""

import json
from math import ceil

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api import deps
from textback.api.body import parse_json
from textback.api.dialect import Dialect
from textback.core.commands import Accepted
from textback.core.errors import RateLimited, Refusal, Unavailable
from textback.core.gcra import Denied
from textback.core.ids import AccountId
from textback.dialects.kore import wire
from textback.dialects.kore.openapi import OPERATION
from textback.flows import admit, jwt
from textback.runtime import Runtime

router = APIRouter(tags=["Kore.ai"])


@router.post(
    wire.ROUTE,
    response_class=JSONResponse,
    summary="Let an agent open a conversation by SMS",
    openapi_extra=OPERATION,
)
async def outbound_sms(request: Request) -> Response:
    try:
        accepted = await _accept(deps.runtime(request), request)
    except Refusal as refusal:
        return _refused(refusal)
    metrics.ACCEPTED.labels("kore").inc()
    ids = {
        "X-Conversation-Id": accepted.conversation_id,
        "X-Message-Id": accepted.message_id or "",  # a new conversation's text always has one
    }
    return JSONResponse({"message": wire.TRIGGERED}, headers=ids)


async def _accept(rt: Runtime, request: Request) -> Accepted:
    """Who asks, how often, for which bot; only then is the body looked at."""
    body = await deps.body(request, at_most=wire.MAX_BODY)
    token = request.headers.get("auth")
    by = await jwt.verify(rt.db, rt.vault, token, scope="send", now=rt.now())
    await _count(rt, by.account_id)
    # Postgres looks nothing up by a NUL; no connector's id has one.
    bot = request.path_params["BotId"].replace("\0", "\ufffd")
    caller = await admit.sender(rt.book, by.account_id, connector=bot)
    command = wire.to_command(parse_json(request, body, at_most=wire.MAX_BODY))
    counted = await deps.count(rt, caller)
    if counted.refusal is not None:
        raise RateLimited(wire.EXCEEDED, retry_after=counted.refusal.retry_after)
    return await rt.accepting.send_text(caller, command, now=rt.now())


async def _count(rt: Runtime, account_id: AccountId) -> None:
    """Kore.ai's own limit, for the account; the project's comes on top. Raises RateLimited."""
    answer = await rt.quota.take(f"kore:{account_id}", wire.PER_ACCOUNT)
    if isinstance(answer, Denied):
        raise RateLimited(wire.EXCEEDED, retry_after=answer.retry_after)


def _refused(refusal: Refusal) -> Response:
    metrics.refused("kore", refusal)
    status, body = wire.refused(refusal)
    headers: dict[str, str] = {}
    if isinstance(refusal, RateLimited | Unavailable):
        headers["Retry-After"] = str(max(1, ceil(refusal.retry_after)))
    return JSONResponse(body, status, headers)


def _fault(status: int, sentence: str) -> tuple[str, bytes]:
    return "application/json", json.dumps(wire.error(status, sentence)).encode()


DIALECT = Dialect(
    name="kore",
    title="textback: Kore.ai",
    description="Kore.ai's outbound SMS (https://docs.kore.ai/ai-for-service/apis/contact-center/send-outbound-sms).",
    router=router,
    fault=_fault,
)
