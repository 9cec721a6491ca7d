"""The web application on real servers, what to ask it, and what its answers must always have."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Final, cast
from uuid import UUID

import httpx
import structlog
import uvicorn
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.provision import ACME_KEY, NOW, SECRET_KEY, STANDARD_YAML
from textback import logs, wiring
from textback.cli.server import Server, options
from textback.runtime import Runtime
from textback.settings import Settings
from textback.worker.main import Worker

ROUTE: Final = "/v1/outbound-sms"
PUBLIC_URL: Final = "https://sms.example.com"
"""Not where the tests' requests go: as behind a proxy."""

USER: Final = "+14155550123"
AGENT: Final = "+14155550100"
BODY: Final = {"user_number": USER, "message": "Is 3pm tomorrow still good?"}

EXPIRED_KEY: Final = "test-key-expired-0123456789"
EXPIRING_KEY: Final = "test-key-expiring-0123456789"
REVOKED_KEY: Final = "test-key-revoked-0123456789"

ODD_YAML: Final = (
    STANDARD_YAML
    + """\
  - id: odd
    api_keys:
      - {name: expired, key: "${EXPIRED_KEY}", expires_at: "2026-03-01"}
      - {name: expiring, key: "${EXPIRING_KEY}", expires_at: "2026-03-02T10:00:00Z"}
      - {name: revoked, key: "${REVOKED_KEY}", revoked: true}
    carriers:
      - {id: odd-sandbox, kind: sandbox}
    agents:
      - {id: silent, engine: {kind: scripted, default: "You said: {text}"}}
    projects:
      - id: without-numbers
        agent: silent
        connectors: [{id: conn-empty, environment: live}]
      - id: staged
        agent: silent
        connectors: [{id: conn-dev, environment: dev}]
        numbers: [{number: "+14155550180", environment: live, carrier: odd-sandbox}]
      - id: tight
        agent: silent
        rate_limit: {requests: 5, per_seconds: 3600}
        connectors: [{id: conn-tight, environment: live}]
        numbers: [{number: "+14155550181", environment: live, carrier: odd-sandbox}]
"""
)
"""Beside the standard deployment an account whose every project lacks something.

`EXPIRING_KEY` opens it for an hour after `provision.NOW`.
"""

ODD_ENVIRONMENT: Final = {
    "EXPIRED_KEY": EXPIRED_KEY,
    "EXPIRING_KEY": EXPIRING_KEY,
    "REVOKED_KEY": REVOKED_KEY,
}


class Clock:
    """Stands still unless moved."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, span: timedelta) -> None:
        self.now += span


def settings(database_url: str, redis_url: str, **changed: object) -> Settings:
    given: dict[str, object] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "public_url": PUBLIC_URL,
        "secret_key": SECRET_KEY,
        "port": 0,
        "database_pool": 5,
    }
    return Settings.model_validate(given | changed)


@asynccontextmanager
async def started(
    found: Settings, clock: Callable[[], datetime] | None = None
) -> AsyncGenerator[Runtime]:
    """A runtime as `serve` makes it, with a clock of the test's."""
    made = replace(wiring.runtime(found), now=clock or Clock())
    try:
        yield made
    finally:
        await made.close()


def log_to(to: StringIO, level: str = "info", *, pretty: bool = False) -> None:
    """As the process would, except that loggers of ours can be configured anew."""
    logs.configure(level, pretty=pretty, to=to)
    configured = structlog.get_config()
    configured["cache_logger_on_first_use"] = False
    structlog.configure(**configured)


@contextmanager
def captured_logs() -> Generator[StringIO]:
    """What the process would write to its log meanwhile."""
    to = StringIO()
    log_to(to)
    yield to
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if getattr(h, "stream", None) is not to]
    root.setLevel(logging.WARNING)
    structlog.reset_defaults()


def client(rt: Runtime) -> httpx.AsyncClient:
    """Asks the application without a server between. An exception past it fails the test."""
    transport = httpx.ASGITransport(wiring.application(rt, owns=False))
    return httpx.AsyncClient(transport=transport, base_url="http://10.1.2.3:8000")


