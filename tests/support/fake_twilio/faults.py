"""What may go wrong with one request, and when it does."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tests.support.fake_twilio.server import Answer, HangUp, Request

Endpoint: TypeAlias = Literal[
    "create", "fetch", "list", "media", "account", "numbers", "number", "service", "senders"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Wait, maybe do what was asked, wait, then answer as told. Without `answer`: as usual."""

    before: float = 0
    """Seconds; `math.inf` for ever."""
    accept: bool = True
    """Whether the request is carried out (a create makes a message)."""
    after: float = 0
    answer: Answer | HangUp | None = None


@dataclass(slots=True)
class Faults:
    """Rules in the order they were made; the first that fits a request is used up by one."""

    _rules: list["_Rule"] = field(default_factory=list["_Rule"])

    def add(
        self,
        fault: Fault,
        *,
        times: float,
        on: Endpoint | None,
        when: Callable[[Request], bool] | None,
    ) -> None:
        self._rules.append(_Rule(fault, times, on, when or (lambda _: True)))

    def clear(self) -> None:
        self._rules.clear()

    def take(self, endpoint: Endpoint, request: Request) -> Fault | None:
        for rule in self._rules:
            if rule.left > 0 and rule.on in {None, endpoint} and rule.when(request):
                rule.left -= 1
                return rule.fault
        return None


@dataclass(slots=True)
class _Rule:
    fault: Fault
    left: float
    on: Endpoint | None
    when: Callable[[Request], bool]


async def pause(seconds: float) -> None:
    """`math.inf` waits until the server stops."""
    if seconds == math.inf:
        await asyncio.Event().wait()
    elif seconds:
        await asyncio.sleep(seconds)


def error(status: int, code: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Twilio's error document."""
    document = {
        "code": code,
        "message": message,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return Answer.of_json(status, document, headers)


def answered(answer: Answer | HangUp, *, accept: bool = False) -> Fault:
    return Fault(accept=accept, answer=answer)


def refused(code: int, message: str = "Refused", *, status: int = 400) -> Fault:
    return answered(error(status, code, message))


def too_many_requests(retry_after: float | None = None) -> Fault:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return answered(error(429, 20429, "Too Many Requests", headers))


def unavailable() -> Fault:
    """503, and nothing was done."""
    return answered(error(503, 20503, "Service Unavailable"))


def accepted_then_500() -> Fault:
    return answered(error(500, 20500, "Internal Server Error"), accept=True)


def html_error(status: int = 502, *, accept: bool = False) -> Fault:
    page = b"<html><body><h1>Bad Gateway</h1></body></html>"
    return answered(Answer(status, page, {"content-type": "text/html"}), accept=accept)


def redirected(location: str) -> Fault:
    return answered(Answer(307, b"", {"location": location}))


def garbage_201(body: object = "ok", *, accept: bool = True) -> Fault:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answered(Answer(201, raw, {"content-type": "application/json"}), accept=accept)


def reset() -> Fault:
    """The connection ends before anything is done."""
    return answered(HangUp(reset=True))


def accepted_then_dropped(*, reset: bool = False) -> Fault:
    return answered(HangUp(reset=reset), accept=True)


def cut_short(*, accept: bool = True) -> Fault:
    """A 201 that ends in the middle of its body."""
    head = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n"
    return answered(HangUp(after=head + b'{"sid": "SM'), accept=accept)


def dripping(seconds: float) -> Fault:
    """A 201 whose body never quite ends: each byte is in time, the whole is not."""
    head = b"HTTP/1.1 201 Created\r\ncontent-length: 9000\r\n\r\n"
    return answered(HangUp(after=head, dripping=seconds), accept=True)


def slow(*, before: float = 0, after: float = 0) -> Fault:
    return Fault(before=before, after=after)


def silent() -> Fault:
    """Takes the request and nothing else ever happens."""
    return Fault(before=math.inf, accept=False)


def accepted_then_silent() -> Fault:
    return Fault(after=math.inf)
