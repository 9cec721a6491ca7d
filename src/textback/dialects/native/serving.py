"""Around every route of our own: who asks, what is read, and how a refusal is told.

A router per subject; routes.py puts them together.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from textback import metrics
from textback.api import deps
from textback.api.body import parse_json
from textback.core.commands import Scope
from textback.core.errors import BadKey, Refusal, Unavailable
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.dialects.native import reading, wire
from textback.flows import admit
from textback.flows.admit import Holder
from textback.flows.say import Who
from textback.runtime import Runtime

_KEYS = [
    Security(HTTPBearer(auto_error=False, description="Your API key.")),
    Security(APIKeyHeader(name="X-PolyAi-Auth-Token", auto_error=False)),
]

PROBLEM: Final = "application/problem+json"

Model = TypeVar("Model", bound=BaseModel)


def router(subject: str) -> APIRouter:
    """For the routes about one thing."""
    return APIRouter(dependencies=_KEYS, tags=[subject])


@frozen(kw_only=False)
class Asked:
    """A request whose key is good."""

    rt: Runtime
    by: Holder
    request: Request
    raw: bytes | None
    """The body; None: it is larger than the route allows."""
    at_most: int
    headers: dict[str, str]
    """Sent with whatever is answered, also if that is a refusal."""

    @property
    def account_id(self) -> AccountId:
        return self.by.account_id

    @property
    def who(self) -> Who:
        return Who("caller", self.by.account_id)

    @property
    def key(self) -> str | None:
        """That makes a repetition one."""
        return self.request.headers.get("idempotency-key")

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def json(self, *, apart: str | None = None) -> dict[str, Any]:
        """Raises BadRequest, TooLarge. No body at all is an empty object. `apart`: of `parse`."""
        return parse_json(self.request, self.raw, at_most=self.at_most, empty={}, apart=apart)

    def body(self, model: type[Model]) -> Model:
        """Raises BadRequest, TooLarge."""
        return reading.read(model, self.json())

    def query(self, model: type[Model]) -> Model:
        """Raises BadRequest, also for a filter that there is not."""
        return reading.query(model, self.request.query_params.multi_items())


Act = Callable[[Asked], Awaitable[Response]]


async def answer(
    request: Request, scope: Scope | None, act: Act, *, at_most: int = wire.MAX_BODY
) -> Response:
    """What `act` answers, or the problem that kept it from being done.

    `scope`: what the key must be for; None: any good key will do.
    """
    rt = deps.runtime(request)
    headers: dict[str, str] = {}
    request.state.headers = headers
    try:
        by = await admit.holder(rt.book, key=deps.key(request), scope=scope, now=rt.now())
        # After that: who has no key fills no memory.
        raw = await deps.body(request, at_most=at_most)
        return await act(Asked(rt, by, request, raw, at_most, headers))
    except Refusal as refusal:
        return refused(refusal, headers)


def shown(
    answer: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(answer.model_dump(mode="json", by_alias=True), status, headers)


def refused(refusal: Refusal, told: Mapping[str, str] | None = None) -> Response:
    """`told`: headers that go with it."""
    metrics.refused("native", refusal)
    headers = dict(told or {})
    if isinstance(refusal, Unavailable):
        headers["Retry-After"] = str(round(refusal.retry_after))
    if isinstance(refusal, BadKey):
        headers["WWW-Authenticate"] = "Bearer"
    problem = wire.problem(refusal)
    return JSONResponse(problem.model_dump(), problem.status, headers, media_type=PROBLEM)