@asynccontextmanager
async def served(rt: Runtime, port: int = 0, *, drain_seconds: float = 25) -> AsyncGenerator[str]:
    """The application behind the server that `serve` starts; gives its URL."""
    found = settings(rt.database_url, "redis://unused", port=port, drain_seconds=drain_seconds)
    server = Server(uvicorn.Config(wiring.application(rt, owns=False), **options(found)))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve())
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True


def headers(
    key: str | None = ACME_KEY, connector: str | None = "conn-live", **more: str
) -> dict[str, str]:
    given = {"X-PolyAi-Auth-Token": key, "X-TOKEN-ID": connector}
    return {name: value for name, value in given.items() if value is not None} | more


async def send(
    http: httpx.AsyncClient,
    body: Mapping[str, object] | bytes | None = None,
    asked: Mapping[str, str] | None = None,
    **changes: object,
) -> httpx.Response:
    """A good request, unless told otherwise."""
    given = headers() if asked is None else asked
    if isinstance(body, bytes):
        return await http.post(
            ROUTE, content=body, headers={"content-type": "application/json"} | dict(given)
        )
    return await http.post(
        ROUTE, json={**(BODY if body is None else body), **changes}, headers=given
    )


def correlation_id(answer: httpx.Response) -> str:
    """On every answer, once, and a UUID."""
    ids = answer.headers.get_list("x-polyai-correlation-id")
    assert len(ids) == 1
    assert str(UUID(ids[0])) == ids[0]
    return ids[0]


def is_accepted(answer: httpx.Response) -> tuple[str, str]:
    """202 as documented; gives the ids of the conversation and the message."""
    assert answer.status_code == 202, answer.text
    assert answer.content == b""
    assert answer.headers.get("content-length", "0") == "0"
    correlation_id(answer)
    conversation_id = answer.headers["x-conversation-id"]
    message_id = answer.headers["x-message-id"]
    assert conversation_id.startswith("conv_")
    assert message_id.startswith("msg_")
    return conversation_id, message_id


def is_refused(
    answer: httpx.Response, status: int, *, counted: bool, saying: str | None = None
) -> str:
    """An error in the one shape there is; gives its sentence."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    correlation_id(answer)
    body = answer.json()
    assert list(body) == ["detail"]
    detail = body["detail"]
    assert isinstance(detail, str)
    assert detail.strip()
    if saying is not None:
        assert saying in detail
    assert ("ratelimit" in answer.headers) is counted
    assert ("ratelimit-policy" in answer.headers) is counted
    assert ("retry-after" in answer.headers) is (status in {429, 503})
    assert "x-conversation-id" not in answer.headers
    assert "x-message-id" not in answer.headers
    return detail


async def until(
    happened: Callable[[], Awaitable[object]], *, within: float = 60, every: float = 0.02
) -> None:
    async with asyncio.timeout(within):
        while not await happened():  # noqa: ASYNC110 - others change what is asked for
            await asyncio.sleep(every)


async def worked(rt: Runtime, engine: AsyncEngine, *left: str) -> None:
    """A worker runs until nothing is left to do, and the queries `left` find nothing either."""
    queries = (
        "select 1 from messages where state in ('queued', 'sending', 'uncertain')",
        "select 1 from turns where state <> 'ended'",
        *left,
    )

    async def all_done() -> bool:
        return not await rows(engine, " union ".join(queries))

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(Worker(rt, concurrency=4).run(stop))
        try:
            await until(all_done)
        finally:
            stop.set()


TABLES: Final = ("conversations", "messages", "turns", "opt_outs", "idempotency_keys", "events")


async def stored(engine: AsyncEngine) -> dict[str, int]:
    """How many rows there are of what requests and webhooks make; tables without any left out."""
    counts = ", ".join(f"(select count(*) from {table}) {table}" for table in TABLES)  # noqa: S608 - ours
    async with engine.connect() as c:
        row = (await c.execute(text(f"select {counts}"))).mappings().one()
    return {table: cast("int", row[table]) for table in TABLES if row[table]}


async def rows(engine: AsyncEngine, query: str, **values: object) -> list[dict[str, object]]:
    async with engine.connect() as c:
        return [dict(row) for row in (await c.execute(text(query), values)).mappings()]


async def execute(engine: AsyncEngine, statement: str) -> None:
    """What an operator, or an accident, does to the database."""
    async with engine.begin() as c:
        await c.execute(text(statement))
