"""A webhook while Postgres restarts, hangs, or stops answering in the middle of a commit."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    client,
    is_accepted,
    is_refused,
    rows,
    send,
    settings,
    started,
    stored,
)
from tests.support.hooks import INBOUND, RECEIPT, STATUS, TEXT, post
from tests.support.wire import Wire

HOOKS = pytest.mark.parametrize(("path", "form"), [(INBOUND, TEXT), (STATUS, RECEIPT)])
SOON = 6.0
"""Seconds: the five that are promised, and what a busy machine takes."""


@pytest.fixture
async def wire(
    provisioned: AsyncEngine,  # noqa: ARG001 - what is at its end
    database_url: str,
) -> AsyncGenerator[Wire]:
    async with Wire(database_url) as made:
        yield made


@asynccontextmanager
async def behind(wire: Wire, redis_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with started(settings(wire.url, redis_url)) as rt, client(rt) as http:
        try:
            yield http
        finally:  # so that nothing has to wait for the frozen ones
            wire.cut()


@HOOKS
async def test_a_restart_of_postgres_between_two_webhooks_costs_neither(
    wire: Wire, redis_url: str, path: str, form: dict[str, str]
) -> None:
    async with behind(wire, redis_url) as http:
        for _ in range(3):
            answer = await post(http, path, form)
            assert answer.status_code == 200, answer.text
            wire.cut()  # every pooled connection is dead, and nobody has noticed
            await wire.mend()


async def test_a_text_whose_connection_broke_in_the_middle_is_stored_by_the_second_try(
    wire: Wire, redis_url: str, engine: AsyncEngine
) -> None:
    async with behind(wire, redis_url) as http:
        assert (await post(http, STATUS, RECEIPT)).status_code == 200
        wire.break_at(b"INSERT INTO turns", b"COMMIT", deliver=True)
        assert (await post(http, INBOUND, TEXT)).status_code == 200
    assert (await stored(engine))["messages"] == 1


async def test_a_postgres_that_hangs_holds_no_webhook_longer_than_the_deadline(
    wire: Wire, redis_url: str, engine: AsyncEngine
) -> None:
    async with behind(wire, redis_url) as http:
        assert (await post(http, STATUS, RECEIPT)).status_code == 200
        wire.freeze()
        began = time.monotonic()
        answer = await post(http, INBOUND, TEXT)
        assert time.monotonic() - began < SOON
        is_refused(answer, 503, counted=False)
        assert answer.headers["retry-after"] == "2"
    assert await stored(engine) == {}


@pytest.mark.parametrize("deliver", [False, True], ids=["not arrived", "arrived"])
async def test_a_text_cancelled_in_its_commit_is_refused_and_its_repetition_stored_once(
    wire: Wire, redis_url: str, engine: AsyncEngine, *, deliver: bool
) -> None:
    async with behind(wire, redis_url) as http:
        wire.freeze_at(b"insert into turns", b"COMMIT", deliver=deliver)
        began = time.monotonic()
        is_refused(await post(http, INBOUND, TEXT), 503, counted=False)
        assert time.monotonic() - began < SOON
        assert (await stored(engine)).get("messages", 0) == int(deliver)
        wire.cut()
        await wire.mend()
        for _ in range(2):
            assert (await post(http, INBOUND, TEXT)).status_code == 200
    found = await stored(engine)
    assert (found["messages"], found["conversations"], found["turns"]) == (1, 1, 1)


async def test_a_receipt_cancelled_in_its_commit_is_refused_and_its_repetition_counts_once(
    wire: Wire, redis_url: str, engine: AsyncEngine
) -> None:
    async with behind(wire, redis_url) as http:
        _, message_id = is_accepted(await send(http, agent_number=AGENT))
        path = f"{STATUS}?message_id={message_id}"
        wire.freeze_at(b"update messages", b"message.delivered", deliver=True)
        is_refused(await post(http, path, RECEIPT), 503, counted=False)
        wire.cut()
        await wire.mend()
        for _ in range(2):
            assert (await post(http, path, RECEIPT)).status_code == 200
    assert await rows(engine, "select state from messages") == [{"state": "delivered"}]
    said = await rows(engine, "select kind from events where message_id = :id", id=message_id)
    assert [event["kind"] for event in said].count("message.delivered") == 1
