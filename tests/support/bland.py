"""What tests of Bland AI's routes are provisioned with, and how they ask."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows
from tests.support.provision import NOW
from textback.core.ids import CarrierId
from textback.core.ports import Inbound
from textback.flows import inbound
from textback.flows.inbound import Heard

KEY: Final = "test-key-bland-0123456789"
READER: Final = "test-key-bland-reader-0123456789"
OTHERS: Final = "test-key-bland-others-0123456789"

USER: Final = "+14155550123"
NEIGHBOUR: Final = "+14155550124"
AGENT: Final = "+14155550100"
TIGHT: Final = "+14155550105"
"""Of a project that may send twice an hour."""
THEIRS: Final = "+14155550199"
"""Another account's."""

YAML: Final = """\
accounts:
  - id: acme
    api_keys:
      - {name: all, key: "${KEY}"}
      - {name: reader, key: "${READER}", scopes: [read]}
    carriers: [{id: acme-sandbox, kind: sandbox}]
    agents:
      - {id: mia, greeting: "Hi, this is Mia.", engine: {kind: scripted, default: "I see."}}
      - {id: silent, engine: {kind: scripted, default: "Hm."}}
      - id: intake
        engine:
          kind: flow
          nodes:
            - {id: hello, say: "Hello!", entry: true, then: goodbye}
            - {id: goodbye, say: "Goodbye!", entry: true, then: hello}
    projects:
      - id: reminders
        agent: mia
        numbers:
          - {number: "+14155550100", environment: live, carrier: acme-sandbox}
          - {number: "whatsapp:+14155550100", environment: live, carrier: acme-sandbox}
      - id: tight
        agent: silent
        rate_limit: {requests: 2, per_seconds: 3600}
        numbers: [{number: "+14155550105", environment: live, carrier: acme-sandbox}]
  - id: others
    api_keys: [{name: all, key: "${OTHERS}"}]
    carriers: [{id: others-sandbox, kind: sandbox}]
    agents: [{id: theirs, greeting: "Hi.", engine: {kind: scripted}}]
    projects:
      - id: others-project
        agent: theirs
        numbers: [{number: "+14155550199", environment: live, carrier: others-sandbox}]
"""
ENVIRONMENT: Final = {"KEY": KEY, "READER": READER, "OTHERS": OTHERS}

SEND: Final = {"user_number": USER, "agent_number": AGENT}


async def ask(
    http: httpx.AsyncClient,
    method: str,
    path: str,
    body: Mapping[str, object] | None = None,
    *,
    key: str | None = KEY,
    **headers: str,
) -> httpx.Response:
    """`path`: behind `/v1/sms`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if key is not None:
        given["authorization"] = key
    return await http.request(method, f"/v1/sms{path}", json=body, headers=given)


async def post(
    http: httpx.AsyncClient, path: str, body: Mapping[str, object] | None = None, **more: Any
) -> httpx.Response:
    return await ask(http, "POST", path, {} if body is None else body, **more)


async def send(http: httpx.AsyncClient, **changes: object) -> dict[str, Any]:
    """A good one; gives its data."""
    return good(await post(http, "/send", SEND | {"agent_message": "Hi."} | changes))


def good(answer: httpx.Response, status: int = 200) -> Any:
    """In the envelope; gives the data."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["data", "errors"]
    assert answer.json()["errors"] is None
    return answer.json()["data"]


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """In the envelope; gives the sentence."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["data", "errors"]
    assert body["data"] is None
    [fault] = body["errors"]
    assert list(fault) == ["error", "message"]
    assert fault["error"] == code
    assert "conv_" not in fault["message"]  # a conversation is its UUID
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    return cast("str", fault["message"])


async def hear(
    db: AsyncEngine,
    text: str,
    *,
    user: str = USER,
    agent: str = AGENT,
    sid: str = "SM1",
    carrier: str = "acme-sandbox",
    now: datetime = NOW,
) -> Heard:
    """A text from a user, as the carrier brings it."""
    said = Inbound(carrier_message_id=sid, agent_number=agent, user_number=user, text=text)
    return await inbound.hear(db, CarrierId(carrier), said, now=now)


async def talks(engine: AsyncEngine) -> list[dict[str, object]]:
    """All conversations, the oldest first: ids of one moment are in no order."""
    return await rows(
        engine,
        "select c.* from conversations c"
        " order by (select min(e.id) from events e where e.conversation_id = c.id)",
    )
