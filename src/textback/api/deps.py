"""What routes are handed: the runtime, the body within its limit, the project's quota."""

import asyncio
from collections.abc import Coroutine, Mapping
from datetime import datetime
from functools import lru_cache
from math import ceil
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

import structlog
from starlette.requests import ClientDisconnect, Request

from textback.core.commands import Caller
from textback.core.errors import RateLimited
from textback.core.frozen import frozen
from textback.core.gcra import Denied, Granted, Rate
from textback.core.ids import ProjectId
from textback.flows import limits
from textback.runtime import Runtime

log = structlog.stdlib.get_logger()

T = TypeVar("T")

LIMIT_SECONDS = 1.0
"""To tell an account that its limit is reached, while a caller waits for the 429."""

READ: Final = ["GET", "HEAD"]
"""Methods of what is read by anybody; the server leaves the body out where HEAD asks."""

_HEADERS: Final = "textback.headers"


def runtime(request: Request) -> Runtime:
    return cast("Runtime", request.app.state.runtime)


def stop(request: Request) -> asyncio.Event:
    """Set when the server is told to stop: who can ask another one again need not wait here."""
    found: asyncio.Event = getattr(request.state, "stop", asyncio.Event())
    return found


def leave(request: Request) -> asyncio.Event:
    """Set when a stopping server has little time left: for who is told only here what comes."""
    found: asyncio.Event = getattr(request.state, "leave", asyncio.Event())
    return found


def key(request: Request) -> str | None:
    """The API key that came as a bearer token (RFC 6750), or else in PolyAI's header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-polyai-auth-token")


def header(request: Request, name: bytes) -> str | None:
    """As `request.headers.get`, which walks through all of them each time. `name` in lower case."""
    found = request.scope.get(_HEADERS)
    if found is None:  # of those that come twice the first counts
        found = request.scope[_HEADERS] = dict(reversed(request.scope["headers"]))
    value = found.get(name)
    return None if value is None else value.decode("latin-1")


async def body(request: Request, *, at_most: int) -> bytes | None:
    """The whole body, or None as soon as it is seen to be larger than `at_most` bytes."""
    try:
        if int(header(request, b"content-length") or "0") > at_most:
            return None
    except ValueError:  # not a number: what is read decides
        pass
    parts, length = list[bytes](), 0
    while True:  # and not `request.stream()`: a generator is the dearest part of a short body
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        length += len(part)
        if length > at_most:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts) if len(parts) > 1 else part


_unfinished = set[asyncio.Task[Any]]()
"""asyncio itself keeps no task alive."""


async def in_time(doing: Coroutine[Any, Any, T], seconds: float) -> T:
    """Raises TimeoutError. A cancelled commit may have taken hold: it can be repeated."""
    loop = asyncio.get_running_loop()
    task, over = loop.create_task(doing), loop.create_future()
    _unfinished.add(task)
    task.add_done_callback(_is_over)

    def tell(*_: object) -> None:
        if not over.done():
            over.set_result(None)

    # Not asyncio.timeout, which would wait for the end of what it cancels: a connection to a
    # Postgres that hangs takes two seconds more to close. And not asyncio.wait, which costs more.
    task.add_done_callback(tell)
    timer = loop.call_later(seconds, tell)
    try:
        await over
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        task.cancel()


def _is_over(task: asyncio.Task[Any]) -> None:
    _unfinished.discard(task)
    if not task.cancelled():
        task.exception()  # of one that nobody waits for any more: else asyncio complains


@frozen(kw_only=False)
class Counted:
    """A request that was counted against the project's rate limit."""

    headers: Mapping[str, str]
    """RateLimit fields, draft-ietf-httpapi-ratelimit-headers-10; Retry-After when refused."""
    refusal: RateLimited | None


async def count(rt: Runtime, caller: Caller) -> Counted:
    """Take one unit of the project's quota. Never fails: without Redis a local limit holds."""
    answer = await rt.quota.take(_key(caller), caller.rate_limit)
    headers = {
        "RateLimit-Policy": _policy(caller.rate_limit),
        "RateLimit": f'"project";r={_remaining(answer)};t={ceil(answer.reset)}',
    }
    if isinstance(answer, Granted):
        return Counted(headers, None)
    await _tell_of_limit(rt, caller)
    seconds = max(1, ceil(answer.retry_after))
    message = f"The project's rate limit is used up; try again in {seconds} s."
    return Counted(
        {**headers, "Retry-After": str(seconds)},
        RateLimited(message, retry_after=answer.retry_after),
    )


async def uncount(rt: Runtime, caller: Caller) -> None:
    """The request turned out to be a repetition, which is not counted."""
    await rt.quota.give_back(_key(caller), caller.rate_limit)


# By database: tests have several, a process has one.
_told_of_limits = WeakKeyDictionary[object, dict[ProjectId, datetime]]()
"""When each project's account was told last, as far as this process knows."""


async def _tell_of_limit(rt: Runtime, caller: Caller) -> None:
    """Once a minute at most, and then within a second; that this fails changes no answer."""
    told, now = _told_of_limits.setdefault(rt.db, {}), rt.now()
    last = told.get(caller.project_id)
    if last is not None and now - last < limits.AT_MOST_EVERY:
        return
    told[caller.project_id] = now
    try:
        await in_time(limits.reached(rt.db, caller, now=now), LIMIT_SECONDS)
    except Exception as error:  # noqa: BLE001 - whatever it is: the caller is owed the 429
        log.warning("limit.not_told", project_id=caller.project_id, why=type(error).__name__)


@lru_cache(maxsize=4096)
def _policy(rate: Rate) -> str:
    return f'"project";q={int(rate.amount)};w={ceil(rate.seconds)}'


def _key(caller: Caller) -> str:
    # How empty a bucket is, is kept in seconds till it is full: an hour's, used up, would outlast
    # a change to a minute's.
    return f"project:{caller.project_id}:{caller.rate_limit.seconds:g}"


def _remaining(answer: Granted | Denied) -> int:
    return answer.remaining if isinstance(answer, Granted) else 0
