"""`textback listen`: what happens, line by line, and on to a local URL."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import typer
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, rows, send, served, settings, started, until
from tests.support.ports import free_port
from tests.support.provision import ACME_KEY, NOW, provision
from tests.support.receiver import Receiver
from textback.cli.listen import Asked, line, listen
from textback.core import signing
from textback.runtime import Runtime


@dataclass
class Screen:
    lines: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


@pytest.fixture
async def rt(engine: AsyncEngine, database_url: str, redis_url: str) -> AsyncGenerator[Runtime]:
    await provision(engine)
    ours = settings(database_url, redis_url, dialects=("native", "polyai"))
    async with started(ours) as made:
        yield made


@asynccontextmanager
async def listening(asked: Asked) -> AsyncGenerator[Screen]:
    screen, stop = Screen(), asyncio.Event()
    task = asyncio.create_task(
        listen(
            asked,
            print_line=screen.lines.append,
            note=screen.notes.append,
            stop=stop,
            clock=NOW.timestamp,
        )
    )
    try:
        yield screen
    finally:
        stop.set()
        await task


async def happens(condition: Callable[[], object]) -> None:
    async def now() -> object:
        return condition()

    await until(now)


async def test_events_are_printed_and_forwarded_signed_and_the_endpoint_is_removed_at_the_end(
    rt: Runtime, engine: AsyncEngine
) -> None:
    async with Receiver() as receiver, served(rt) as url, client(rt) as http:
        asked = Asked(
            server=url,
            key=ACME_KEY,
            kinds=("message.accepted",),
            project="reminders",
            forward=receiver.url,
        )
        async with listening(asked) as screen:
            await happens(lambda: len(screen.notes) >= 2)
            await send(http, message="Is 3pm good?\nYes or no.")
            (got,) = await receiver.arrived(1)
            await happens(lambda: len(screen.notes) >= 3)
        secret = screen.notes[1].rpartition(" ")[2]
        assert signing.fault(secret, got.headers, got.body, now=NOW) is None
        assert json.loads(got.body)["type"] == "message.accepted"
        assert "authorization" not in got.headers
        (printed,) = screen.lines
        assert "message.accepted" in printed
        assert '"Is 3pm good?\\nYes or no."' in printed
        assert "→ 200 in " in screen.notes[2]
        (row,) = await rows(engine, "select state, source from webhook_endpoints")
        assert row == {"state": "removed", "source": "listen"}


async def test_it_survives_a_restart_of_the_server_and_misses_nothing(rt: Runtime) -> None:
    port = free_port()
    asked = Asked(server=f"http://127.0.0.1:{port}", key=ACME_KEY, as_json=True)
    async with listening(asked) as screen, client(rt) as http:
        await happens(lambda: screen.notes)
        assert "The server is away" in screen.notes[0]
        async with served(rt, port):
            await happens(lambda: len(screen.notes) >= 2)
        await send(http, message="While it was away")
        async with served(rt, port):
            await happens(lambda: len(screen.lines) >= 2)
    told = [json.loads(each) for each in screen.lines]
    assert sorted(each["type"] for each in told) == ["conversation.opened", "message.accepted"]


async def test_one_that_was_removed_meanwhile_is_made_again(
    rt: Runtime, engine: AsyncEngine
) -> None:
    async with served(rt) as url, httpx.AsyncClient(base_url=url) as http:
        http.headers["authorization"] = f"Bearer {ACME_KEY}"
        async with listening(Asked(server=url, key=ACME_KEY)) as screen:
            await happens(lambda: screen.notes)
            (made,) = (await http.get("/v1/webhooks")).json()["data"]
            await http.delete(f"/v1/webhooks/{made['id']}")
            await happens(lambda: len(screen.notes) >= 3)
    assert "knows this listener no more" in screen.notes[1]
    assert len(await rows(engine, "select id from webhook_endpoints")) == 2


async def test_what_the_server_refuses_is_said_and_ends_it(rt: Runtime) -> None:
    async with served(rt) as url:
        for key, kinds in (("wrong", ()), (ACME_KEY, ("message.sending",))):
            with pytest.raises(typer.Exit):
                await listen(
                    Asked(server=url, key=key, kinds=kinds),
                    print_line=print,
                    note=print,
                    stop=asyncio.Event(),
                    clock=NOW.timestamp,
                )


def test_a_line_says_why() -> None:
    failed = {
        "id": "evt_1",
        "type": "message.failed",
        "timestamp": "2026-03-02T09:00:00.000Z",
        "data": {
            "conversation": {"id": "conv_1", "agent_number": "+1", "user_number": "+2"},
            "message": {"text": "Hi"},
            "error_code": "30003",
            "error": "unreachable",
        },
    }
    assert line(failed).endswith(
        'message.failed            +1 ↔ +2  conv_1  "Hi"  error_code=30003  error=unreachable'
    )
