"""What tests of our own routes ask, and what every answer of theirs must have."""

from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx

from tests.support.api import AGENT, USER, correlation_id
from tests.support.provision import ACME_KEY, GLOBEX_KEY

BEARER: Final = {"Authorization": f"Bearer {ACME_KEY}"}
GLOBEX: Final = {"Authorization": f"Bearer {GLOBEX_KEY}"}
PROJECT: Final = "reminders"
HELLO: Final = {"to": USER, "from": AGENT, "text": "Is 3pm tomorrow still good?"}


async def post(
    http: httpx.AsyncClient, path: str, body: object, given: dict[str, str] | None = None
) -> httpx.Response:
    return await http.post(f"/v1{path}", json=body, headers=BEARER | (given or {}))


async def send(http: httpx.AsyncClient, **changes: object) -> dict[str, Any]:
    """One that is accepted; None takes a field out."""
    body = {name: value for name, value in (HELLO | changes).items() if value is not None}
    return is_good(await post(http, "/messages", body), 202)


async def get(http: httpx.AsyncClient, path: str, **query: object) -> dict[str, Any]:
    asked: dict[str, str] = {name: str(value) for name, value in query.items()}
    return is_good(await http.get(f"/v1{path}", params=asked, headers=BEARER))


async def pages(
    http: httpx.AsyncClient, path: str, limit: int, **query: object
) -> AsyncGenerator[list[dict[str, Any]]]:
    """All pages of a list."""
    cursor: dict[str, object] = {}
    while True:
        page = await get(http, path, limit=limit, **query, **cursor)
        yield page["data"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def is_good(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    correlation_id(answer)
    return answer.json()


def is_problem(answer: httpx.Response, status: int, kind: str, saying: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    correlation_id(answer)
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["status"]) == (f"urn:textback:problem:{kind}", status)
    assert saying in problem["detail"]
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert ("retry-after" in answer.headers) is (status in {429, 503})
