"""`Idempotency-Key`: the same request again is the same text."""

import asyncio
import json
from datetime import timedelta

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    BODY,
    EXPIRING_KEY,
    USER,
    Clock,
    headers,
    is_accepted,
    is_refused,
    send,
    stored,
)
from tests.support.provision import GLOBEX_KEY

KEYED = headers(**{"Idempotency-Key": "order-17"})


async def test_the_same_request_gets_the_same_answer_and_makes_no_second_text(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    first = await send(http, asked=KEYED)
    again = await send(http, json.dumps(BODY, indent=4).encode(), KEYED)
    assert is_accepted(first) == is_accepted(again)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (await stored(engine))["messages"] == 1


async def test_another_body_under_the_same_key_is_409_and_stores_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_accepted(await send(http, asked=KEYED))
    before = await stored(engine)
    is_refused(
        await send(http, asked=KEYED, message="Another"),
        409,
        counted=False,
        saying="Idempotency-Key",
    )
    assert await stored(engine) == before


async def test_another_key_or_none_sends_again(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_accepted(await send(http, asked=KEYED))
    is_accepted(await send(http, asked=KEYED | {"Idempotency-Key": "order-18"}))
    is_accepted(await send(http))
    assert (await stored(engine))["messages"] == 3


async def test_keys_of_two_accounts_do_not_meet(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_accepted(await send(http, asked=KEYED))
    is_accepted(await send(http, asked=KEYED | headers(GLOBEX_KEY, "conn-globex")))
    assert (await stored(engine))["messages"] == 2


async def test_the_same_body_for_another_connector_of_the_account_is_another_request(
    http: httpx.AsyncClient,
) -> None:
    body = BODY | {"user_number": USER}
    asked = headers(EXPIRING_KEY, "conn-tight", **{"Idempotency-Key": "k"})
    is_accepted(await send(http, body, asked))
    is_refused(await send(http, body, asked | {"X-TOKEN-ID": "conn-dev"}), 409, counted=False)


async def test_a_key_is_remembered_for_24_hours(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    first = is_accepted(await send(http, asked=KEYED))
    clock.pass_(timedelta(hours=24, seconds=-1))
    assert is_accepted(await send(http, asked=KEYED)) == first
    clock.pass_(timedelta(seconds=1))
    second = is_accepted(await send(http, asked=KEYED))
    assert second != first
    assert is_accepted(await send(http, asked=KEYED)) == second
    assert (await stored(engine))["messages"] == 2


async def test_a_refusal_is_not_remembered(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    asked = KEYED | headers(EXPIRING_KEY, "conn-dev")
    is_refused(await send(http, b"{", asked), 400, counted=True)
    is_refused(await send(http, asked=asked), 404, counted=True)
    is_refused(await send(http, asked=asked, agent_number="+14155550177"), 400, counted=True)
    is_accepted(await send(http, asked=asked, agent_number="+14155550180"))
    assert (await stored(engine))["idempotency_keys"] == 1


async def test_twins_at_the_same_time_make_one_text(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(send(http, asked=KEYED)) for _ in range(12)]
    answers = [task.result() for task in tasks]
    assert len({is_accepted(answer) for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    found = await stored(engine)
    assert (found["messages"], found["conversations"]) == (1, 1)


async def test_rivals_for_a_key_at_the_same_time_make_one_text_and_409(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(send(http, asked=KEYED, message=f"number {n}")) for n in range(8)
        ]
    statuses = sorted(task.result().status_code for task in tasks)
    assert statuses == [202] + [409] * 7
    assert (await stored(engine))["messages"] == 1


@pytest.mark.parametrize("key", ["", " ", "k" * 256])
async def test_a_key_that_is_none_or_too_long_is_400(
    http: httpx.AsyncClient, engine: AsyncEngine, key: str
) -> None:
    answer = await send(http, asked=KEYED | {"Idempotency-Key": key})
    is_refused(answer, 400, counted=True, saying="Idempotency-Key")
    assert await stored(engine) == {}


async def test_a_replay_still_needs_a_key_that_counts(http: httpx.AsyncClient) -> None:
    is_accepted(await send(http, asked=KEYED))
    is_refused(await send(http, asked=KEYED | headers("unknown")), 401, counted=False)
    is_refused(await send(http, asked=KEYED | headers(GLOBEX_KEY)), 403, counted=False)


async def test_a_replay_is_answered_from_memory_whatever_changed_since(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    """The user has opted out meanwhile, a newer send superseded it: it is the same answer."""
    first = is_accepted(await send(http, asked=KEYED))
    is_accepted(await send(http, message="newer"))
    assert is_accepted(await send(http, asked=KEYED)) == first
    assert (await stored(engine))["messages"] == 2
