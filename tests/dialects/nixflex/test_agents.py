"""`/v1/agents` and `/v1/keys`: made, shown, changed and deleted as documented."""

import asyncio
import re
from typing import Any

import httpx
import nixflex
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.dialects.nixflex.deployment import (
    AGENT,
    KEY,
    KEY_ID,
    NUMBER,
    READER,
    SMS,
    WEBHOOK_SECRET,
    is_refused,
)
from tests.support.api import Clock, rows
from tests.support.provision import NOW
from tests.support.webhooks import Postman
from tests.support.world import World
from textback.api import managing
from textback.core.ids import AccountId, CarrierId, MessageId
from textback.core.ports import Receipt
from textback.flows import manage_keys
from textback.flows.admit import Holder
from textback.flows.receipt import Receipts
from textback.runtime import Runtime

CONFIG = "select config from numbers where number = :number"
NEW: dict[str, Any] = {
    "name": "Acme Dental Receptionist",
    "system_prompt": "You are the friendly front desk of Acme Dental. Call people {{first_name}}.",
    "welcome_message": "Hello, Acme Dental, how can I help?",
    "voice_id": "Dennis",
    "response_length": "short",
    "fallback_message": "We text you back.",
    "interruption_sensitivity": "medium",
}


async def versions(engine: AsyncEngine, agent_id: str) -> list[dict[str, Any]]:
    return await rows(
        engine,
        "select number, engine, greeting, fallback from agent_versions where agent_id = :id"
        " order by number",
        id=agent_id,
    )


async def test_an_agent_runs_as_the_template_does_with_the_prompt_it_was_given(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    made = await http.post("/v1/agents", json=NEW)
    assert made.status_code == 201, made.text
    agent = made.json()
    assert re.fullmatch("agent_[0-9a-f]{16}", agent["agent_id"])
    assert {name: agent[name] for name in NEW} == NEW
    assert agent["created_at"] == agent["updated_at"] == "2026-03-02T09:00:00Z"
    assert (agent["temperature"], agent["is_active"], agent["webhook_url"]) == (0.3, True, None)
    [first] = await versions(engine, agent["agent_id"])
    assert first["engine"]["model"]["base_url"] == "http://127.0.0.1:9/v1"
    assert first["engine"]["prompt"] == NEW["system_prompt"] + "\n\nAnswer in one short sentence."
    assert (first["greeting"], first["fallback"]) == (
        NEW["welcome_message"],
        NEW["fallback_message"],
    )
    sent = await http.post("/v1/sms", json={**SMS, "agent_id": agent["agent_id"]})
    assert sent.status_code == 201
    # Only what is given changes; what is said is another version, and the rest is not.
    where = f"/v1/agents/{agent['agent_id']}"
    clock.now = clock.now.replace(hour=10)
    renamed = await http.put(where, json={"name": "Front desk", "no_such_field": 1})
    assert renamed.json() == agent | {"name": "Front desk", "updated_at": "2026-03-02T10:00:00Z"}
    assert len(await versions(engine, agent["agent_id"])) == 1
    changed = await http.put(where, json={"system_prompt": "Be kind.", "temperature": 0.9})
    assert changed.json()["system_prompt"] == "Be kind."
    second = (await versions(engine, agent["agent_id"]))[1]
    assert second["engine"]["prompt"] == "Be kind.\n\nAnswer in one short sentence."
    assert second["engine"]["model"]["temperature"] == 0.9
    assert (await http.get(where)).json() == changed.json()


async def test_of_changes_at_once_none_is_lost(http: httpx.AsyncClient) -> None:
    made = (await http.post("/v1/agents", json=NEW)).json()
    changes: dict[str, Any] = {
        "name": "Desk",
        "is_active": False,
        "language": "de",
        "transfer_type": "warm",
        "record_call": False,
    }
    async with asyncio.TaskGroup() as group:
        for name, value in changes.items():
            group.create_task(http.put(f"/v1/agents/{made['agent_id']}", json={name: value}))
    assert (await http.get(f"/v1/agents/{made['agent_id']}")).json() == made | changes


async def test_lists_are_bare_the_newest_first_and_in_pages_of_at_most_200(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    for hour in (10, 11):
        clock.now = clock.now.replace(hour=hour)
        await http.post("/v1/agents", json={"name": str(hour), "is_active": hour == 11})
    listed = (await http.get("/v1/agents", params={"limit": 100_000})).json()
    assert [each["name"] for each in listed[:2]] == ["11", "10"]
    assert {each["agent_id"] for each in listed[2:]} == {AGENT, "echo"}
    assert (await http.get("/v1/agents?limit=1&offset=1")).json() == listed[1:2]
    active = (await http.get("/v1/agents?is_active=false")).json()
    assert [each["name"] for each in active] == ["10"]
    for query in ("limit=0", "limit=x", "offset=-1", "is_active=1", "is_active=%00"):
        is_refused(await http.get(f"/v1/agents?{query}"), "invalid_field")


async def test_every_documented_refusal_of_agents_has_its_code(http: httpx.AsyncClient) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"system_prompt": "x" * 16_001}, "prompt_too_long"),
        ({"name": "x" * 101}, "invalid_field"),
        ({"temperature": 1.1}, "invalid_field"),
        ({"response_length": "huge"}, "invalid_field"),
        ({"is_active": "yes"}, "invalid_field"),
        ({"pickup_delay": 4}, "invalid_field"),
        ({"voicemail_leave_enabled": True}, "voicemail_message_required"),
        ({"webhook_url": "ftp://example.com"}, "invalid_field"),
        ({"functions": [{"a": "x" * 20_000}]}, "invalid_field"),
    ]
    for body, code in wrong:
        is_refused(await http.post("/v1/agents", json=body), code)
        is_refused(await http.put(f"/v1/agents/{AGENT}", json=body), code)
    for name in ("nobody", "agent_ffffffffffffffff", "%00", "agent_0123456789abcdef"):
        for method in ("GET", "PUT", "DELETE"):
            answer = await http.request(method, f"/v1/agents/{name}", json={})
            is_refused(answer, "agent_not_found")
    is_refused(await http.put("/v1/agents/echo", json={"system_prompt": "x"}), "conflict")
    is_refused(await http.delete(f"/v1/agents/{AGENT}"), "conflict")
    reader = {"Authorization": f"Bearer {READER}"}
    is_refused(await http.post("/v1/agents", json={}, headers=reader), "permission_denied")


