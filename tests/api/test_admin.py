"""Managing through the API: entries, keys, pairs, apps, and the account's own settings."""

from datetime import datetime, timedelta
from io import StringIO
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest

from tests.support.api import Clock
from tests.support.managed import SECRET
from tests.support.provision import ACME_KEY, ACME_SID, GLOBEX_KEY, provision
from tests.support.provisioned import everything
from textback.dialects.native.paging import cursor
from textback.runtime import Runtime

ADMIN = "/v1/admin"
NUMBER = "+14155550155"
OURS = {"Authorization": f"Bearer {ACME_KEY}"}
THEIRS = {"Authorization": f"Bearer {GLOBEX_KEY}"}

NAMED = {"api-keys": "key_id", "key-pairs": "pair_id"}

ENTRIES: dict[str, dict[str, Any]] = {
    "carriers": {
        "id": "own",
        "kind": "twilio",
        "account_sid": "AC" + "5" * 32,
        "auth_token": "carriers-own-token",
    },
    "agents": {
        "id": "own",
        "engine": {"kind": "http", "url": "https://example.com/turn", "secret": SECRET},
    },
    "projects": {"id": "own", "agent": "own", "quiet_hours": {"start": "21:00", "end": "08:00"}},
    "connectors": {"id": "own", "project": "own", "environment": "live"},
    "numbers": {"number": NUMBER, "project": "own", "carrier": "own", "registration": "pending"},
}


