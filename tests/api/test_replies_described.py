"""What /openapi.json says of posted answers, and whatever comes instead of one."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, is_refused, served, started
from tests.support.deployment import NOW
from tests.support.replies import ENGINE, WITHIN, is_taken, post
from tests.support.world import World
from textback.api import replies
from textback.core.engine import Later
from textback.core.phone import Phone
from textback.engines.http import exchange
from textback.runtime import Runtime
from textback.settings import Settings

USERS: Final = count(1)


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    limits = {"per_project": {"requests": 1_000_000, "per_seconds": 1}}
    await made.provision(agent={"engine": ENGINE}, project={"inbound_limits": limits})
    yield made
    await made.close()


@pytest.fixture
async def rt(
    world: World,  # noqa: ARG001 - what it is about
    found: Settings,
    clock: Clock,
) -> AsyncGenerator[Runtime]:
    clock.now = NOW
    async with started(found, clock) as made:
        yield made


@pytest.fixture
async def operation(http: httpx.AsyncClient) -> dict[str, Any]:
    described = (await http.get("/openapi.json")).json()
    return described["paths"][replies.ROUTE]["post"]


def test_the_statuses_that_there_are_are_described(operation: dict[str, Any]) -> None:
    assert set(operation["responses"]) == {
        *("200", "202", "400", "401", "404", "409", "413", "500", "503"),
    }
    for status, response in operation["responses"].items():
        assert "X-PolyAI-Correlation-Id" in response["headers"]
        assert ("Retry-After" in response["headers"]) is (status == "503")
        assert ("content" in response) is (int(status) >= 400)


def test_each_example_is_an_answer(operation: dict[str, Any]) -> None:
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 3
    for each in examples.values():
        assert exchange.reply(json.dumps(each["value"]).encode(), turn_id="turn_01", run=1)


async def test_schemathesis_finds_nothing(rt: Runtime, tmp_path: Path) -> None:
    async with served(rt) as url:
        program = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{url}/openapi.json"),
            *("--include-path", replies.ROUTE, "--phases", "examples,coverage"),
            *("--checks", "all"),
            *("--exclude-checks", "positive_data_acceptance,missing_required_header"),
            *("--seed", "1", "--generation-database", "none", "--no-color", "--warnings", "off"),
            cwd=tmp_path,
            stdout=PIPE,
            stderr=STDOUT,
        )
        async with asyncio.timeout(120):
            said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert "No issues found" in said.decode()


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\x00", " ", "\ud800", "x" * 5000, "🎉" * 4000, 10**400, -0.0, 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
texts = st.lists(st.fixed_dictionaries({"text": st.text(max_size=8) | odd}), max_size=11)
answers = st.fixed_dictionaries(
    {"messages": texts | odd},
    optional={
        name: odd | st.dictionaries(st.sampled_from(["input_tokens", "cost_usd", "a"]), odd)
        for name in ("end_conversation", "hand_off", "state", "usage", "turn_id", "run", "type")
    },
)


@effort(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=answers | odd)
@example(answer={"messages": [], "state": {"a": -0.0, "b": 1e308, "\\u0000": "\\u0000"}})
@example(answer={"messages": [{"text": "\\"}], "hand_off": "\\u0000"})
async def test_whatever_is_posted_is_taken_or_refused(
    world: World, http: httpx.AsyncClient, logged: StringIO, answer: object
) -> None:
    await world.hear("3pm?", user=Phone(f"+1415556{next(USERS):04}"))
    (thinking,) = await world.claim_turns()
    await world.answer(thinking, Later(within=WITHIN))
    posted = await post(http, thinking, json.dumps(answer).encode())
    if posted.status_code == 202:
        is_taken(await post(http, thinking, json.dumps(answer).encode()), 200)
    else:
        is_refused(posted, 400, counted=False)
        is_taken(await post(http, thinking))
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert not [line for line in lines if line["level"] == "error"]
