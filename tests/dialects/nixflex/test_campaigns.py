"""`/v1/sms/campaigns`: made, followed, launched and cancelled; every documented refusal."""

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.dialects.nixflex.deployment import (
    AGENT,
    NUMBER,
    OPTED_OUT,
    OTHER,
    READER,
    THEIR_AGENT,
    US_NUMBER,
    USER,
    is_refused,
)
from tests.support.api import Clock, execute, rows, stored
from tests.support.plans import all_of
from textback.flows import due
from textback.runtime import Runtime

ROUTE = "/v1/sms/campaigns"
SARAH, JAMES = "+447111000001", "+447111000002"

MARCH: dict[str, Any] = {
    "agent_id": AGENT,
    "from_number": NUMBER,
    "name": "March promotion",
    "message_template": "Hi {{first_name}}, 20% off cleanings this month{{nothing}}.",
    "recipients": [
        {"phone": SARAH, "variables": {"first_name": "Sarah"}},
        {"phone": JAMES, "variables": {"first_name": "James"}},
    ],
    "schedule_type": "now",
}
COUNTS = ("total_count", "delivered_count", "failed_count", "pending_count")


DELIVERED = (
    "update messages set state = 'delivered', due_at = null, carrier_message_id = 'SM1',"
    " sent_at = created_at, delivered_at = created_at where user_number = '+447111000001'"
)
UNDELIVERED = (
    "update messages set state = 'failed', due_at = null, carrier_message_id = 'SM2',"
    " sent_at = created_at, failed_at = created_at, error_code = '30003',"
    " error = 'Unknown handset' where user_number = '+447111000002'"
)


def counts(body: dict[str, Any]) -> tuple[int, ...]:
    return tuple(body[name] for name in COUNTS)


async def work(rt: Runtime) -> None:
    """What a worker does with batches, until nothing is due."""
    while True:
        turns, _ = await due.claim_batches(rt.db, limit=10, now=rt.now())
        if not turns:
            return
        for turn in turns:
            await all_of(rt.db, turn, now=rt.now())


async def test_a_campaign_is_sent_and_followed_as_documented(
    http: httpx.AsyncClient, engine: AsyncEngine, rt: Runtime
) -> None:
    made = await http.post(ROUTE, json=MARCH)
    assert made.status_code == 201, made.text
    body = made.json()
    assert body["campaign_id"].startswith("smsc_")
    assert (body["status"], body["source"], body["name"]) == ("running", "api", "March promotion")
    assert (counts(body), body["recipients_count"]) == ((2, 0, 0, 2), 2)
    assert body["created_at"] == "2026-03-02T09:00:00Z"
    where = f"{ROUTE}/{body['campaign_id']}"
    await work(rt)
    texts = await rows(engine, "select text from messages order by text")
    assert [each["text"] for each in texts] == [
        "Hi James, 20% off cleanings this month.",
        "Hi Sarah, 20% off cleanings this month.",
    ]
    await execute(engine, DELIVERED)
    await execute(engine, UNDELIVERED)
    found = (await http.get(where)).json()
    assert (found["status"], counts(found)) == ("done", (2, 1, 1, 0))
    assert found["recipients"][0] == {
        "phone": SARAH,
        "variables": {"first_name": "Sarah"},
        "status": "delivered",
        "twilio_sid": "SM1",
        "rendered_message": "Hi Sarah, 20% off cleanings this month.",
        "error_message": None,
        "sent_at": "2026-03-02T09:00:00Z",
    }
    james = found["recipients"][1]
    assert (james["status"], james["error_message"]) == ("undelivered", "Unknown handset")
    some = (await http.get(f"{where}?recipients_limit=1&recipients_offset=1")).json()
    assert [each["phone"] for each in some["recipients"]] == [JAMES]
    is_refused(await http.post(f"{where}/launch"), "campaign_already_completed")
    is_refused(await http.delete(where), "campaign_already_completed")