def problem(answer: httpx.Response, status: int, saying: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert saying in answer.json()["detail"]


def one(what: str) -> str:
    return f"{ADMIN}/{what}/{quote(ENTRIES[what].get('id', NUMBER))}"


async def test_entries_are_added_shown_changed_and_removed(
    http: httpx.AsyncClient, logged: StringIO
) -> None:
    said: list[str] = []
    for what, entry in ENTRIES.items():
        made = await http.post(f"{ADMIN}/{what}", headers=OURS, json=entry)
        assert made.status_code == 201, made.text
        body = made.json()
        assert (body["managed_by"], body["warnings"]) == ("api", [])
        got = await http.get(one(what), headers=OURS)
        assert (got.status_code, got.json()) == (200, body)
        listed = (await http.get(f"{ADMIN}/{what}", headers=OURS)).json()
        assert body in listed["data"]
        assert listed["next_cursor"] is None
        same = await http.patch(one(what), headers=OURS, json={})
        assert (same.status_code, same.json()) == (200, body)
        said += [made.text, got.text, same.text]
        problem(await http.post(f"{ADMIN}/{what}", headers=OURS, json=entry), 409, "there already")
    problem(await http.delete(one("agents"), headers=OURS), 409, 'project "own" needs it')
    changed = await http.patch(one("agents"), headers=OURS, json={"greeting": "Hi"})
    assert (changed.json()["version"], changed.json()["draft_version"]) == (2, None)
    versions = await http.get(one("agents") + "/versions?limit=1", headers=OURS)
    [first] = versions.json()["data"]
    assert (first["version"], first["production"], first["engine"]["secret"]) == (1, False, None)
    more = {"cursor": versions.json()["next_cursor"]}
    [last] = (await http.get(one("agents") + "/versions", headers=OURS, params=more)).json()["data"]
    assert (last["version"], last["greeting"]) == (2, "Hi")
    for what in reversed(ENTRIES):
        gone = await http.delete(one(what), headers=OURS)
        assert (gone.status_code, gone.content) == (204, b"")
        problem(await http.get(one(what), headers=OURS), 404, "There is no")
    for secret in ("carriers-own-token", SECRET):
        assert secret not in "".join(said) + logged.getvalue()


async def test_what_is_the_files_is_changed_with_a_warning_and_not_removed(
    http: httpx.AsyncClient,
) -> None:
    path = f"{ADMIN}/projects/reminders"
    after = await http.patch(path, headers=OURS, json={"inactivity": {"warn_after_seconds": None}})
    assert after.json()["managed_by"] == "file"
    assert after.json()["inactivity"]["warn_after_seconds"] is None
    assert after.json()["inactivity"]["close_after_seconds"] == 600
    [warning] = after.json()["warnings"]
    assert "provisioning file" in warning
    assert (await http.get(path, headers=OURS)).json()["warnings"] == []
    problem(await http.delete(path, headers=OURS), 409, "--prune")
    number = f"{ADMIN}/numbers/{quote('+14155550100')}"
    problem(await http.delete(number, headers=OURS), 409, "--prune")


async def test_another_accounts_are_answered_like_what_does_not_exist(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    for what, entry in ENTRIES.items():
        assert (await http.post(f"{ADMIN}/{what}", headers=OURS, json=entry)).status_code == 201
    before = await everything(rt.db)
    for what in ENTRIES:
        for path in (one(what), f"{ADMIN}/{what}/nothing", f"{ADMIN}/{what}/%00%ff%20'--"):
            answers = [
                await http.get(path, headers=THEIRS),
                await http.patch(path, headers=THEIRS, json={}),
                await http.delete(path, headers=THEIRS),
            ]
            for answer in answers:
                problem(answer, 404, "There is no")
    problem(await http.get(one("agents") + "/versions", headers=THEIRS), 404, "There is no")
    assert await everything(rt.db) == before


@pytest.mark.parametrize(
    ("what", "body", "said"),
    [
        ("projects", {"id": "x"}, "agent is missing."),
        ("projects", {"id": "x", "agent": "nobody"}, 'agent there is no agent "nobody"'),
        ("projects", {"id": "a b", "agent": "bookings"}, "id must be 1 to 128 letters"),
        ("numbers", {**ENTRIES["numbers"], "project": "reminders"}, "carrier there is no carrier"),
        ("numbers", {"number": "555"}, "carrier is missing; project is missing."),
        ("agents", {"id": "x", "engine": {"kind": "gpt"}}, "engine.kind unknown kind"),
        (
            "agents",
            {"id": "x", "engine": {"kind": "http", "url": "https://10.0.0.1"}},
            "engine.url must not lead to a private address.",
        ),
        (
            "carriers",
            {**ENTRIES["carriers"], "account_sid": ACME_SID},
            'that of carrier "acme-twilio" already',
        ),
    ],
)
async def test_what_is_wrong_is_said_with_the_field(
    http: httpx.AsyncClient, rt: Runtime, what: str, body: dict[str, Any], said: str
) -> None:
    before = await everything(rt.db)
    answer = await http.post(f"{ADMIN}/{what}", headers=OURS, json=body)
    problem(answer, 409 if "already" in said else 400, said)
    assert await everything(rt.db) == before


async def test_keys_pairs_and_apps_are_shown_once(
    http: httpx.AsyncClient, logged: StringIO, clock: Clock
) -> None:
    asked: list[tuple[str, dict[str, Any], str, str]] = [
        ("api-keys", {"name": "crm", "scopes": ["read"]}, "id", "key"),
        ("key-pairs", {"scopes": ["read"]}, "id", "secret"),
        ("jwt-apps", {"name": "kore", "require_jti": True}, "client_id", "secret"),
    ]
    for what, body, name, secret in asked:
        made = await http.post(f"{ADMIN}/{what}", headers=OURS, json=body)
        assert made.status_code == 201, made.text
        path = f"{ADMIN}/{what}/{made.json()[name]}"
        without = {key: value for key, value in made.json().items() if key != secret}
        assert (await http.get(path, headers=OURS)).json() == without
        assert without in (await http.get(f"{ADMIN}/{what}", headers=OURS)).json()["data"]
        rotated = await http.post(f"{path}/rotate", headers=OURS)
        assert rotated.status_code == 200, rotated.text
        assert rotated.json()[secret] != made.json()[secret]
        if what != "key-pairs":
            changed = await http.patch(path, headers=OURS, json={"name": "other"})
            assert changed.json()["name"] == "other"
            problem(await http.patch(path, headers=OURS, json={"name": None}), 400, "name")
        problem(await http.get(path, headers=THEIRS), 404, "There is no")
        problem(await http.delete(path, headers=THEIRS), 404, "There is no")
        assert (await http.delete(path, headers=OURS)).status_code == 204
        revoked = (await http.get(path, headers=OURS)).json()
        assert revoked["revoked_at"] == clock().isoformat().replace("+00:00", "Z")
        problem(await http.post(f"{path}/rotate", headers=OURS), 409, "is revoked")
        for answer in (made, rotated):
            assert answer.json()[secret] not in logged.getvalue()
    problem(
        await http.post(f"{ADMIN}/api-keys", headers=OURS, json={"name": "x", "scopes": []}),
        400,
        "scopes",
    )


async def test_a_pair_is_no_key_and_a_key_is_no_pair(http: httpx.AsyncClient, rt: Runtime) -> None:
    key = (await http.post(f"{ADMIN}/api-keys", headers=OURS, json={"name": "crm"})).json()
    pair = (await http.post(f"{ADMIN}/key-pairs", headers=OURS, json={})).json()
    before = await everything(rt.db)
    for path in (f"{ADMIN}/api-keys/{pair['id']}", f"{ADMIN}/key-pairs/{key['id']}"):
        problem(await http.get(path, headers=OURS), 404, "There is no")
        problem(await http.post(f"{path}/rotate", headers=OURS), 404, "There is no")
        problem(await http.delete(path, headers=OURS), 404, "There is no")
    changed = {"expires_at": None}
    as_key = await http.patch(f"{ADMIN}/api-keys/{pair['id']}", headers=OURS, json=changed)
    problem(as_key, 404, "There is no")
    assert await everything(rt.db) == before


async def test_a_key_that_the_file_manages_says_so(http: httpx.AsyncClient) -> None:
    [ci] = (await http.get(f"{ADMIN}/api-keys", headers=OURS)).json()["data"]
    assert (ci["name"], ci["managed_by"], ci["scopes"]) == ("ci", "file", None)
    rotated = await http.post(f"{ADMIN}/api-keys/{ci['id']}/rotate", headers=OURS)
    assert "provisioning file" in rotated.json()["warnings"][0]
    problem(await http.delete(f"{ADMIN}/api-keys/{ci['id']}", headers=OURS), 409, "revoked: true")


@pytest.mark.parametrize("what", ["api-keys", "key-pairs"])
async def test_a_key_is_changed_again_within_its_grace_only_when_that_is_insisted_on(
    http: httpx.AsyncClient, what: str
) -> None:
    made = (await http.post(f"{ADMIN}/{what}", headers=OURS, json={"name": "crm"})).json()
    path = f"{ADMIN}/{what}/{made['id']}/rotate"

    async def rotate(**given: object) -> httpx.Response:
        return await http.post(path, headers=OURS, json=given)

    assert (await rotate(grace_seconds=3600)).status_code == 200
    for given in ({}, {"grace_seconds": 60}, {"again": False}):
        problem(await rotate(**given), 409, "works until 2026-03-02 10:00:00 UTC")
    problem(await rotate(again="yes"), 400, "again")
    after = await rotate(again=True, grace_seconds=0)
    assert (after.status_code, after.json()["previous_until"]) == (200, None)
    document = (await http.get("/openapi/native.json")).json()
    described = document["paths"][path.replace(made["id"], f"{{{NAMED[what]}}}")]["post"]
    assert "again" in described["responses"]["409"]["description"]
    [content] = described["requestBody"]["content"].values()
    assert content["schema"]["properties"]["again"]["default"] is False


async def test_the_accounts_own_settings(http: httpx.AsyncClient, rt: Runtime) -> None:
    path = f"{ADMIN}/account"
    found = (await http.get(path, headers=OURS)).json()
    assert (found["id"], found["agent_template"], found["has_webhook_secret"]) == (
        "acme",
        None,
        False,
    )
    after = await http.patch(path, headers=OURS, json={"agent_template": "bookings"})
    assert after.json()["agent_template"] == "bookings"
    wrong = await http.patch(path, headers=OURS, json={"agent_template": "globex-agent"})
    problem(wrong, 400, "agent_template names no agent")
    made = await http.post(f"{path}/webhook-secret", headers=OURS)
    secret = made.json()["webhook_secret"]
    assert secret.startswith("whsec_")
    assert (await http.get(path, headers=OURS)).json()["has_webhook_secret"] is True
    sealed = (await everything(rt.db))["account"]["acme",]["webhook_secret"]
    assert rt.vault.open(str(sealed)) == secret
    asked = {"grace_seconds": 3600}
    another = await http.post(f"{path}/webhook-secret", headers=OURS, json=asked)
    assert another.json()["webhook_secret"] != secret
    [before] = cast(
        "list[dict[str, str]]",
        (await everything(rt.db))["account"]["acme",]["previous_webhook_secrets"],
    )
    assert rt.vault.open(before["sealed"]) == secret
    assert datetime.fromisoformat(before["until"]) == rt.now() + timedelta(hours=1)
    for wrong, why in (
        ({"grace_seconds": 7 * 86_400 + 1}, "grace_seconds"),
        ({"secret": "short"}, "secret"),
    ):
        refused = await http.post(f"{path}/webhook-secret", headers=OURS, json=wrong)
        problem(refused, 400, why)
    assert (await http.patch(path, headers=OURS, json={"agent_template": None})).json()[
        "agent_template"
    ] is None


async def test_lists_come_in_pages(http: httpx.AsyncClient, rt: Runtime) -> None:
    await provision(rt.db)
    found: list[str] = []
    query: dict[str, str] = {"limit": "1"}
    while True:
        page = (await http.get(f"{ADMIN}/numbers", headers=OURS, params=query)).json()
        found += [each["number"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == ["+14155550100", "+14155550101"]
    for query in ({"limit": "0"}, {"limit": "201"}, {"cursor": "x"}, {"other": "1"}):
        answer = await http.get(f"{ADMIN}/numbers", headers=OURS, params=query)
        problem(answer, 400, next(iter(query)) if "other" not in query else "no such")
    elsewhere = await http.get(
        f"{ADMIN}/agents", headers=OURS, params={"cursor": cursor("number", NUMBER)}
    )
    problem(elsewhere, 400, "cursor")
