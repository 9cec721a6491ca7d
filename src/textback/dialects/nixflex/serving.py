"""Around every route: whose key it is, how much it may yet ask, and how a refusal is told.

https://docs.nixflex.com/authentication, https://docs.nixflex.com/reference/rate-limits
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Any, Final

from fastapi import APIRouter, Security
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api import deps
from textback.api.body import parse_json
from textback.api.managing import managing
from textback.core.commands import Scope
from textback.core.errors import BadKey, BadRequest, RateLimited, Refusal, TooLarge, Unavailable
from textback.core.frozen import frozen
from textback.core.gcra import Granted, Rate
from textback.core.ids import AccountId
from textback.dialects.nixflex import wire
from textback.dialects.nixflex.wire import Refused
from textback.flows import admit
from textback.flows.admit import Holder
from textback.flows.manage import Managing
from textback.runtime import Runtime

READS: Final = Rate(600, 60)
WRITES: Final = Rate(120, 60)
KEYS: Final = Rate(10, 3600)
"""Documented per IP, where anybody may make a key; here per key."""

_BEARER = HTTPBearer(auto_error=False, description="`KEY_ID:KEY_SECRET`.")


def router(subject: str) -> APIRouter:
    """For the routes about one thing."""
    return APIRouter(dependencies=[Security(_BEARER)], tags=[subject])


@frozen(kw_only=False)
class Asked:
    """A request whose key is good."""

    rt: Runtime
    by: Holder
    request: Request
    headers: dict[str, str]
    """Sent with whatever is answered, also if that is a refusal."""
    at_most: int

    @property
    def account_id(self) -> AccountId:
        return self.by.account_id

    @property
    def managing(self) -> Managing:
        return managing(self.rt, self.by)

    @property
    def key(self) -> str | None:
        """That makes a repetition one."""
        return self.request.headers.get("idempotency-key")

    @property
    def query(self) -> Mapping[str, str]:
        """Raises Refused."""
        given = self.request.query_params
        for name, value in given.multi_items():
            if "\0" in value:
                raise Refused("invalid_field", f"{name[:80]} holds a NUL.", field=name[:80])
        return given

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    async def json(self) -> dict[str, Any]:
        """Raises Refused, TooLarge. No body at all is an empty object."""
        raw = await deps.body(self.request, at_most=self.at_most)
        try:
            return parse_json(self.request, raw, at_most=self.at_most, empty={})
        except TooLarge:
            raise
        except BadRequest as error:
            raise Refused("invalid_json", error.sentence) from None

    def answer(self, body: object, status: int = 200) -> Response:
        return JSONResponse(body, status, self.headers)


Act = Callable[[Asked], Awaitable[Response]]


async def answer(
    request: Request,
    scope: Scope,
    act: Act,
    *,
    rate: Rate | None = None,
    at_most: int = wire.MAX_BODY,
    instead: Callable[[Refusal], Refusal] = lambda refusal: refusal,
) -> Response:
    """What `act` answers, or the error that kept it from being done.

    `rate`: None: that of the method. `instead`: of a refusal, another. Nothing is read of a body
    before the key is known.
    """
    rt = deps.runtime(request)
    headers: dict[str, str] = {}
    request.state.headers = headers  # the limit is also told when we fail
    try:
        by = await _holder(rt, request, scope)
        await _count(rt, by, rate or (READS if request.method == "GET" else WRITES), headers)
        return await act(Asked(rt, by, request, headers, at_most))
    except Refusal as refusal:
        return refused(instead(refusal), headers)


def refused(refusal: Refusal, told: Mapping[str, str]) -> Response:
    """`told`: headers that go with it."""
    metrics.refused("nixflex", refusal)
    headers = dict(told)
    if isinstance(refusal, RateLimited | Unavailable):
        headers["Retry-After"] = str(wire.seconds(refusal.retry_after))
    status, body = wire.envelope(refusal)
    if status == 401:  # noqa: PLR2004 - RFC 9110
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers)


def fault(status: int, sentence: str) -> tuple[str, bytes]:
    """Where no route could answer."""
    return "application/json", json.dumps(wire.fault(status, sentence)).encode()


async def _holder(rt: Runtime, request: Request, scope: Scope) -> Holder:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    wrong = Refused("invalid_api_key", "Invalid or missing API key")
    if scheme.lower() != "bearer" or not token:
        raise wrong
    if not all(token.partition(":")):
        raise Refused(
            "key_secret_required",
            "The secret half of the key is missing: send Authorization: Bearer KEY_ID:KEY_SECRET.",
        )
    try:
        return await admit.holder(rt.book, key=token, scope=scope, now=rt.now())
    except BadKey:
        raise wrong from None


async def _count(rt: Runtime, by: Holder, rate: Rate, headers: dict[str, str]) -> None:
    """Raises RateLimited. Without Redis a local limit holds."""
    answer = await rt.quota.take(f"nixflex:{by.account_id}:{by.key_id}:{rate.amount:g}", rate)
    remaining = answer.remaining if isinstance(answer, Granted) else 0
    headers |= {
        "X-RateLimit-Limit": f"{rate.amount:g}",
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(ceil(rt.now().timestamp() + answer.reset)),
    }
    if not isinstance(answer, Granted):
        wait = wire.seconds(answer.retry_after)
        raise RateLimited(
            f"Rate limit exceeded. Try again in {wait} seconds.", retry_after=answer.retry_after
        )