async def test_an_agent_of_the_file_keeps_its_words_and_takes_the_rest(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    renamed = await http.put(f"/v1/agents/{AGENT}", json={"name": "Desk", "is_active": False})
    assert renamed.json()["name"] == "Desk"
    assert renamed.json()["system_prompt"] == "You are the receptionist of Acme Dental."
    assert len(await versions(engine, AGENT)) == 1
    refused = await http.put(f"/v1/agents/{AGENT}", json={"system_prompt": "Other."})
    is_refused(refused, "conflict")
    [number] = await rows(engine, CONFIG, number=NUMBER)
    config: Any = number["config"]
    assert config["defaults"]["replies"] is False
    await http.put(f"/v1/agents/{AGENT}", json={"is_active": True, "enable_sms_reply": True})
    [number] = await rows(engine, CONFIG, number=NUMBER)
    config = number["config"]
    assert config["defaults"]["replies"] is True


async def test_a_deleted_agent_leaves_its_numbers_to_nobody(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    agent_id = (await http.post("/v1/agents", json={"name": "Short-lived"})).json()["agent_id"]
    await http.patch(f"/v1/phone-numbers/{NUMBER}", json={"agent_id": agent_id})
    gone = await http.delete(f"/v1/agents/{agent_id}")
    assert gone.json() == {"agent_id": agent_id, "deleted": True}
    is_refused(await http.get(f"/v1/agents/{agent_id}"), "agent_not_found")
    number = (await http.get(f"/v1/phone-numbers/{NUMBER}")).json()["phone_number"]
    assert number["agent_id"] is None
    [row] = await rows(engine, CONFIG, number=NUMBER)
    config: Any = row["config"]
    assert config["defaults"]["replies"] is False
    again = await http.patch(f"/v1/phone-numbers/{NUMBER}", json={"agent_id": AGENT})
    assert again.json()["phone_number"]["agent_id"] == AGENT
    [row] = await rows(engine, CONFIG, number=NUMBER)
    config = row["config"]
    assert config["defaults"]["replies"] is True


async def test_where_an_agent_wants_to_be_told_its_numbers_conversations_tell(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    url = "http://127.0.0.1:9/nixflex"
    await http.put(f"/v1/agents/{AGENT}", json={"webhook_url": url})
    await http.post("/v1/sms", json=SMS)
    made = await http.post("/v1/agents", json={"webhook_url": url + "/2"})
    other = {**SMS, "agent_id": made.json()["agent_id"], "to": "+447386172393"}
    await http.post("/v1/sms", json=other)
    found = await rows(engine, "select url, format from webhook_endpoints order by url")
    assert [(each["url"], each["format"]) for each in found] == [
        (url, "nixflex"),
        (url + "/2", "nixflex"),
    ]


async def test_a_delivery_is_told_signed_where_its_agent_wants_it(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await http.put(f"/v1/agents/{AGENT}", json={"webhook_url": "http://127.0.0.1:9/nixflex"})
    sent = (await http.post("/v1/sms", json={**SMS, "metadata": {"order": 7}})).json()
    world = World(engine)
    postman = Postman(world)
    while came := await postman.round():  # that it is queued is nobody's news
        assert set(came) == {"skipped"}
    message_id = MessageId(sent["message_id"])
    receipt = Receipt(carrier_message_id="SM1", message_id=message_id, status="delivered")
    await Receipts(engine).hear(CarrierId("dental-sandbox"), receipt, now=NOW)
    assert await postman.round() == ["delivered"]
    [posted] = postman.posted
    told = posted.json()
    assert (told["event"], told["message_id"]) == ("sms.delivered", sent["message_id"])
    assert (told["status"], told["metadata"]) == ("delivered", {"order": 7})
    assert nixflex.verify_webhook_signature(
        posted.body,
        posted.headers["X-Nixflex-Signature"],
        WEBHOOK_SECRET,
        now=int(NOW.timestamp()),
    )
    await world.close()


async def test_a_key_is_made_only_by_who_may_and_its_secret_changes_at_once(
    http: httpx.AsyncClient,
) -> None:
    person = {"name": "Fahim Mirza", "email": "fahim@example.com"}
    for header in ("", "Bearer nxf_a", f"Bearer {READER}"):
        answer = await http.post("/v1/keys", json=person, headers={"Authorization": header})
        is_refused(answer, "permission_denied")
        assert "key_pairs" in answer.json()["error"]["message"]
    keys = list[dict[str, Any]]()
    for _ in range(2):
        made = await http.post("/v1/keys", json=person)
        assert made.status_code == 201, made.text
        keys.append(key := made.json())
        assert list(key) == ["message", "key_id", "key_secret"]
        assert re.fullmatch("nxf_[0-9a-f]{32}", key["key_id"])
        assert re.fullmatch("nxfs_.{59,64}", key["key_secret"])
    key = keys[1]
    token = {"Authorization": f"Bearer {key['key_id']}:{key['key_secret']}"}
    assert (await http.post("/v1/sms", json=SMS, headers=token)).status_code == 201
    rotated = (await http.post("/v1/keys/rotate", headers=token)).json()
    assert rotated["key_id"] == key["key_id"] != KEY_ID
    is_refused(await http.get("/v1/agents", headers=token), "invalid_api_key")
    token = {"Authorization": f"Bearer {rotated['key_id']}:{rotated['key_secret']}"}
    assert (await http.get("/v1/agents", headers=token)).status_code == 200
    assert (await http.get("/v1/agents", headers={"Authorization": f"Bearer {KEY}"})).is_success


async def test_a_key_is_made_that_may_do_what_its_maker_may(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    by = Holder(account_id=AccountId("dental"), key_id="", scopes=None)
    pair = await manage_keys.create_pair(managing.managing(rt, by), scopes=["manage", "read"])
    maker = {"Authorization": f"Bearer {pair.key.id}:{pair.secret}"}
    made = await http.post("/v1/keys", json={"name": "Ann"}, headers=maker)
    assert made.status_code == 201, made.text
    token = {"Authorization": f"Bearer {made.json()['key_id']}:{made.json()['key_secret']}"}
    assert (await http.get("/v1/agents", headers=token)).status_code == 200
    assert (await http.post("/v1/sms", json=SMS, headers=token)).status_code == 403
