"""What docs/http-engine.md shows is what happens, and the server in it works."""

import asyncio
import json
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows, served, settings, started, until
from tests.support.deployment import USER
from tests.support.ports import free_port
from tests.support.replies import SECRET
from tests.support.texts import utc_now
from tests.support.turns import over, turn
from tests.support.world import World
from textback.core.engine import Later, Usage
from textback.engines.http import exchange
from textback.worker.main import Worker

PAGE: Final = (Path(__file__).parents[2] / "docs" / "http-engine.md").read_text()
REQUEST, ANSWER, PROMISE, ASKED, ANALYSIS = (
    json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
)
(SERVER,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_requests_on_the_page_have_the_keys_that_are_sent() -> None:
    asked = replace(turn("hi"), reply_url="https://sms.example.com/")
    sent: dict[str, Any] = json.loads(exchange.turn_body(asked, later=timedelta(seconds=300)))
    assert sorted(sent) == sorted(REQUEST)
    assert list(sent["messages"][0]) == list(REQUEST["messages"][0])
    sent = json.loads(exchange.analysis_body(over("hi")))
    assert sorted(sent) == sorted(ASKED)
    assert list(sent["wanted"]) == list(ASKED["wanted"])


def test_the_answers_on_the_page_are_understood() -> None:
    answer = exchange.reply(json.dumps(ANSWER).encode(), turn_id="turn_01", run=1)
    assert (answer.texts, answer.state) == (("4pm works. See you then!",), {"booked": "16:00"})
    assert answer.usage == Usage(input_tokens=812, output_tokens=14, cost_usd=0.0031)
    promised = exchange.promise(json.dumps(PROMISE).encode(), unless_said=timedelta(seconds=300))
    assert promised == Later(within=timedelta(minutes=10))
    assert exchange.analysis(json.dumps(ANALYSIS).encode()).outcome == "booked"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[str]:
    """The server of the page, as a process; gives its URL."""
    port = free_port()
    (tmp_path / "server.py").write_text(SERVER)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(tmp_path / "server.py")),
        env={"PATH": os.defpath, "TURN_SECRET": SECRET, "PORT": str(port), "NO_PROXY": "*"},
        stdout=PIPE,
        stderr=PIPE,
    )
    url = f"http://127.0.0.1:{port}/turn"
    async with httpx.AsyncClient(trust_env=False) as http:

        async def answers() -> bool:
            try:
                return (await http.post(url, content=b"{}")).status_code == 401
            except httpx.HTTPError:
                return False

        await until(answers)
    yield url
    process.terminate()
    await process.wait()


async def test_the_server_on_the_page_answers_at_once_and_later(
    engine: AsyncEngine, database_url: str, redis_url: str, server: str
) -> None:
    world = World(engine)
    await world.provision(agent={"engine": {"kind": "http", "url": server, "secret": SECRET}})
    port = free_port()
    found = settings(database_url, redis_url, public_url=f"http://127.0.0.1:{port}")
    stop = asyncio.Event()
    async with started(found, utc_now) as rt, served(rt, port), asyncio.TaskGroup() as group:
        group.create_task(Worker(rt, concurrency=2).run(stop))
        await world.hear("Hello", now=utc_now())

        async def so_many(count: int) -> bool:
            return len(await world.ours()) == count

        await until(lambda: so_many(1))
        await world.hear("A piece of work", now=utc_now())
        await until(lambda: so_many(2))
        stop.set()
    said = [text.text for text in await world.ours()]
    assert said == ["You said: Hello", "You said: A piece of work"]
    assert (
        await rows(engine, "select run, outcome from turns order by id")
        == [{"run": 1, "outcome": "answered"}] * 2
    )
    kept = await rows(
        engine, "select engine_state from conversations where user_number = :u", u=USER
    )
    assert kept == [{"engine_state": {"turns": 2}}]
    await world.close()
