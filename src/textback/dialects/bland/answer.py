"""How each of Bland AI's routes is asked and answers: the key, the body, the envelope."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Security
from fastapi.security import APIKeyHeader
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api import deps
from textback.api.body import parse_json
from textback.core.commands import Caller, Scope
from textback.core.errors import BadKey, RateLimited, Refusal, TooLarge, Unavailable
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.dialects.bland import wire
from textback.flows import admit
from textback.flows.admit import Holder
from textback.flows.say import Who
from textback.runtime import Runtime

_KEY = Security(
    APIKeyHeader(
        name="authorization",
        auto_error=False,
        scheme_name="Bland",
        description="Your API key, as it is or as `Bearer KEY`.",
    )
)


def new_router() -> APIRouter:
    return APIRouter(tags=["Bland AI"], dependencies=[_KEY])


@frozen
class Asked:
    """A request whose key is good, and whose body is JSON."""

    rt: Runtime
    by: Holder
    body: Mapping[str, Any]
    path: Mapping[str, str]
    query: Mapping[str, str]
    key: str | None
    """The idempotency key."""
    now: datetime
    content: bytes = b""
    """The body, of a route that reads no JSON."""
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    """Sent with whatever is answered."""
    codes: dict[type[Refusal], str] = field(default_factory=dict[type[Refusal], str])
    """How this route calls a refusal, where it has its own code."""

    @property
    def account_id(self) -> AccountId:
        return self.by.account_id

    @property
    def who(self) -> Who:
        return Who("caller", self.by.account_id)

    async def count(self, caller: Caller) -> None:
        """Take one of the project's quota. Raises RateLimited."""
        self.codes[RateLimited] = wire.rate_code(caller.rate_limit)
        counted = await deps.count(self.rt, caller)
        self.headers.update(counted.headers)
        if counted.refusal is not None:
            raise counted.refusal

    async def uncount(self, caller: Caller) -> None:
        """It turned out to be a repetition."""
        await deps.uncount(self.rt, caller)
        self.headers.clear()


Act = Callable[[Asked], Awaitable[Response]]


async def answer(
    request: Request,
    scope: Scope,
    act: Act,
    *,
    codes: wire.Codes | None = None,
    at_most: int = wire.MAX_BODY,
    is_json: bool = True,
) -> Response:
    """What `act` makes of the request, or its refusal in Bland's envelope.

    `codes`: how this route calls a refusal, where it has its own code. `is_json` False: it reads
    the body itself, which has `at_most` bytes.
    """
    rt = deps.runtime(request)
    headers: dict[str, str] = {}
    request.state.headers = headers
    of_the_route = dict(codes or {})
    try:
        by = await admit.holder(rt.book, key=key_of(request), scope=scope, now=rt.now())
        # After that: who has no key fills no memory.
        body = await deps.body(request, at_most=at_most)
        if body is None:
            raise TooLarge(f"The body may have {at_most // 1024} KB at most.")
        reads = is_json and request.method not in {"GET", "HEAD"}
        parsed = parse_json(request, body, at_most=at_most, empty={}) if reads else {}
        return await act(
            Asked(
                rt=rt,
                by=by,
                body=parsed,
                path=request.path_params,
                query=request.query_params,
                key=request.headers.get("idempotency-key"),
                content=b"" if is_json else body,
                content_type=request.headers.get("content-type", ""),
                now=rt.now(),
                headers=headers,
                codes=of_the_route,
            )
        )
    except Refusal as refusal:
        return refused(refusal, of_the_route, headers)


def key_of(request: Request) -> str | None:
    """`authorization: KEY`, as they document it, or `Bearer KEY`, as they did before."""
    given = request.headers.get("authorization", "").strip()
    scheme, _, token = given.partition(" ")
    return (token.strip() if scheme.lower() == "bearer" else given) or None


def good(
    data: JsonValue, status: int = 200, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(wire.good(data), status, headers)


def refused(
    refusal: Refusal, codes: wire.Codes, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    metrics.refused("bland", refusal)
    told = dict(headers or {})
    if isinstance(refusal, Unavailable):
        told["Retry-After"] = str(round(refusal.retry_after))
    if isinstance(refusal, BadKey):
        told["WWW-Authenticate"] = "Bearer"
    body = wire.refused(wire.code_of(refusal, codes), _sentence(refusal))
    return JSONResponse(body, wire.STATUS[type(refusal)], told)


def _sentence(refusal: Refusal) -> str:
    if isinstance(refusal, BadKey):
        return "Unauthorized: send your API key in the authorization header, and check it."
    return wire.shown_sentence(refusal.sentence)