async def test_the_words_of_the_other_generations_are_understood(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    of_may = {
        "agent_id": AGENT,
        "from_number": NUMBER,
        "name": "March promotion",
        "body": "Hi! 20% off.",
        "recipients": [{"phone_number": SARAH}],
        "context_prompt": "If they say YES, book them in.",
        "reply_window_hours": 24,
        "schedule_type": "now",
    }
    of_python = {
        "agent_id": AGENT,
        "from_number": NUMBER,
        "message": "Hi {{name}}",
        "recipients": [{"phone": JAMES}],
    }
    for body in (of_may, of_python):
        answer = await http.post(ROUTE, json=body)
        assert answer.status_code == 201, answer.text
    found = await rows(
        engine, "select command->>'objective' o, command->>'text' t from batches order by id"
    )
    assert sorted((each["t"], each["o"]) for each in found) == [
        ("Hi {{name}}", None),
        ("Hi! 20% off.", "If they say YES, book them in."),
    ]


async def test_a_wrong_recipient_fails_alone_and_nobody_is_texted_twice(
    http: httpx.AsyncClient, engine: AsyncEngine, rt: Runtime
) -> None:
    await execute(engine, OPTED_OUT)
    recipients: list[Any] = [
        {"phone": SARAH},
        {"phone": USER},
        {"phone": SARAH},
        {"phone": "0711"},
        {"variables": {}},
        "no",
        {"phone": "+447111000003", "variables": []},
    ]
    made = await http.post(ROUTE, json={**MARCH, "recipients": recipients})
    assert (made.status_code, counts(made.json())) == (201, (7, 0, 5, 2)), made.text
    await work(rt)
    found = (await http.get(f"{ROUTE}/{made.json()['campaign_id']}")).json()
    assert [each["status"] for each in found["recipients"]] == ["pending"] + ["failed"] * 6
    assert "opted out" in found["recipients"][1]["error_message"]
    assert all(each["error_message"] for each in found["recipients"][1:])
    assert (await stored(engine))["messages"] == 1


async def test_a_scheduled_campaign_waits_and_can_be_launched_or_cancelled(
    http: httpx.AsyncClient, engine: AsyncEngine, rt: Runtime, clock: Clock
) -> None:
    later = {**MARCH, "schedule_type": "schedule", "scheduled_at": "2026-03-03T10:00:00+01:00"}
    first, second = [(await http.post(ROUTE, json=later)).json() for _ in range(2)]
    assert (first["status"], first["scheduled_at"]) == ("scheduled", "2026-03-03T09:00:00Z")
    await work(rt)
    assert "messages" not in await stored(engine)
    launched = await http.post(f"{ROUTE}/{first['campaign_id']}/launch")
    assert launched.status_code == 200, launched.text
    body = launched.json()
    assert (body["status"], counts(body), body["queued_count"]) == ("running", (2, 0, 0, 2), 2)
    await work(rt)
    assert (await stored(engine))["messages"] == 2
    gone = await http.delete(f"{ROUTE}/{second['campaign_id']}")
    assert gone.json() == {
        "campaign_id": second["campaign_id"],
        "deleted": True,
        "cancelled_count": 2,
    }
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/launch")):
        answer = await http.request(method, f"{ROUTE}/{second['campaign_id']}{path}")
        is_refused(answer, "campaign_not_found")
    clock.pass_(timedelta(days=2))
    await work(rt)
    assert (await stored(engine))["messages"] == 2


async def test_a_time_alone_is_kept_to(
    http: httpx.AsyncClient, engine: AsyncEngine, rt: Runtime, clock: Clock
) -> None:
    """Only a campaign that says so goes out at once."""
    timed = {**MARCH, "schedule_type": None, "scheduled_at": "2026-03-03T09:00:00Z"}
    made = (await http.post(ROUTE, json=timed)).json()
    assert (made["status"], made["scheduled_at"]) == ("scheduled", "2026-03-03T09:00:00Z")
    await work(rt)
    assert "messages" not in await stored(engine)
    clock.pass_(timedelta(days=1))
    await work(rt)
    assert (await stored(engine))["messages"] == 2
    now = (await http.post(ROUTE, json={**timed, "schedule_type": "now"})).json()
    assert (now["status"], now["scheduled_at"]) == ("running", None)


async def test_lists_are_the_newest_first_and_can_be_filtered(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    for name in ("one", "two", "three"):
        clock.pass_(timedelta(seconds=1))
        agent_id = "echo" if name == "two" else AGENT
        await http.post(ROUTE, json={**MARCH, "name": name, "agent_id": agent_id})
    listed = (await http.get(ROUTE)).json()
    assert ([c["name"] for c in listed["campaigns"]], listed["count"]) == (
        ["three", "two", "one"],
        3,
    )
    for query, names in (
        ("limit=1&offset=1", ["two"]),
        ("agent_id=echo", ["two"]),
        ("status=done", []),
        ("status=running&limit=2", ["three", "two"]),
    ):
        found = (await http.get(f"{ROUTE}?{query}")).json()
        assert [c["name"] for c in found["campaigns"]] == names
    for query in ("status=paused", "limit=0", "offset=x"):
        is_refused(await http.get(f"{ROUTE}?{query}"), "invalid_field")
    others = {"Authorization": f"Bearer {OTHER}"}
    assert (await http.get(ROUTE, headers=others)).json() == {"campaigns": [], "count": 0}
    where = f"{ROUTE}/{listed['campaigns'][0]['campaign_id']}"
    is_refused(await http.get(where, headers=others), "campaign_not_found")
    is_refused(await http.delete(where, headers=others), "campaign_not_found")


async def test_every_documented_refusal_of_a_campaign_has_its_code(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"agent_id": ""}, "missing_field"),
        ({"from_number": None}, "missing_field"),
        ({"message_template": " "}, "missing_field"),
        ({"recipients": None}, "missing_field"),
        ({"recipients": []}, "campaign_no_recipients"),
        ({"recipients": [{"phone": SARAH}] * 10_001}, "too_many_recipients"),
        ({"recipients": {}}, "invalid_field"),
        ({"recipients": [{"phone": "0711"}, {}]}, "invalid_phone_format"),
        ({"message_template": "x" * 1601}, "message_too_long"),
        ({"message_template": "{{nothing}}"}, "invalid_request"),
        ({"schedule_type": "later"}, "invalid_schedule"),
        ({"schedule_type": "schedule"}, "invalid_schedule"),
        ({"schedule_type": "schedule", "scheduled_at": "soon"}, "invalid_schedule"),
        ({"schedule_type": "schedule", "scheduled_at": "2026-03-02T08:59:59Z"}, "invalid_schedule"),
        ({"schedule_type": "schedule", "scheduled_at": "2027-03-02T08:59:59Z"}, "invalid_schedule"),
        ({"agent_id": "nobody"}, "agent_not_found"),
        ({"agent_id": THEIR_AGENT}, "agent_not_owned"),
        ({"from_number": "+447700900999"}, "from_number_not_owned"),
        ({"from_number": "x"}, "invalid_phone_format"),
        (
            {"from_number": US_NUMBER, "recipients": [{"phone": SARAH}, {"phone": "+14155550123"}]},
            "sms_not_supported_in_region",
        ),
        ({"reply_window_hours": 721}, "invalid_field"),
        ({"name": "x" * 201}, "invalid_field"),
    ]
    for changes, code in wrong:
        is_refused(await http.post(ROUTE, json={**MARCH, **changes}), code)
    assert await rows(engine, "select 1 from batches") == []
    for name in ("smsc_a1b2c3d4", "batch_" + "0" * 26, "smsc_" + "0" * 26, "%00", "smsc_%F0"):
        is_refused(await http.get(f"{ROUTE}/{name}"), "campaign_not_found")
    reader = {"Authorization": f"Bearer {READER}"}
    is_refused(await http.post(ROUTE, json=MARCH, headers=reader), "permission_denied")


async def test_a_repeated_campaign_with_the_same_key_is_made_once(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    key = {"Idempotency-Key": "march"}
    first, second = [await http.post(ROUTE, json=MARCH, headers=key) for _ in range(2)]
    assert first.text == second.text
    assert second.headers["idempotent-replayed"] == "true"
    assert len(await rows(engine, "select 1 from batches")) == 1
    other = await http.post(ROUTE, json={**MARCH, "name": "April"}, headers=key)
    is_refused(other, "idempotency_key_reused")


async def test_a_repetition_after_its_time_gets_the_first_answer_too(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    key = {"Idempotency-Key": "march"}
    soon = {**MARCH, "schedule_type": "schedule", "scheduled_at": "2026-03-02T09:00:01Z"}
    first = await http.post(ROUTE, json=soon, headers=key)
    clock.pass_(timedelta(minutes=1))
    second = await http.post(ROUTE, json=soon, headers=key)
    assert (second.status_code, second.json()["campaign_id"]) == (201, first.json()["campaign_id"])
    assert second.headers["idempotent-replayed"] == "true"
    assert len(await rows(engine, "select 1 from batches")) == 1
    is_refused(await http.post(ROUTE, json=soon), "invalid_schedule")
