"""Webhooks over our own routes: made, changed, tried out, polled, replayed."""

import base64
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import Clock, client, execute, rows, send, settings, started
from tests.support.provision import ACME_KEY, GLOBEX_KEY, NOW, provision
from tests.support.provisioned import changed
from textback.api import deps
from textback.core import signing
from textback.core.commands import Caller
from textback.core.gcra import Rate
from textback.core.ids import AccountId, ProjectId
from textback.core.webhook import Answered
from textback.flows import deliver, limits
from textback.runtime import Runtime

URL = "https://receiver.example/hook"


@pytest.fixture
async def rt(engine: AsyncEngine, database_url: str, redis_url: str) -> AsyncGenerator[Runtime]:
    await provision(engine)
    ours = settings(database_url, redis_url, dialects=("native", "polyai"))
    async with started(ours) as made:
        yield made


@pytest.fixture
async def http(rt: Runtime) -> AsyncGenerator[httpx.AsyncClient]:
    async with client(rt) as made:
        made.headers["authorization"] = f"Bearer {ACME_KEY}"
        yield made


async def made(http: httpx.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await http.post("/v1/webhooks", json=asked)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_a_webhook_is_made_shown_changed_and_removed(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    first = await made(http, url="https://receiver.example?x=1", kinds=["message.accepted"])
    signing.secret_bytes(first["secret"])
    assert first["url"] == "https://receiver.example/?x=1"
    assert first["kinds"] == ["message.accepted"]
    assert (first["state"], first["format"], first["source"]) == ("active", "native", "api")
    (row,) = await rows(engine, "select kinds, secrets from webhook_endpoints")
    assert row["kinds"] == ["message.queued", "message.promised"]
    assert first["secret"] not in str(row["secrets"])
    second = await made(http, url=None, project="reminders", description="polled")
    everything = second["kinds"]
    assert "message.accepted" in everything
    assert "conversation.closed" in everything

    one = f"/v1/webhooks/{first['id']}"
    shown = (await http.get(one)).json()
    assert shown == {name: v for name, v in first.items() if name != "secret"} | {"waiting": 0}
    listed = (await http.get("/v1/webhooks?limit=1")).json()
    rest = (await http.get(f"/v1/webhooks?limit=1&cursor={listed['next_cursor']}")).json()
    both = [each["id"] for each in [*listed["data"], *rest["data"]]]
    assert both == sorted([first["id"], second["id"]])
    assert rest["next_cursor"] is None

    await execute(
        engine,
        "update webhook_endpoints set failures = 9, failing_since = now(), hold_until = now()",
    )
    changed = await http.patch(one, json={"kinds": [], "url": "https://other.example/"})
    assert changed.json()["url"] == "https://other.example/"
    assert changed.json()["kinds"] == everything
    assert changed.json()["failures"] == 0
    assert (await http.patch(one, json={})).json() == changed.json()
    await execute(engine, "update webhook_endpoints set source = 'file'")
    assert (await http.delete(one)).status_code == 409
    await execute(engine, "update webhook_endpoints set source = 'api'")
    assert (await http.delete(one)).json() == {"id": first["id"], "removed": True}
    for answer in (await http.get(one), await http.delete(one), await http.patch(one, json={})):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is no webhook with that id."


REFUSED: Sequence[tuple[dict[str, Any], int, str]] = [
    ({"url": "http://receiver.example/"}, 400, "url must begin with https://"),
    ({"url": "https://169.254.169.254/"}, 400, "url must not lead to a private address"),
    ({"url": "https://me:pw@receiver.example/"}, 400, "url must not hold a name"),
    ({"url": URL, "kinds": ["message.sending"]}, 400, 'names no event: "message.sending"'),
    ({"url": URL, "kinds": "all"}, 400, "kinds must be a list"),
    ({"url": URL, "format": "kore"}, 400, "format must be one of"),
    ({"url": URL, "project": "globex-project"}, 404, "The account has no such project."),
    ({"url": URL, "conversation": "conv_1"}, 404, "The account has no such conversation."),
    ({"url": URL, "project": "a", "conversation": "b"}, 400, "not both"),
    ({"url": URL, "secret": "hunter2"}, 400, "secret: a webhook secret starts with whsec_"),
    ({"url": URL, "temporary": True}, 400, "temporary is for an endpoint without a url"),
    ({"url": URL, "events": []}, 400, "There is no such field here"),
    ({"url": URL, "description": "a\0b"}, 400, "NUL"),
]


async def test_a_webhook_that_cannot_be_is_refused_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for asked, status, saying in REFUSED:
        answer = await http.post("/v1/webhooks", json=asked)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert saying in answer.json()["detail"]
    assert await rows(engine, "select id from webhook_endpoints") == []


async def test_another_accounts_webhooks_are_not_there(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    own = await made(http, url=None)
    await http.post(f"/v1/webhooks/{own['id']}/test", json={})
    (delivery,) = (await http.get(f"/v1/webhooks/{own['id']}/deliveries")).json()["data"]
    theirs = {"authorization": f"Bearer {GLOBEX_KEY}"}
    one = f"/v1/webhooks/{own['id']}"
    for method, path in [
        ("GET", one),
        ("PATCH", one),
        ("DELETE", one),
        ("POST", one + "/rotate"),
        ("POST", one + "/test"),
        ("POST", one + "/pause"),
        ("POST", one + "/resume"),
        ("GET", one + "/deliveries"),
        ("GET", one + "/poll"),
        ("GET", f"/v1/deliveries/{delivery['id']}"),
        ("POST", f"/v1/deliveries/{delivery['id']}/replay"),
        ("GET", "/v1/deliveries/dlv_x"),
        ("GET", "/v1/deliveries/dlv_99999999999999999999"),
        ("GET", "/v1/webhooks/whe_%00"),
    ]:
        answer = await http.request(method, path, headers=theirs)
        assert answer.status_code == 404, (method, path, answer.text)
    assert (await http.get("/v1/webhooks", headers=theirs)).json()["data"] == []
    assert (await http.get("/v1/events", headers=theirs)).json()["data"] == []
    assert rt


async def test_a_key_needs_the_scope(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    await execute(engine, "update api_keys set scopes = '[\"read\"]'")
    assert (await http.get("/v1/webhooks")).status_code == 200
    assert (await http.get("/v1/events")).status_code == 200
    answer = await http.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 403
    assert 'the scope "webhooks"' in answer.json()["detail"]


async def test_a_rotated_secret_signs_beside_the_new_one_for_a_while(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    first = await made(http, url=URL)
    one = f"/v1/webhooks/{first['id']}"
    second = (await http.post(one + "/rotate", json={"grace_seconds": 60})).json()
    assert second["secret"] != first["secret"]
    assert second["secrets"] == 2
    given = signing_secret(7)
    third = (await http.post(one + "/rotate", json={"grace_seconds": 0, "secret": given})).json()
    assert (third["secret"], third["secrets"]) == (given, 1)
    await http.post(one + "/rotate", json={"grace_seconds": 60})
    await http.post(one + "/test", json={})
    (held,), _ = await deliver.claim(rt.db, limit=9, share=9, under_way={}, now=NOW)
    body = await deliver.write(rt.db, held, rt.formats, now=NOW)
    assert isinstance(body, bytes)
    signed = deliver.signed(held, body, rt.formats, rt.vault, now=NOW).headers
    assert len(signed["webhook-signature"].split()) == 2
    assert signing.fault(given, signed, body, now=NOW) is None
    assert signing.fault(first["secret"], signed, body, now=NOW) is not None


def signing_secret(n: int) -> str:
    return "whsec_" + base64.b64encode(bytes([n]) * 24).decode()


async def test_a_test_goes_to_this_webhook_alone_and_its_delivery_tells_what_came_of_it(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    first = await made(http, url=URL, kinds=["message.failed"])
    other = await made(http, url=URL)
    queued = await http.post(f"/v1/webhooks/{first['id']}/test")
    assert queued.status_code == 202
    delivery_id = queued.json()["delivery_id"]
    assert (await http.get(f"/v1/webhooks/{other['id']}/deliveries")).json()["data"] == []
    (listed,) = (await http.get(f"/v1/webhooks/{first['id']}/deliveries?state=waiting")).json()[
        "data"
    ]
    assert (listed["id"], listed["type"], listed["attempts"]) == (delivery_id, "webhook.tested", 0)
    (held,), _ = await deliver.claim(rt.db, limit=9, share=9, under_way={}, now=NOW)
    busy = await http.post(f"/v1/deliveries/{delivery_id}/replay")
    assert busy.status_code == 409
    body = await deliver.write(rt.db, held, rt.formats, now=NOW)
    answer = Answered(status=404, body="no such hook", milliseconds=12)
    await deliver.record(rt.db, held, answer, now=NOW)
    whole = (await http.get(f"/v1/deliveries/{delivery_id}")).json()
    assert (whole["state"], whole["attempts"]) == ("failed", 1)
    assert whole["body"] == bytes(body if isinstance(body, bytes) else b"").decode()
    assert whole["tries"] == [
        {
            "number": 1,
            "at": "2026-03-02T09:00:00Z",
            "status": 404,
            "milliseconds": 12,
            "error": None,
            "answer": "no such hook",
        }
    ]
    again = await http.post(f"/v1/deliveries/{delivery_id}/replay", json={})
    assert again.status_code == 202
    (held,), _ = await deliver.claim(rt.db, limit=9, share=9, under_way={}, now=NOW)
    assert (held.tries, held.body) == (1, whole["body"])
    await deliver.record(rt.db, held, answer, now=NOW)
    since = {"since": "2026-03-02T09:00:00Z", "states": ["failed"]}
    many = await http.post(f"/v1/webhooks/{first['id']}/replay", json=since)
    assert many.json() == {"replayed": 1, "more": False}
    later = {"since": "2026-03-02T09:00:01Z", "states": ["failed", "waiting"]}
    assert (await http.post(f"/v1/webhooks/{first['id']}/replay", json=later)).status_code == 400


async def test_a_paused_webhook_keeps_what_happens_and_goes_on_in_order(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    first = await made(http, url=URL, kinds=["message.accepted"])
    watcher = await made(http, url=None, kinds=["webhook.paused", "webhook.resumed"])
    one = f"/v1/webhooks/{first['id']}"
    paused = (await http.post(one + "/pause", json={"reason": "moving"})).json()
    assert (paused["state"], paused["reason"]) == ("paused", "moving")
    assert (await http.post(one + "/pause")).json() == paused
    for n in range(2):
        assert (await send(http, message=f"Text {n}")).status_code == 202
    assert (await http.get(one)).json()["waiting"] == 2
    assert (await deliver.claim(rt.db, limit=9, share=9, under_way={}, now=NOW))[0] == []
    resumed = (await http.post(one + "/resume")).json()
    assert (resumed["state"], resumed["reason"]) == ("active", None)
    held, _ = await deliver.claim(rt.db, limit=9, share=9, under_way={}, now=NOW)
    assert len(held) == 2
    told = (await http.get(f"/v1/webhooks/{watcher['id']}/poll")).json()["data"]
    assert [each["type"] for each in told] == ["webhook.paused", "webhook.resumed"]
    assert told[0]["data"]["reason"] == "moving"


async def test_what_is_polled_comes_until_it_is_acknowledged(http: httpx.AsyncClient) -> None:
    own = await made(http, url=None, kinds=["message.accepted"], temporary=True)
    poll = f"/v1/webhooks/{own['id']}/poll"
    empty = await http.get(poll)
    assert empty.json() == {"data": [], "next": None}
    await send(http, message="One")
    first = (await http.get(poll + "?wait=1")).json()
    assert [each["data"]["message"]["text"] for each in first["data"]] == ["One"]
    # The answer was lost: without `after` it comes again, and the old `after` acknowledges nothing.
    again = (await http.get(poll)).json()
    assert again["data"] == first["data"]
    assert again["next"] != first["next"]
    assert (await http.get(f"{poll}?after={first['next']}")).json()["data"] == first["data"]
    await send(http, message="Two")
    third = (await http.get(poll)).json()
    assert [each["data"]["message"]["text"] for each in third["data"]] == ["One", "Two"]
    assert (await http.get(f"{poll}?after={third['next']}")).json()["data"] == []
    for wrong in ("after=x", "after=99999999999999999999", "wait=26", "limit=0", "x=1"):
        assert (await http.get(f"{poll}?{wrong}")).status_code == 400, wrong
    posted = await made(http, url=URL)
    assert (await http.get(f"/v1/webhooks/{posted['id']}/poll")).status_code == 409


async def test_the_history_says_what_happened_whether_anybody_was_told_or_not(
    http: httpx.AsyncClient,
) -> None:
    one = (await send(http, message="One")).headers
    everything = (await http.get("/v1/events")).json()["data"]
    assert [each["type"] for each in everything] == ["message.accepted", "conversation.opened"]
    assert everything[0]["data"]["message"]["id"] == one["x-message-id"]
    assert everything[0]["id"].startswith("evt_")
    page = (await http.get("/v1/events?limit=1")).json()
    rest = (await http.get(f"/v1/events?limit=1&cursor={page['next_cursor']}")).json()
    assert [*page["data"], *rest["data"]] == everything
    for query, types in {
        "type=message.accepted": ["message.accepted"],
        "type=message.sent,conversation.opened": ["conversation.opened"],
        f"conversation={one['x-conversation-id']}": ["message.accepted", "conversation.opened"],
        f"message={one['x-message-id']}": ["message.accepted"],
        "conversation=conv_x": [],
    }.items():
        found = (await http.get(f"/v1/events?{query}")).json()["data"]
        assert [each["type"] for each in found] == types, query
    for wrong in ("type=message.sending", "type=", "cursor=abc", "kind=x", "limit=201"):
        assert (await http.get(f"/v1/events?{wrong}")).status_code == 400, wrong


async def test_an_account_is_told_once_a_minute_that_its_limit_is_reached(
    http: httpx.AsyncClient, rt: Runtime, engine: AsyncEngine
) -> None:
    limit = "        rate_limit: {requests: 1, per_seconds: 60}"
    await provision(
        engine, changed(("        agent: bookings", f"        agent: bookings\n{limit}"))
    )
    clock = rt.now
    assert isinstance(clock, Clock)

    async def told() -> int:
        found = (await http.get("/v1/events?type=limit.reached")).json()["data"]
        for each in found:  # as docs/webhooks.md has them: whole numbers
            own = [each["data"][name] for name in ("project_id", "requests", "per_seconds")]
            assert [repr(value) for value in own] == ["'reminders'", "1", "60"]
        return len(found)

    assert (await send(http)).status_code == 202
    assert await told() == 0
    for _ in range(3):
        assert (await send(http)).status_code == 429
    assert await told() == 1
    caller = Caller(
        account_id=AccountId("acme"),
        project_id=ProjectId("reminders"),
        connector_id=None,
        environment="live",
        rate_limit=Rate(1, 60),
    )
    assert not await limits.reached(rt.db, caller, now=clock())  # as another process would
    assert await told() == 1
    clock.pass_(timedelta(seconds=61))
    assert (await send(http)).status_code == 429
    assert await told() == 2
    # That it cannot be told is no reason for another answer.
    nobody = replace(caller, account_id=AccountId("nobody"), project_id=ProjectId("none"))
    await deps.count(rt, nobody)
    assert (await deps.count(rt, nobody)).refusal is not None


async def test_who_polls_is_answered_in_our_own_shape_and_no_other_can_be_asked_for(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    wrong = "format must be native without a url: bland is for what is posted."
    asked = {"url": None, "format": "bland"}
    refused = await http.post("/v1/webhooks", json=asked)
    assert (refused.status_code, refused.json()["detail"]) == (400, wrong)
    polled = await made(http, url=None)
    at = f"/v1/webhooks/{polled['id']}"
    refused = await http.patch(at, json={"format": "bland"})
    assert (refused.status_code, refused.json()["detail"]) == (400, wrong)
    # One that was made so once can still be changed, and be set right.
    await execute(engine, "update webhook_endpoints set format = 'bland'")
    for change in ({"description": "mine"}, {"format": "native"}):
        answer = await http.patch(at, json=change)
        assert answer.status_code == 200, answer.text
    assert answer.json()["format"] == "native"
