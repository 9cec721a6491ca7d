"""Carriers' webhooks: verify, parse, hand to the flow, acknowledge what is durable."""

from datetime import datetime
from typing import Literal, get_args

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import logs, metrics, tracing
from textback.api import deps, envelope
from textback.core import phone
from textback.core.errors import Unavailable
from textback.core.phone import Phone
from textback.core.ports import CarrierAccount, HookRequest, Hooks, Ignored, Malformed
from textback.flows import admit, inbound, traces
from textback.runtime import Runtime

log = structlog.stdlib.get_logger()
router = APIRouter(include_in_schema=False)

ROUTE = "/hooks/{carrier}"

MAX_BODY = 128 * 1024
"""Bytes; the largest webhook of Twilio's, with ten media files, stays far below."""

DEADLINE = 5.0
"""Seconds for what comes after the body. Twilio waits 15, its repetitions included."""

MAX_ID = 255
"""Characters; Twilio's ids have 34. Postgres indexes no value of some thousands."""

SEALED = "The carrier's token cannot be opened; TEXTBACK_SECRET_KEY is not the one that sealed it."

Kind = Literal["inbound", "status"]

for _kind in get_args(Kind):  # from the start: else the first failure would be no increase
    metrics.HTTP.labels(dialect="hooks", route=f"{ROUTE}/{_kind}", method="POST", status="5xx")


class _Answered(Exception):  # noqa: N818 - carries the answer
    def __init__(self, response: Response) -> None:
        self.response = response


@router.post(ROUTE + "/inbound")
async def inbound_hook(request: Request) -> Response:
    return await _answer(request, "inbound")


@router.post(ROUTE + "/status")
async def status_hook(request: Request) -> Response:
    return await _answer(request, "status")


async def _answer(request: Request, kind: Kind) -> Response:
    carrier: str = request.path_params["carrier"]
    rt = deps.runtime(request)
    hooks = rt.hooks.get(carrier)
    if hooks is None:
        return _refused(404, f"No carrier here is called {carrier}.")
    body = await deps.body(request, at_most=MAX_BODY)
    if body is None:
        return _refused(413, f"A webhook may have {MAX_BODY} bytes at most.")
    raw_path = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope["query_string"]
    asked = HookRequest(
        url=rt.public_url + (raw_path + (b"?" + query if query else b"")).decode("latin-1"),
        headers={
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in request.scope["headers"]  # ASGI has the names in lower case
        },
        body=body,
    )
    try:
        outcome = await deps.in_time(_take_in(rt, hooks, carrier, asked, kind), DEADLINE)
    except _Answered as answered:
        return answered.response
    except (Unavailable, TimeoutError):
        # The carrier may bring it again (Twilio: when its retries are switched on); soon is best.
        metrics.HOOKS.labels(carrier, kind, "unavailable").inc()
        return _refused(503, Unavailable().sentence, {"Retry-After": "2"})
    metrics.HOOKS.labels(carrier, kind, outcome).inc()
    envelope.is_told(request.scope)
    return Response(hooks.ack_body, media_type=hooks.ack_content_type)


async def _take_in(rt: Runtime, hooks: Hooks, carrier: str, asked: HookRequest, kind: Kind) -> str:
    try:
        return await _take_in_once(rt, hooks, carrier, asked, kind)
    except Unavailable:
        # Most often a pooled connection from before a restart of Postgres, and the next one is new.
        # A carrier may not come again, and what is heard twice is stored once.
        return await _take_in_once(rt, hooks, carrier, asked, kind)


async def _take_in_once(
    rt: Runtime, hooks: Hooks, carrier: str, asked: HookRequest, kind: Kind
) -> str:
    account = await _verified(rt, hooks, carrier, asked, kind)
    return await (_inbound if kind == "inbound" else _status)(rt, hooks, asked, account)


async def _verified(
    rt: Runtime, hooks: Hooks, carrier: str, asked: HookRequest, kind: Kind
) -> CarrierAccount:
    sid = hooks.account_sid(asked)
    try:
        account = (
            await admit.carrier_account(rt.book, rt.vault, kind=carrier, account_sid=sid)
            if sid
            else None
        )
    except ValueError:  # ours to repair; what the carrier brings again is then not lost
        log.exception("hook.sealed", carrier=carrier, hook=kind)
        raise _Answered(_refused(503, SEALED, {"Retry-After": "60"})) from None
    if account is None or not _is_signed(hooks, asked, account, now=rt.now()):
        metrics.HOOKS.labels(carrier, kind, "forged").inc()
        log.warning(
            "hook.refused",
            carrier=carrier,
            hook=kind,
            why="the account is not one of ours" if account is None else "the signature is wrong",
            # What a wrong signature most often comes from: compare with the URL set at the carrier.
            expected_url=asked.url.split("?")[0],
        )
        raise _Answered(_refused(403, "The webhook's account or signature is not valid here."))
    return account


def _is_signed(hooks: Hooks, asked: HookRequest, account: CarrierAccount, *, now: datetime) -> bool:
    """With the account's token, or the one before it while that is being changed."""
    if hooks.verify(asked, account.auth_token):
        return True
    before = account.previous
    return before is not None and now < before[1] and hooks.verify(asked, before[0])


async def _inbound(rt: Runtime, hooks: Hooks, asked: HookRequest, account: CarrierAccount) -> str:
    said = hooks.parse_inbound(asked)
    if isinstance(said, Malformed):
        raise _Answered(_refused(400, said.why))
    if isinstance(said, Ignored):
        log.info("inbound.ignored", why=said.why)
        return "ignored"
    _bounded(said.carrier_message_id)
    parent = await traces.of_pair(rt.db, Phone(said.agent_number), Phone(said.user_number))
    with tracing.span("inbound", kind="consumer", parent=parent) as span:
        heard = await inbound.hear(
            rt.db, account.carrier_id, said, look=rt.book, lately=rt.lately, now=rt.now()
        )
        span.set(
            outcome=heard.outcome,
            conversation_id=heard.conversation_id,
            message_id=heard.message_id,
        )
        logs.tell(
            "inbound.heard",
            outcome=heard.outcome,
            conversation_id=heard.conversation_id,
            message_id=heard.message_id,
            turn_id=heard.turn_id,
            why=heard.why,
            agent_number=phone.masked(said.agent_number),
        )
    return heard.outcome


async def _status(rt: Runtime, hooks: Hooks, asked: HookRequest, account: CarrierAccount) -> str:
    said = hooks.parse_status(asked)
    if isinstance(said, Malformed):
        raise _Answered(_refused(400, said.why))
    if isinstance(said, Ignored):
        log.info("receipt.ignored", why=said.why)
        return "ignored"
    _bounded(said.carrier_message_id, said.error_code or "")
    told = {
        "message_id": said.message_id,
        "status": said.status,
        "error_code": said.error_code,
    }
    parent = await traces.of_message(rt.db, said.message_id)
    with tracing.span("receipt", kind="consumer", parent=parent, **told) as span:
        outcome = await rt.receipts.hear(account.carrier_id, said, now=rt.now())
        span.set(outcome=outcome)
        logs.tell(
            "receipt.heard",
            outcome=outcome,
            carrier_message_id=said.carrier_message_id,
            **told,
        )
    return outcome


def _bounded(*words: str) -> None:
    if any(len(word) > MAX_ID for word in words):
        raise _Answered(_refused(400, f"An id or a code has more than {MAX_ID} characters."))


def _refused(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": detail}, status, headers=headers)
