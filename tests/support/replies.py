"""Answers that an agent's server posts later, to the application."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import httpx

from tests.support.deployment import NOW, USER
from tests.support.world import World
from textback.core import signing
from textback.core.engine import Later
from textback.core.phone import Phone
from textback.db.thinking import Thinking

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ENGINE: Final = {"kind": "http", "url": "http://127.0.0.1:9/turn", "secret": SECRET}
WITHIN: Final = timedelta(minutes=5)
SAID: Final = {"messages": [{"text": "Done."}]}


async def asked(world: World, *, user: Phone = USER, now: datetime = NOW) -> Thinking:
    """A turn whose server answered 202."""
    await world.hear("3pm?", user=user, now=now)
    (thinking,) = await world.claim_turns(now=now)
    assert await world.answer(thinking, Later(within=WITHIN), now=now) == "awaiting"
    return thinking


def path(thinking: Thinking) -> str:
    return f"/v1/turns/{thinking.id}/{thinking.run}/reply"


async def post(
    http: httpx.AsyncClient,
    to: Thinking | str,
    answer: Mapping[str, Any] | bytes = SAID,
    *,
    secret: str = SECRET,
    at: datetime = NOW,
    **headers: str,
) -> httpx.Response:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    signed = signing.headers(secret, webhook_id="a", timestamp=int(at.timestamp()), body=body)
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"content-type": "application/json"} | signed | more
    where = to if isinstance(to, str) else path(to)
    return await http.post(where, content=body, headers=given)


def is_taken(answer: httpx.Response, status: int = 202) -> None:
    assert (answer.status_code, answer.content) == (status, b""), answer.text


async def said(world: World) -> list[str]:
    return [text.text for text in await world.ours()]
