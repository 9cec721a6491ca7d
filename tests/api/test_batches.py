"""Batches and planned sends over HTTP: made, shown, moved, and what is refused and how."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, EXPIRED_KEY, Clock, correlation_id, execute
from tests.support.plans import all_of, user
from tests.support.provision import ACME_KEY, GLOBEX_KEY
from textback.core.commands import SendText
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.db.book import Book
from textback.dialects.native import batch_wire as wire
from textback.flows import accept, admit, due
from textback.runtime import Runtime

BEARER = {"Authorization": f"Bearer {ACME_KEY}"}
OTHER = {"Authorization": f"Bearer {GLOBEX_KEY}"}
BATCHES, SENDS = wire.BATCHES, wire.SENDS
NO_BATCH, NO_SEND = "batch_" + "0" * 26, "msg_" + "0" * 26
ROWS: list[object] = [
    {"to": user(1), "variables": {"name": "Ann"}},
    {"to": user(2), "text": "Hello."},
    {"to": "nobody"},
    {"to": user(3), "variabels": {}},
    7,
]
BODY: Mapping[str, Any] = {"from": AGENT, "text": "Hi {{name}}.", "rows": ROWS}


async def create(
    http: httpx.AsyncClient, given: Mapping[str, str] = BEARER, **changes: object
) -> dict[str, Any]:
    answer = await http.post(BATCHES, json={**BODY, **changes}, headers=given)
    assert answer.status_code == 201, answer.text
    correlation_id(answer)
    return answer.json()


def is_problem(answer: httpx.Response, status: int, saying: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert problem["status"] == status
    assert saying in problem["detail"]


async def work(rt: Runtime) -> None:
    turns, _ = await due.claim_batches(rt.db, limit=10, now=rt.now())
    for turn in turns:
        await all_of(rt.db, turn, now=rt.now())


async def test_a_batch_is_made_told_and_sent(http: httpx.AsyncClient, rt: Runtime):
    made = await create(http, name="Tuesday", metadata={"campaign": "spring"})
    assert (made["state"], made["total"], made["error_count"]) == ("running", 5, 3)
    assert (made["name"], made["from"], made["project_id"]) == ("Tuesday", AGENT, "reminders")
    assert made["progress"] | {"planned": 2, "held": 0, "refused": 3} == made["progress"]
    assert [(e["row"], e["to"]) for e in made["errors"]] == [(3, "nobody"), (4, user(3)), (5, "")]
    assert made["errors"][1]["detail"].startswith("There is no such field here; there are to,")
    assert made["errors"][0]["problem"] == "urn:textback:problem:bad-request"

    await work(rt)

    shown = (await http.get(f"{BATCHES}/{made['id']}", headers=BEARER)).json()
    assert shown["progress"] | {"planned": 0, "accepted": 2, "queued": 2} == shown["progress"]
    listed = (await http.get(BATCHES, headers=BEARER)).json()
    assert [batch["id"] for batch in listed["data"]] == [made["id"]]
    assert "progress" not in listed["data"][0]
    page = (await http.get(f"{BATCHES}/{made['id']}/rows?limit=2", headers=BEARER)).json()
    first, second = page["data"]
    assert (first["row"], first["text"], first["state"]) == (1, "Hi Ann.", "accepted")
    assert first["metadata"] == {"campaign": "spring"}
    assert second["message"] == {
        "state": "queued",
        "sent_at": None,
        "error_code": None,
        "error": None,
    }
    rest = await http.get(
        f"{BATCHES}/{made['id']}/rows",
        params={"limit": 2, "cursor": page["next_cursor"], "state": "refused"},
        headers=BEARER,
    )
    assert [row["row"] for row in rest.json()["data"]] == [3, 4]
    assert (await http.get(f"{SENDS}/{first['id']}", headers=BEARER)).json() == first


async def test_a_batch_may_come_as_a_csv(http: httpx.AsyncClient):
    csv = "phone_number,name\r\n+14155570001,Ann\r\n0171,Bo\r\n+14155570003,\r\n"
    answer = await http.post(
        BATCHES,
        params={"connector": "conn-live", "text": "Hi {{name}}.", "draft": "true", "name": "CSV"},
        content=csv,
        headers=BEARER | {"content-type": "text/csv; charset=UTF-8"},
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["state"], made["connector_id"], made["total"]) == ("draft", "conn-live", 3)
    assert [e["row"] for e in made["errors"]] == [2]
    page = (await http.get(f"{BATCHES}/{made['id']}/rows?state=planned", headers=BEARER)).json()
    assert [row["text"] for row in page["data"]] == ["Hi Ann.", "Hi ."]


NO_FILES: list[tuple[dict[str, str], bytes, str]] = [
    ({}, b"name\nAnn\n", "names no column to"),
    ({}, b"to\n+14155570001\n\xff", "Line 3 of the file is not UTF-8"),
    ({}, b"to\n", "The batch has no row"),
    ({"draft": "yes"}, b"to\n+14155570001\n", "draft must be true or false"),
    ({"rows": "[]"}, b"to\n+14155570001\n", "There is no such query parameter"),
    ({"send_at": "tomorrow"}, b"to\n+14155570001\n", "send_at must be a time with its zone"),
]


async def test_a_file_that_is_no_batch_is_refused(http: httpx.AsyncClient):
    given = BEARER | {"content-type": "text/csv"}
    for query, content, says in NO_FILES:
        params = {"from": AGENT, **query}
        answer = await http.post(BATCHES, params=params, content=content, headers=given)
        is_problem(answer, 400, says)
    assert (await http.get(BATCHES, headers=BEARER)).json()["data"] == []


NO_BATCHES: list[tuple[dict[str, object], int, str]] = [
    ({"rows": []}, 400, "rows must have 1 entries"),
    ({"rows": [{"to": "x"}]}, 400, "No row can be sent. Row 1:"),
    ({"rows": "all"}, 400, "rows must be a list"),
    ({"from": "nobody"}, 400, "from must be one of your numbers"),
    ({"from": "+14155550199"}, 400, "+14155550199"),  # another account's
    ({"project": "nowhere", "from": None}, 404, "no project"),
    ({"project": "reminders", "connector": "conn-live"}, 400, "not both"),
    ({"send_at": "2027-01-01T00:00:00Z"}, 400, "90 days"),
    ({"send_at": 5}, 400, "send_at must be a time"),
    ({"draft": "true"}, 400, "draft must be true or false"),
    ({"agent": {"id": "globex-agent"}}, 400, "no agent"),
    ({"texts": "Hi"}, 400, "There is no such field here"),
    ({"variables": {"x": "y" * 20_000}}, 400, "variables is too large"),
]


async def test_what_is_wrong_with_a_batch_is_named_and_nothing_is_stored(http: httpx.AsyncClient):
    for changes, status, says in NO_BATCHES:
        answer = await http.post(BATCHES, json={**BODY, **changes}, headers=BEARER)
        is_problem(answer, status, says)
    assert (await http.get(BATCHES, headers=BEARER)).json()["data"] == []


async def test_a_body_is_bounded_and_json_has_no_query(http: httpx.AsyncClient):
    big = b"to\n" + b"x" * wire.MAX_BODY
    sent = await http.post(BATCHES, content=big, headers=BEARER | {"content-type": "text/csv"})
    is_problem(sent, 413)
    is_problem(await http.post(f"{BATCHES}?name=x", json=BODY, headers=BEARER), 400, "in the body")
    xml = BEARER | {"content-type": "application/xml"}
    is_problem(await http.post(BATCHES, content=b"<a/>", headers=xml), 400, "JSON")


async def test_a_row_with_what_no_text_can_hold_is_refused_by_itself(http: httpx.AsyncClient):
    bad = (
        rb'{"to": "%b", "text": "a\u0000b"}',
        rb'{"to": "%b", "variables": {"name": "a\u0000b"}}',
        rb'{"to": "%b", "metadata": {"a\u0000": {"b": [1]}}}',
        rb'{"to": "%b", "no\u0000where": 1}',
        rb'{"to": "%b\u0000"}',
    )
    good = rb'{"to": "%b", "text": "\\u0000 \ud83d\ude00"}'
    rows = b",".join(row % user(n).encode() for n, row in enumerate([good, *bad], start=1))

    async def post(body: bytes) -> httpx.Response:
        json = {**BEARER, "Content-Type": "application/json", "Idempotency-Key": "rows"}
        return await http.post(BATCHES, content=body, headers=json)

    body = rb'{"from": "%b", "text": "Hi.", "rows": [%b]}' % (AGENT.encode(), rows)
    answer = await post(body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert [each["row"] for each in made["errors"]] == [2, 3, 4, 5, 6]
    for each in made["errors"]:
        assert "no text can hold (NUL)" in each["detail"]
    assert (await post(body)).json()["id"] == made["id"]
    listed = await http.get(f"{BATCHES}/{made['id']}/rows", headers=BEARER)
    assert len(listed.json()["data"]) == 6
    # What is every row's is nobody's fault alone; and half of a surrogate pair is no JSON.
    every = body.replace(b"Hi.", rb"a\u0000")
    is_problem(await post(every), 400, "text holds a character")
    is_problem(await post(body.replace(rb"\ude00", b"")), 400, "not valid JSON")


async def test_a_repeated_request_is_one_batch(http: httpx.AsyncClient):
    keyed = BEARER | {"Idempotency-Key": "k1"}
    first = await http.post(BATCHES, json=BODY, headers=keyed)
    again = await http.post(BATCHES, json=BODY, headers=keyed)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = await http.post(BATCHES, json={**BODY, "name": "other"}, headers=keyed)
    is_problem(other, 409, "different request")


async def test_a_batch_is_started_paused_resumed_and_cancelled(http: httpx.AsyncClient):
    made = await create(http, draft=True)

    async def move(act: str, given: Mapping[str, str] = BEARER) -> httpx.Response:
        return await http.post(f"{BATCHES}/{made['id']}/{act}", headers=given)

    is_problem(await move("pause"), 409, "not started")
    is_problem(await move("start", OTHER), 404)
    states = [(await move(act)).json()["state"] for act in ("start", "pause", "resume", "cancel")]
    assert states == ["running", "paused", "running", "cancelled"]
    cancelled = (await move("cancel")).json()
    assert cancelled["progress"]["cancelled"] == 2
    is_problem(await move("resume"), 409, "over")


async def test_batches_come_in_pages_by_state_and_project(http: httpx.AsyncClient):
    made = [(await create(http, name=str(n)))["id"] for n in range(3)]
    page = (await http.get(f"{BATCHES}?limit=2", headers=BEARER)).json()
    assert {batch["id"] for batch in page["data"]} < set(made)
    rest = (await http.get(f"{BATCHES}?cursor={page['next_cursor']}", headers=BEARER)).json()
    assert {b["id"] for b in page["data"] + rest["data"]} == set(made)
    assert rest["next_cursor"] is None
    for query, count in (("state=paused", 0), ("state=running", 3), ("project=x", 0)):
        found = (await http.get(f"{BATCHES}?{query}", headers=BEARER)).json()["data"]
        assert len(found) == count
    is_problem(await http.get(f"{BATCHES}?cursor=x", headers=BEARER), 400, "cursor")
    is_problem(await http.get(f"{BATCHES}?state=over", headers=BEARER), 400, "state must be")


async def planned(rt: Runtime) -> str:
    caller = await admit.sender(Book(rt.db), AccountId("acme"), agent_number=AGENT)
    command = SendText(
        user_number=user(1),
        text="See you.",
        agent_number=Phone(AGENT),
        send_at=rt.now() + timedelta(hours=1),
    )
    accepted = await accept.send_text(rt.db, caller, command, now=rt.now())
    assert accepted.message_id is not None
    return accepted.message_id


async def test_a_planned_send_is_shown_moved_released_and_cancelled(
    http: httpx.AsyncClient, rt: Runtime, clock: Clock
):
    ids = [await planned(rt) for _ in range(2)]
    url = f"{SENDS}/{ids[0]}"
    shown = (await http.get(url, headers=BEARER)).json()
    assert (shown["state"], shown["why"], shown["to"]) == ("planned", "scheduled", user(1))
    assert shown["planned_for"] == "2026-03-02T10:00:00Z"
    listed = (await http.get(f"{SENDS}?limit=1&state=planned", headers=BEARER)).json()
    assert len(listed["data"]) == 1
    rest = (await http.get(f"{SENDS}?cursor={listed['next_cursor']}", headers=BEARER)).json()
    assert {each["id"] for each in listed["data"] + rest["data"]} == set(ids)

    later = "2026-03-03T01:00:00+02:00"
    moved = await http.patch(url, json={"send_at": later}, headers=BEARER)
    assert moved.json()["planned_for"] == "2026-03-02T23:00:00Z"
    for body, says in (
        ({}, "send_at is missing"),
        ({"send_at": "2027-01-01T00:00:00Z"}, "90 days"),
        ({"send_at": later, "text": "x"}, "no such field"),
    ):
        is_problem(await http.patch(url, json=body, headers=BEARER), 400, says)

    clock.pass_(timedelta(minutes=1))
    released = (await http.post(f"{url}/release", headers=BEARER)).json()
    assert (released["planned_for"], released["quiet_hours"]) == ("2026-03-02T09:01:00Z", "ignore")
    cancelled = await http.delete(url, headers=BEARER)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    for again in (
        await http.delete(url, headers=BEARER),
        await http.post(f"{url}/release", headers=BEARER),
        await http.patch(url, json={"send_at": later}, headers=BEARER),
    ):
        is_problem(again, 409, "cancelled")


async def test_what_is_another_accounts_or_nobodys_is_not_there(
    http: httpx.AsyncClient, rt: Runtime
):
    made, send_id = (await create(http))["id"], await planned(rt)
    for batch in (made, NO_BATCH, "batch_1", "x\0"):
        url = f"{BATCHES}/{batch.replace(chr(0), '%00')}"
        is_problem(await http.get(url, headers=OTHER), 404)
        is_problem(await http.get(f"{url}/rows", headers=OTHER), 404)
        is_problem(await http.post(f"{url}/cancel", headers=OTHER), 404)
    for send in (send_id, NO_SEND, made):
        url = f"{SENDS}/{send}"
        is_problem(await http.get(url, headers=OTHER), 404)
        is_problem(await http.delete(url, headers=OTHER), 404)
        is_problem(await http.post(f"{url}/release", headers=OTHER), 404)
        later = {"send_at": "2026-03-03T01:00:00Z"}
        is_problem(await http.patch(url, json=later, headers=OTHER), 404)
    assert (await http.get(BATCHES, headers=OTHER)).json()["data"] == []
    assert (await http.get(SENDS, headers=OTHER)).json()["data"] == []


async def test_a_key_is_asked_for(http: httpx.AsyncClient):
    for given in ({}, {"Authorization": f"Bearer {EXPIRED_KEY}"}):
        for method, url in (
            ("POST", BATCHES),
            ("GET", BATCHES),
            ("POST", f"{BATCHES}/{NO_BATCH}/start"),
            ("DELETE", f"{SENDS}/{NO_SEND}"),
        ):
            is_problem(await http.request(method, url, headers=given), 401)


async def test_a_key_needs_its_scope(http: httpx.AsyncClient, engine: AsyncEngine):
    made = (await create(http))["id"]
    await execute(engine, """update api_keys set scopes = '["read"]'""")
    assert (await http.get(f"{BATCHES}/{made}", headers=BEARER)).status_code == 200
    is_problem(await http.post(BATCHES, json=BODY, headers=BEARER), 403, '"send"')
    is_problem(await http.post(f"{BATCHES}/{made}/cancel", headers=BEARER), 403, '"send"')
    is_problem(await http.delete(f"{SENDS}/{NO_SEND}", headers=BEARER), 403, '"send"')
    await execute(engine, """update api_keys set scopes = '["send"]'""")
    for url in (BATCHES, f"{BATCHES}/{made}", f"{BATCHES}/{made}/rows", SENDS, f"{SENDS}/{made}"):
        is_problem(await http.get(url, headers=BEARER), 403, '"read"')
