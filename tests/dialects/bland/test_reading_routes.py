"""Bland's conversations over HTTP: listed, read, changed, deleted; their webhook; analysis."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import execute, rows, served, until
from tests.support.bland import (
    AGENT,
    NEIGHBOUR,
    OTHERS,
    READER,
    USER,
    ask,
    good,
    hear,
    refused,
    send,
)
from textback.core.ids import from_uuid
from textback.runtime import Runtime

NOBODY = "019cad0a-36d9-7c35-9c0d-46fdb7e2cb27"
SHOWN_NOW = "2026-03-02T09:00:00.000Z"


async def get(http: httpx.AsyncClient, path: str, **more: Any) -> httpx.Response:
    return await ask(http, "GET", path, **more)


def listed(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["user_number"] for each in answer.json()["data"]]


async def test_what_was_sent_and_said_is_listed_and_read(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown = (await send(http, agent_message="3pm?", request_data={"name": "Jane"}))[
        "conversation_id"
    ]
    await hear(engine, "4pm please")
    answer = (await get(http, "/conversations")).json()
    assert answer["errors"] is None
    assert answer["extra"]["pagination"] == {
        "totalItems": 1,
        "totalPages": 1,
        "currentPage": 1,
        "pageSize": 25,
    }
    [it] = answer["data"]
    assert it["id"] == shown
    assert (it["user_number"], it["agent_number"]) == (USER, AGENT)
    assert (it["is_active"], it["message_count"], it["last_message"]) == (True, 2, "4pm please")
    assert (it["effective_channel"], it["curr_pathway_id"]) == ("sms", "mia")
    assert it["variables"] == {"name": "Jane"}
    one = good(await get(http, f"/conversations/{shown}"))
    assert {name: one[name] for name in it} == it
    said = [(m["sender"], m["message"], m["status"], m["from"], m["to"]) for m in one["messages"]]
    assert said == [
        ("AGENT", "3pm?", "queued", AGENT, USER),
        ("USER", "4pm please", None, USER, AGENT),
    ]
    assert (one["timed_out_at"], one["disposition_logs"]) == (None, [])


async def test_the_place_in_a_flow_is_where_it_will_begin_until_it_has_begun(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown = (await send(http, pathway_id="intake", start_node_id="goodbye"))["conversation_id"]
    here = '[{"field": "current_node_id", "operator": "eq", "value": "goodbye"}]'
    path = f"/conversations?{httpx.QueryParams(filters=here)}"
    assert listed(await get(http, path)) == [USER]
    assert good(await get(http, f"/conversations/{shown}"))["current_node_id"] == "goodbye"
    await execute(engine, """update conversations set engine_state = '{"node": "hello"}'""")
    assert good(await get(http, f"/conversations/{shown}"))["current_node_id"] == "hello"
    assert listed(await get(http, path)) == []
    plain = (await send(http, user_number=NEIGHBOUR))["conversation_id"]
    assert good(await get(http, f"/conversations/{plain}"))["current_node_id"] is None


async def test_a_list_is_filtered_sorted_and_paged(http: httpx.AsyncClient) -> None:
    await send(http)
    await send(http, user_number=NEIGHBOUR)

    async def with_filters(*some: dict[str, object], **more: str) -> list[str]:
        query = {"filters": json.dumps(some), **more}
        return listed(await get(http, f"/conversations?{httpx.QueryParams(query)}"))

    by_end: dict[str, object] = {"field": "user_number", "operator": "endsWith", "value": "0124"}
    assert await with_filters(by_end) == [NEIGHBOUR]
    long: dict[str, object] = {"field": "user_number", "operator": "endsWith", "value": "9" * 40}
    assert await with_filters(long) == []
    start: dict[str, object] = {"field": "last_message", "operator": "startsWith", "value": "hi"}
    assert len(await with_filters(start)) == 2
    live: dict[str, object] = {"field": "is_active", "operator": "eq", "value": False}
    assert await with_filters(live) == []
    assert await with_filters(sortBy="user_number", sortDir="asc") == [USER, NEIGHBOUR]
    assert await with_filters(sortBy="user_number", pageSize="1", page="2") == [USER]
    percent: dict[str, object] = {"field": "last_message", "operator": "contains", "value": "%"}
    assert await with_filters(percent) == []


async def test_it_is_ended_by_its_flag_and_not_begun_again(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown = (await send(http))["conversation_id"]
    path = f"/conversations/{shown}"
    ended = await ask(http, "PATCH", path, {"is_active": False})
    assert (ended.status_code, ended.json()) == (
        200,
        {
            "message": "Conversation updated",
            "conversation": {"id": shown, "is_active": False, "updated_at": SHOWN_NOW},
        },
    )
    again = await ask(http, "PATCH", path, {"is_active": True})
    refused(again, 409, "INVALID_CONVERSATION_STATE")
    [row] = await rows(engine, "select state, reason from conversations")
    assert (row["state"], row["reason"]) == ("closed", "operator")


async def test_texts_and_whole_conversations_are_deleted_for_good(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown = (await send(http))["conversation_id"]
    path = f"/conversations/{shown}"
    [queued] = await rows(engine, "select id from messages")
    body = {"message_ids": [queued["id"]]}
    refused(await ask(http, "DELETE", f"{path}/messages", body), 409, "CONFLICT")
    await execute(
        engine,
        "update messages set state = 'sent', due_at = null, sent_at = now(),"
        " carrier_message_id = 'SM1'",
    )
    gone = good(await ask(http, "DELETE", f"{path}/messages", body))
    assert gone == {"message": "Messages deleted", "deleted_count": 1}
    refused(await ask(http, "DELETE", f"{path}/messages", body), 404, "MESSAGE_NOT_FOUND")
    assert good(await ask(http, "DELETE", path)) == {"message": "Conversation deleted"}
    refused(await get(http, path), 404, "CONVERSATION_NOT_FOUND")
    assert await rows(engine, "select id from conversations") == []


async def test_the_latest_webhook_is_shown_with_its_attempts(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown = (await send(http, webhook="https://example.com/hook"))["conversation_id"]
    assert good(await get(http, f"/conversations/{shown}/webhook")) is None
    await execute(engine, """update webhook_deliveries set body = '{"type":"status"}'""")
    await execute(
        engine,
        "insert into webhook_attempts (delivery_id, number, at, status, milliseconds, error)"
        " select max(id), 1, '2026-03-02T09:00:00Z', 500, 12, 'the receiver answered 500'"
        " from webhook_deliveries",
    )
    found = good(await get(http, f"/conversations/{shown}/webhook"))
    assert (found["conversation_id"], found["url"]) == (shown, "https://example.com/hook")
    assert found["payload"] == {"type": "status"}
    assert found["metadata"] == [
        {
            "sent_at": SHOWN_NOW,
            "response_code": 500,
            "response_time": 12,
            "send_type": "status",
            "error_message": "the receiver answered 500",
        }
    ]


async def test_an_analysis_is_given_by_the_schema_of_its_agent(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    shown = (await send(http))["conversation_id"]
    asked = {"schema_id": "mia", "conversation_id": shown}

    async def analyze(**changes: object) -> httpx.Response:
        return await ask(http, "POST", "/analyze", asked | changes)

    refused(await analyze(), 409, "INVALID_CONVERSATION_STATE")
    await ask(http, "PATCH", f"/conversations/{shown}", {"is_active": False})
    refused(await analyze(), 404, "SCHEMA_NOT_FOUND")
    wanted = '{"summary": true, "values": {"type": "object"}, "outcomes": []}'
    await execute(engine, f"update agent_versions set analysis = '{wanted}'")  # noqa: S608
    refused(await analyze(schema_id="intake"), 404, "SCHEMA_NOT_FOUND")
    made = '{"summary": "S", "values": {"slot": "4pm"}, "outcome": null}'
    await execute(engine, f"update conversations set analysis = '{made}'")  # noqa: S608
    answer = await analyze()
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "data": {
            "status": "success",
            "conversation_id": shown,
            "schema_id": "mia",
            "schema_name": "mia",
            "variables_extracted": 1,
            "extracted_variables": {"slot": "4pm"},
            "citations": [{"variable": "slot", "message": None, "confidence": None}],
            "messages_processed": 1,
        },
        "errors": [],
    }


async def test_a_server_that_stops_answers_who_waits_for_an_analysis_and_it_is_still_made(
    http: httpx.AsyncClient, engine: AsyncEngine, rt: Runtime
) -> None:
    shown = (await send(http))["conversation_id"]
    await ask(http, "PATCH", f"/conversations/{shown}", {"is_active": False})
    wanted = '{"summary": true, "values": {"type": "object"}, "outcomes": []}'
    await execute(engine, f"update agent_versions set analysis = '{wanted}'")  # noqa: S608
    asked = {"schema_id": "mia", "conversation_id": shown}
    due = "select 1 from conversations where analysis_due_at is not null"

    async def waits() -> bool:
        return bool(await rows(engine, due))

    async with asyncio.timeout(20), httpx.AsyncClient(trust_env=False, timeout=60) as away:
        async with served(rt) as url:
            away.base_url = url
            waiting = asyncio.create_task(ask(away, "POST", "/analyze", asked))
            await until(waits)
            told = asyncio.get_running_loop().time()
        refused(await waiting, 409, "ANALYSIS_PENDING")
        assert asyncio.get_running_loop().time() - told < 5  # and not when the 40 s are over
    assert await waits()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"is_active": False}),
        ("DELETE", "", None),
        ("DELETE", "/messages", {"message_ids": ["msg_1"]}),
        ("GET", "/webhook", None),
    ],
)
async def test_what_is_not_there_or_somebody_elses_is_not_found(
    http: httpx.AsyncClient, method: str, path: str, body: dict[str, object] | None
) -> None:
    shown = (await send(http))["conversation_id"]
    for name in (NOBODY, "x", str(from_uuid("conv_", shown)), "%00"):
        it = await ask(http, method, f"/conversations/{name}{path}", body)
        refused(it, 404, "CONVERSATION_NOT_FOUND")
    it = await ask(http, method, f"/conversations/{shown}{path}", body, key=OTHERS)
    refused(it, 404, "CONVERSATION_NOT_FOUND")


async def test_a_key_does_what_its_scopes_say(http: httpx.AsyncClient) -> None:
    shown = (await send(http))["conversation_id"]
    assert (await get(http, "/conversations", key=READER)).status_code == 200
    for method, path, body in (
        ("PATCH", f"/conversations/{shown}", {"is_active": False}),
        ("DELETE", f"/conversations/{shown}", None),
        ("POST", "/analyze", {"schema_id": "mia", "conversation_id": shown}),
    ):
        refused(await ask(http, method, path, body, key=READER), 403, "FORBIDDEN")
    refused(await get(http, "/conversations", key=None), 401, "AUTH_FAILURE")
