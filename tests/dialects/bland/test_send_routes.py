"""`POST /v1/sms/send`: what is stored, what is answered, and what is refused."""

import asyncio
import json
from datetime import timedelta
from typing import Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, rows, stored
from tests.support.bland import (
    AGENT,
    KEY,
    NEIGHBOUR,
    OTHERS,
    READER,
    SEND,
    THEIRS,
    TIGHT,
    USER,
    good,
    hear,
    post,
    refused,
    send,
    talks,
)
from textback.core import ids

TEXTS = "select * from messages order by seq"


async def test_a_text_is_stored_with_all_that_was_said_of_its_conversation(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    told = {
        "agent_message": "Is 3pm good?",
        "objective": "Have them confirm.",
        "request_data": {"name": "Ada"},
        "metadata": {"order": 17},
        "webhook": "https://hooks.example.com/bland",
        "disposition_ids": ["d1"],
        "pathway_id": "intake",
        "start_node_id": "goodbye",
    }
    data = good(await post(http, "/send", SEND | told))
    [talk] = await talks(engine)
    [text] = await rows(engine, TEXTS)
    assert data == {
        "status": "processing",
        "message": "SMS sent successfully",
        "conversation_id": ids.to_uuid(str(talk["id"])),
        "workflow_id": ids.to_uuid(str(talk["id"])),
        "message_id": text["id"],
    }
    names = ("agent_number", "user_number", "agent_id", "start_node", "objective", "variables")
    assert [talk[name] for name in names] == [
        *(AGENT, USER, "intake", "goodbye", "Have them confirm."),
        {"name": "Ada"},
    ]
    names = ("metadata", "extra", "dialect", "reopens", "deadline_at", "state")
    assert [talk[name] for name in names] == [
        *({"order": 17}, {"disposition_ids": ["d1"]}, "bland", True, None, "opened"),
    ]
    assert (text["text"], text["state"]) == ("Is 3pm good?", "queued")
    [endpoint] = await rows(engine, "select * from webhook_endpoints")
    assert (endpoint["url"], endpoint["format"]) == (told["webhook"], "bland")


async def test_the_next_send_goes_on_with_the_conversation_unless_a_new_one_is_asked_for(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    first = await send(http, objective="Sell.", request_data={"a": 1})
    second = await send(http, request_data={"b": 2})
    third = await send(http, new_conversation=True)
    assert first["conversation_id"] == second["conversation_id"] != third["conversation_id"]
    older, newer = await talks(engine)
    assert (older["state"], older["reason"]) == ("closed", "superseded")
    assert (older["objective"], older["variables"]) == ("Sell.", {"a": 1, "b": 2})
    assert (newer["state"], newer["objective"], newer["variables"]) == ("opened", None, {})
    assert len(await rows(engine, TEXTS)) == 3


async def test_without_a_text_the_agent_writes_it(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    first = good(await post(http, "/send", SEND))
    again = good(await post(http, "/send", SEND))
    [greeting] = await rows(engine, TEXTS)
    assert (greeting["text"], greeting["id"]) == ("Hi, this is Mia.", first["message_id"])
    # It goes on in as many texts as it likes, so that none is named.
    assert "message_id" not in again
    assert again["conversation_id"] == first["conversation_id"]
    assert len(await rows(engine, "select 1 from turns")) == 1
    by_silent = SEND | {"agent_number": TIGHT}
    assert "greeting" in refused(await post(http, "/send", by_silent), 400, "MISSING_AGENT_MESSAGE")


async def test_timeouts_stay_with_the_conversation_until_they_are_replaced(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    async def deadline() -> object:
        [talk] = await talks(engine)
        return talk["deadline_at"]

    await send(http)
    assert await deadline() is None
    await send(http, time_out=600, warning_time=60, warning_message="There?")
    assert await deadline() == clock() + timedelta(seconds=60)
    clock.pass_(timedelta(seconds=10))
    await send(http)
    assert await deadline() == clock() + timedelta(seconds=60)
    await send(http, time_out=5)
    assert await deadline() == clock() + timedelta(seconds=30)
    await send(http, time_out=0)
    assert await deadline() is None


async def test_a_repetition_gets_the_first_answer_whatever_its_body(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    first = await post(http, "/send", SEND | {"agent_message": "One."}, idempotency_key="k")
    other = {"user_number": NEIGHBOUR, "agent_number": "nobody", "time_out": -1}
    again = await post(http, "/send", other, idempotency_key="k")
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert "ratelimit" not in again.headers
    assert len(await rows(engine, TEXTS)) == 1
    theirs = {"user_number": USER, "agent_number": THEIRS, "agent_message": "Hi."}
    good(await post(http, "/send", theirs, key=OTHERS, idempotency_key="k"))
    clock.pass_(timedelta(hours=24))
    good(await post(http, "/send", SEND | {"agent_message": "Two."}, idempotency_key="k"))
    assert len(await rows(engine, TEXTS)) == 3
    for key in ("", "x" * 256):
        refused(await post(http, "/send", SEND, idempotency_key=key), 400, "INVALID_REQUEST")


async def test_twins_send_one_text_and_a_refusal_is_not_remembered(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    refused(await post(http, "/send", {}, idempotency_key="k"), 400, "MISSING_REQUIRED_FIELDS")
    body = SEND | {"agent_message": "Hi."}
    async with asyncio.TaskGroup() as group:
        twins = [
            group.create_task(post(http, "/send", body, idempotency_key="k")) for _ in range(4)
        ]
    assert len({twin.result().content for twin in twins}) == 1
    good(twins[0].result())
    assert len(await rows(engine, TEXTS)) == 1


async def test_a_send_to_who_has_opted_out_succeeds_and_sends_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await send(http)
    await hear(engine, "STOP")
    data = await send(http)
    assert data["status"] == "blacklisted"
    assert "opted out" in data["message"]
    talk = (await talks(engine))[-1]
    assert (talk["state"], talk["reason"]) == ("closed", "opted_out")
    [text] = await rows(engine, f"select * from messages where id = '{data['message_id']}'")  # noqa: S608
    assert text["state"] == "suppressed"
    again = await post(http, "/send", SEND | {"agent_message": "x"}, idempotency_key="k")
    repeated = await post(http, "/send", SEND | {"agent_message": "x"}, idempotency_key="k")
    assert again.content == repeated.content


async def test_a_project_over_its_limit_is_told_as_a_plan_over_its_own(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    body = SEND | {"agent_number": TIGHT, "agent_message": "Hi."}
    good(await post(http, "/send", body, idempotency_key="k"))
    refused(await post(http, "/send", body | {"time_out": -1}), 400, "INVALID_TIMEOUT_CONFIG")
    good(await post(http, "/send", body, idempotency_key="k"))
    good(await post(http, "/send", body))
    answer = await post(http, "/send", body)
    assert "try again" in refused(answer, 429, "SMS_RL_PLAN_HOURLY")
    assert int(answer.headers["retry-after"]) > 0
    assert len(await rows(engine, TEXTS)) == 2


CANNOT: Final[list[tuple[dict[str, object], int, str]]] = [
    ({"agent_number": "+14155550190"}, 404, "INBOUND_NUMBER_NOT_FOUND"),
    ({"agent_number": THEIRS}, 404, "INBOUND_NUMBER_NOT_FOUND"),
    ({"agent_number": TIGHT, "channel": "whatsapp"}, 404, "INBOUND_NUMBER_NOT_FOUND"),
    ({"persona_id": "nobody"}, 400, "INVALID_AGENT"),
    ({"persona_id": "theirs"}, 400, "INVALID_AGENT"),
    ({"pathway_id": "mia", "pathway_version": 7}, 400, "INVALID_AGENT"),
    ({"pathway_id": "mia", "pathway_version": 999999999}, 400, "INVALID_AGENT"),
    ({"pathway_id": "intake", "start_node_id": "nowhere"}, 400, "INVALID_AGENT"),
    ({"start_node_id": "goodbye"}, 400, "INVALID_AGENT"),
    ({"request_data": {"a": "\0"}}, 400, "INVALID_REQUEST"),
    ({"agent_message": "x" * 300_000}, 413, "REQUEST_TOO_LARGE"),
]


async def test_what_cannot_be_sent_is_refused_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for body, status, code in CANNOT:
        refused(await post(http, "/send", SEND | {"agent_message": "Hi."} | body), status, code)
    assert await stored(engine) == {}


async def test_who_asks_is_known_by_the_key_as_it_is_or_as_a_bearers(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for key in (None, "", "nonsense", "Bearer", "Bearer nonsense", f"Basic {KEY}", f"{KEY} x"):
        answer = await post(http, "/send", SEND, key=key)
        assert "authorization" in refused(answer, 401, "AUTH_FAILURE")
    refused(await post(http, "/send", SEND, key=READER), 403, "FORBIDDEN")
    assert await stored(engine) == {}
    good(await post(http, "/send", SEND, key=f"Bearer {KEY}"))
    good(await post(http, "/send", SEND, key=f"bearer {KEY}"))


async def test_a_body_that_is_no_json_object_is_refused_in_the_same_envelope(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    headers = {"authorization": KEY, "content-type": "application/json"}
    for content in (b"", b"[]", b"{", b'{"a": NaN}', b"\xff", b'{"user_number": "\\ud800"}'):
        answer = await http.post("/v1/sms/send", content=content, headers=headers)
        assert answer.json()["errors"][0]["error"] in {"INVALID_REQUEST", "MISSING_REQUIRED_FIELDS"}
        assert answer.status_code == 400
    form = await http.post("/v1/sms/send", data={"a": "b"}, headers={"authorization": KEY})
    refused(form, 400, "INVALID_REQUEST")
    other = await http.put("/v1/sms/send", headers={"authorization": KEY})
    refused(other, 405, "METHOD_NOT_ALLOWED")
    assert await stored(engine) == {}


async def test_a_template_goes_out_on_whatsapp(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    sid = "HX" + "0a" * 16
    data = good(
        await post(
            http,
            "/send",
            SEND | {"channel": "whatsapp", "content_sid": sid, "content_variables": {"1": "Ada"}},
        )
    )
    [text] = await rows(engine, TEXTS)
    assert text["id"] == data["message_id"]
    assert text["template"] == {"content_sid": sid, "variables": {"1": "Ada"}}
    assert (text["agent_number"], text["user_number"]) == (f"whatsapp:{AGENT}", f"whatsapp:{USER}")


async def test_a_person_who_has_it_may_be_joined_with_words_and_not_by_the_agent(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    data = await send(http)
    good(await post(http, f"/conversations/{data['conversation_id']}/handoff"))
    why = refused(await post(http, "/send", SEND), 409, "INVALID_CONVERSATION_STATE")
    assert "a person has it" in why
    assert (await send(http))["conversation_id"] == data["conversation_id"]
    assert len(await rows(engine, TEXTS)) == 2


CURL: Final = b"""
{
  "user_number": "+14155550123",
  "agent_number": "+14155550100",
  "agent_message": "Hey! This is Blandy.",
  "request_data": {},
  "new_conversation": true,
  "persona_id": "mia",
  "persona_version": "production",
  "persona_settings": {},
  "pathway_id": "intake",
  "pathway_version": 1,
  "start_node_id": "hello",
  "webhook": "https://hooks.example.com/bland",
  "metadata": {},
  "disposition_ids": ["d1"],
  "citation_schema_ids": ["c1"],
  "channel": "sms",
  "time_out": 123,
  "timeout_message": "Bye.",
  "warning_time": 60,
  "warning_message": "There?"
}
"""
"""As the page of the route shows it for curl, every placeholder filled in."""


async def test_the_published_clients_are_understood(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    body = json.loads(CURL)
    clients = {
        "curl/8.5.0": CURL,
        "python-requests/2.32.3": json.dumps(body).encode(),
        "node": json.dumps(body, separators=(",", ":")).encode(),
    }
    for agent, content in clients.items():
        headers = {"Content-Type": "application/json", "authorization": KEY, "User-Agent": agent}
        data = good(await http.post("/v1/sms/send", content=content, headers=headers))
        assert data["message"] == "SMS sent successfully"
    found = await talks(engine)
    assert [talk["state"] for talk in found] == ["closed", "closed", "opened"]
    assert {talk["agent_id"] for talk in found} == {"intake"}
