"""`POST /v1/sms`: what is accepted, what is answered, and every documented refusal."""

import asyncio
import json
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.dialects.nixflex.deployment import (
    AGENT,
    KEY,
    NUMBER,
    OPTED_OUT,
    OTHER,
    READER,
    SMS,
    THEIR_AGENT,
    US_NUMBER,
    USER,
    is_refused,
    told,
)
from tests.support.api import PUBLIC_URL, client, execute, rows, settings, started, stored
from textback.core.gcra import Rate
from textback.runtime import Runtime


async def test_the_documented_request_gets_the_documented_answer_first(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    answer = await http.post("/v1/sms", json=SMS)
    assert answer.status_code == 201
    assert answer.text.startswith(f'{{"status":"sent","to":"{USER}","from":"{NUMBER}",')
    body = answer.json()
    assert list(body) == ["status", "to", "from", "message_id", "created_at"]
    assert body["created_at"] == "2026-03-02T09:00:00Z"
    [text] = await rows(engine, "select id, text, state, user_number from messages")
    assert text == {
        "id": body["message_id"],
        "text": SMS["message"],
        "state": "queued",
        "user_number": USER,
    }
    assert told(answer)[:2] == (120, 119)


async def test_the_fields_of_all_three_generations_are_understood(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    of_may = {
        "agent_id": AGENT,
        "to_number": USER,
        "from_number": NUMBER,
        "body": "Reply YES to confirm.",
        "context_prompt": "It is about Tuesday.",
        "metadata": {"order": 7},
        "something_new": [1],
    }
    of_the_sdk = {
        "agent_id": AGENT,
        "to": "+447386172393",
        "message": "Hi",
        "context": {"reply_context": "They moved house."},
        "from_number": None,
    }
    for body in (of_may, of_the_sdk):
        answer = await http.post("/v1/sms", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.json()["from"] == NUMBER
    found = await rows(
        engine,
        "select objective, metadata, dialect, agent_id from conversations order by user_number",
    )
    assert [(c["objective"], c["metadata"]) for c in found] == [
        ("It is about Tuesday.", {"order": 7}),
        ("They moved house.", {}),
    ]
    assert {(c["dialect"], c["agent_id"]) for c in found} == {("nixflex", AGENT)}


async def test_a_second_text_goes_on_in_the_same_conversation(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await http.post("/v1/sms", json=SMS)
    again = await http.post("/v1/sms", json={**SMS, "message": "Still there?", "from_number": None})
    assert again.json()["from"] == NUMBER
    assert await stored(engine) | {"events": 0} == {"conversations": 1, "messages": 2, "events": 0}


async def test_a_repetition_with_the_same_key_gets_the_same_answer_and_sends_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    key = {"Idempotency-Key": "order-7"}
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(http.post("/v1/sms", json=SMS, headers=key)) for _ in range(3)]
    answers = [each.result() for each in asked]
    assert {each.text for each in answers} == {answers[0].text}
    assert sum("idempotent-replayed" in each.headers for each in answers) == 2
    assert (await stored(engine))["messages"] == 1
    other = await http.post("/v1/sms", json={**SMS, "message": "No"}, headers=key)
    is_refused(other, "idempotency_key_reused")
    long = await http.post("/v1/sms", json=SMS, headers={"Idempotency-Key": "k" * 256})
    is_refused(long, "invalid_field")


async def test_a_repetition_gets_the_first_answer_though_agent_and_number_are_gone(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    key, agent = {"Idempotency-Key": "order-7"}, await http.post("/v1/agents", json={})
    sms = {**SMS, "agent_id": agent.json()["agent_id"]}
    first = await http.post("/v1/sms", json=sms, headers=key)
    await http.delete(f"/v1/agents/{sms['agent_id']}")
    is_refused(await http.post("/v1/sms", json=sms), "agent_not_found")
    again = await http.post("/v1/sms", json=sms, headers=key)
    assert (again.status_code, again.text) == (201, first.text)
    await execute(engine, "update numbers set removed_at = now()")
    is_refused(await http.post("/v1/sms", json=SMS), "from_number_not_owned")
    again = await http.post("/v1/sms", json=sms, headers=key)
    assert (again.status_code, again.text) == (201, first.text)


WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"agent_id": None}, "missing_field", "agent_id"),
    ({"to": ""}, "missing_field", "to"),
    ({"message": None}, "missing_field", "message"),
    ({"message": " \n"}, "missing_field", "message"),
    ({"to": "07386172392"}, "invalid_phone_format", "to"),
    ({"to": "+4473 86172392"}, "invalid_phone_format", "to"),
    ({"to": "+99912345678"}, "invalid_phone_format", "to"),
    ({"to": f"rcs:{USER}"}, "invalid_phone_format", "to"),
    ({"from_number": "acme"}, "invalid_phone_format", "from_number"),
    ({"message": "x" * 1601}, "message_too_long", "message"),
    ({"message": 7}, "invalid_field", "message"),
    ({"metadata": []}, "invalid_field", "metadata"),
    ({"metadata": {"a": "x" * 17_000}}, "invalid_field", "metadata"),
    ({"context": "no"}, "invalid_field", "context"),
    ({"context": {"reply_context": 1}}, "invalid_field", "context.reply_context"),
    ({"context_prompt": "x" * 20_001}, "invalid_field", "context_prompt"),
    ({"message": "a\0b"}, "invalid_json", None),
    ({"metadata": {"a": "\0"}}, "invalid_json", None),
    ({"agent_id": "agent_ffffffffffffffff"}, "agent_not_found", None),
    ({"agent_id": "agent\u20ac"}, "agent_not_found", None),
    ({"agent_id": "theirs"}, "agent_not_found", None),
    ({"agent_id": THEIR_AGENT}, "agent_not_owned", None),
    ({"agent_id": "nobody", "from_number": None}, "agent_not_found", None),
    ({"from_number": "+447700900999"}, "from_number_not_owned", None),
    ({"from_number": "+447700900998"}, "from_number_not_owned", None),
    (
        {"from_number": US_NUMBER, "to": "+14155550123"},
        "sms_not_supported_in_region",
        None,
    ),
]


async def test_every_documented_refusal_has_its_code_and_stores_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for changes, code, field in WRONG:
        answer = await http.post("/v1/sms", json={**SMS, **changes})
        details = is_refused(answer, code)
        assert field is None or details["field"] == field, changes
    assert await stored(engine) == {}
    abroad = await http.post("/v1/sms", json={**SMS, "from_number": US_NUMBER})
    assert abroad.status_code == 201  # it is the US that wants a registration


NO_BODY: list[tuple[bytes, str, str]] = [
    (b"", "application/json", "missing_field"),
    (b"{", "application/json", "invalid_json"),
    (b"[]", "application/json", "invalid_json"),
    (b'{"to": "\\ud800"}', "application/json", "invalid_json"),
    (b"{}", "text/plain", "invalid_json"),
    (b'{"to":' * 3000 + b"1" + b"}" * 3000, "application/json", "invalid_json"),
    (json.dumps({"message": "x" * 300_000}).encode(), "application/json", "body_too_large"),
]


async def test_what_is_no_body_is_refused_in_the_same_shape(http: httpx.AsyncClient) -> None:
    for content, media_type, code in NO_BODY:
        told_type = {"content-type": media_type}
        answer = await http.post("/v1/sms", content=content, headers=told_type)
        is_refused(answer, code)


async def test_somebody_who_sent_stop_is_not_texted_and_the_caller_is_told(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(engine, OPTED_OUT)
    is_refused(await http.post("/v1/sms", json=SMS), "recipient_unsubscribed")
    assert "messages" not in await stored(engine)


async def test_only_a_whole_and_good_key_opens_anything(http: httpx.AsyncClient) -> None:
    wrong = {
        "": "invalid_api_key",
        "Bearer": "invalid_api_key",
        "Basic abc": "invalid_api_key",
        f"Bearer {KEY}x": "invalid_api_key",
        "Bearer nxf_unknown:nxfs_unknown": "invalid_api_key",
        f"Bearer {KEY.partition(':')[0]}": "key_secret_required",
        f"Bearer {KEY.partition(':')[0]}:": "key_secret_required",
        "Bearer :nxfs_only": "key_secret_required",
        f"Bearer {READER}": "permission_denied",
    }
    for header, code in wrong.items():
        answer = await http.post("/v1/sms", json=SMS, headers={"Authorization": header})
        is_refused(answer, code)
    missing = (await http.post("/v1/sms", json=SMS, headers={"Authorization": ""})).json()
    assert missing["error"]["message"] == "Invalid or missing API key"
    assert (await http.get("/v1/agents", headers={"Authorization": f"Bearer {READER}"})).is_success


async def test_another_accounts_key_owns_none_of_it(http: httpx.AsyncClient) -> None:
    theirs = {"Authorization": f"Bearer {OTHER}"}
    is_refused(await http.post("/v1/sms", json=SMS, headers=theirs), "from_number_not_owned")
    listed = (await http.get("/v1/agents", headers=theirs)).json()
    assert {each["agent_id"] for each in listed} == {THEIR_AGENT, "theirs"}
    is_refused(await http.get(f"/v1/agents/{AGENT}", headers=theirs), "agent_not_found")
    is_refused(await http.get(f"/v1/phone-numbers/{NUMBER}", headers=theirs), "number_not_found")


async def test_reading_and_changing_have_limits_of_their_own_and_say_what_is_left(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    read = await http.get("/v1/agents")
    assert told(read)[:2] == (600, 599)
    assert 0 <= told(read)[2] - rt.now().timestamp() <= 2
    key = f"nixflex:dental:{KEY.partition(':')[0]}:120"
    await rt.quota.take(key, Rate(120, 60), 240)
    refused = await http.post("/v1/sms", json=SMS)
    details = is_refused(refused, "rate_limit_exceeded")
    assert str(details["retry_after"]) == refused.headers["retry-after"]
    assert refused.json()["error"]["message"].startswith("Rate limit exceeded. Try again in ")
    assert told(refused)[:2] == (120, 0)
    assert (await http.get("/v1/agents")).status_code == 200


ONE_A_MINUTE = (
    "update projects set policy ="
    """ jsonb_set(policy, '{rate_limit}', '{"amount": 1, "seconds": 60, "lends": false}')"""
)


async def test_the_projects_own_limit_is_told_as_the_keys_is(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(engine, ONE_A_MINUTE)
    key = {"Idempotency-Key": "order-7"}
    for _ in range(2):  # a repetition is not counted
        assert (await http.post("/v1/sms", json=SMS, headers=key)).status_code == 201
    refused = await http.post("/v1/sms", json=SMS)
    details = is_refused(refused, "rate_limit_exceeded")
    assert str(details["retry_after"]) == refused.headers["retry-after"]
    assert told(refused)[:2] == (120, 117)
    assert (await stored(engine))["messages"] == 1


async def test_what_no_route_answers_is_said_in_the_same_shape(http: httpx.AsyncClient) -> None:
    is_refused(await http.get("/v1/sms"), "method_not_allowed")


async def test_without_a_database_nothing_is_promised(redis_url: str) -> None:
    nowhere = settings("postgresql://nobody@127.0.0.1:9/none", redis_url, public_url=PUBLIC_URL)
    async with started(nowhere) as rt, client(rt) as http:
        answer = await http.post("/v1/sms", json=SMS, headers={"Authorization": f"Bearer {KEY}"})
        is_refused(answer, "service_unavailable")
