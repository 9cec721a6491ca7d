"""What is another account's cannot be told from what does not exist, by any route there is.

And what a key may not do is refused by every route, in the shape of its dialect.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from io import StringIO
from typing import Final, get_args
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support import tenants
from tests.support.api import Clock, client, execute, rows, settings, started, until
from tests.support.bland import hear
from tests.support.provision import provision
from tests.support.tenants import ASKS, NEEDS, Ask, Names
from textback.core.commands import Scope
from textback.runtime import Runtime

SECRETS: Final = (
    tenants.PAIR.partition(":")[2],
    tenants.THEIRS.partition(":")[2],
    tenants.APP_SECRET,
    "acme-twilio-token",
    "acme-webhook-secret",
)

WORDS: Final = ("text", "answer", "metadata", "plan", "row", "reason", "file", "words", "says")
"""Of Acme's: each with `acme-` before it."""


@pytest.fixture
async def rt(engine: AsyncEngine, database_url: str, redis_url: str) -> AsyncGenerator[Runtime]:
    await provision(engine, tenants.YAML)
    async with started(settings(database_url, redis_url), Clock()) as made:
        yield made


@pytest.fixture
async def http(rt: Runtime) -> AsyncGenerator[httpx.AsyncClient]:
    async with client(rt) as made:
        yield made


def test_every_route_says_what_it_may_name_and_what_a_key_needs(rt: Runtime) -> None:
    assert set(ASKS) == set(NEEDS) == set(tenants.routes(rt))


async def test_nothing_of_another_account_is_read_changed_named_or_told_from_what_is_not_there(
    http: httpx.AsyncClient, rt: Runtime, logged: StringIO
) -> None:
    names = await tenants.settle_in(http, rt)
    wrong = [
        f"{route} {it}: {each}"
        for route, dialect in tenants.routes(rt).items()
        for it in ASKS[route]
        async for each in _leaks(http, rt, names, route, it, dialect=dialect)
    ]
    assert not wrong, "\n".join(wrong)
    assert not any(each in logged.getvalue() for each in SECRETS)


async def _leaks(
    http: httpx.AsyncClient, rt: Runtime, names: Names, route: str, it: Ask, *, dialect: str
) -> AsyncIterator[str]:
    key = tenants.GLOBEX.headers(dialect)
    acmes, nobodys = (tenants.named(it, route, each) for each in (names.acmes, names.nobodys))
    before = await tenants.dump(rt.db)
    answer = await tenants.ask(http, route, acmes, key)
    said = told(answer, names.acmes, acmes)
    if answer.status_code >= 500:
        yield f"fails: {said}"
    if shown := [each for each in (*names.acmes.values(), *WORDS) if _shows(said[1], each, names)]:
        yield f"shows {shown}: {said}"
    if acmes == nobodys:
        if answer.status_code >= 400:
            yield f"is refused: {said}"
        return
    if not it.works and answer.status_code < 400:
        yield f"is done: {said}"
    if not it.works and (after := await tenants.dump(rt.db)) != before:
        yield f"changes {[name for name in before if before[name] != after[name]]}"
    if not it.taken:
        other = told(await tenants.ask(http, route, nobodys, key), names.nobodys, nobodys)
        if other != said:
            yield f"is told from {other}: {said}"


def _shows(said: str, value: str, names: Names) -> bool:
    """A word of Acme's, or a name that nobody else has."""
    if value in WORDS:
        return f"acme-{value}" in said
    return value != "acme" and value not in names.nobodys.values() and value in said


def told(answer: httpx.Response, names: Mapping[str, str], it: Ask) -> tuple[int, str]:
    """Status and words, without what is never twice the same, and without what it was asked by."""
    said = re.sub(r'"error_id":"[^"]*"', "", answer.text)
    asked = json.dumps([it.path, it.body, dict(it.query), dict(it.headers), it.content])
    for name in sorted(names, key=lambda name: -len(names[name])):
        value = names[name]
        by_uuid = name == "conversation" and names["uuid"] in asked
        if value in asked or quote(value, safe="") in asked or by_uuid:
            said = said.replace(value, f"<{name}>")
    return answer.status_code, f"{answer.headers.get('content-type')} {said}"


async def test_a_key_without_the_scope_is_refused_and_one_that_may_only_read_changes_nothing(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    names = await tenants.settle_in(http, rt)
    scopes: list[Scope] = list(get_args(Scope))
    only = {each: await tenants.limited(http, each) for each in scopes}
    but = {each: await tenants.limited(http, *{*scopes} - {each}) for each in scopes}
    before = await tenants.dump(rt.db)
    wrong: list[str] = []
    for route, dialect in tenants.routes(rt).items():
        needed = NEEDS[route]
        for it in ASKS[route][:1] or [Ask(body={})]:
            mine = tenants.named(it, route, names.acmes)
            read = await tenants.ask(http, route, mine, only["read"].headers(dialect))
            if needed not in {"read", None}:
                wrong += [f"{route} {it} {each}" for each in _allows(read, dialect)]
            elif read.status_code >= 400:
                wrong.append(f"{route} {it} is refused: {read.text}")
            if any(each in read.text for each in SECRETS):
                wrong.append(f"{route} shows a secret: {read.text}")
            if needed is not None:
                refused = await tenants.ask(http, route, mine, but[needed].headers(dialect))
                wrong += [f"{route} {it} {each}" for each in _allows(refused, dialect)]
    assert not wrong, "\n".join(wrong)
    assert await tenants.dump(rt.db) == before


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("native", "/v1/conversations/<conversation>/resume", {"message": "Hi."}),
        ("bland", "/v1/sms/conversations/<uuid>/resume", {"message": "Hi."}),
        ("bland", "/v1/sms/conversations/<uuid>/handoff", {"notify_number": "+14155550133"}),
    ],
)
async def test_who_may_only_hand_conversations_over_texts_nobody_by_it(
    http: httpx.AsyncClient, rt: Runtime, dialect: str, path: str, body: dict[str, str]
) -> None:
    names = await tenants.settle_in(http, rt)
    key = await tenants.limited(http, "converse")
    given = key.headers(dialect)
    if "resume" in path:
        handed = await http.post(
            f"/v1/conversations/{names.acmes['conversation']}/handoff", json={}, headers=given
        )
        assert handed.status_code == 200
    before = await tenants.dump(rt.db)
    it = tenants.named(Ask(path=path, body=body), f"POST {path}", names.acmes)
    answer = await tenants.ask(http, f"POST {path}", it, given)
    assert _allows(answer, dialect) == []
    assert await tenants.dump(rt.db) == before


def _allows(answer: httpx.Response, dialect: str) -> list[str]:
    """Unless it is a 403 in the shape of the dialect."""
    if answer.status_code != 403:
        return [f"is allowed: {answer.status_code} {answer.text}"]
    match dialect, answer.json():
        case (
            ("native", {"type": "urn:textback:problem:missing-scope"})
            | ("bland", {"data": None, "errors": [{"error": "FORBIDDEN"}]})
            | ("nixflex", {"error": {"code": "permission_denied", "type": "permission_error"}})
            | ("kore", {"errors": [{"code": 403}]})
            | ("polyai", {"detail": str()} | {"error_code": "FORBIDDEN", "success": False})
        ):
            return []
        case _, found:
            return [f"is refused in another shape: {found}"]


async def test_what_a_user_says_to_a_number_that_changed_hands_is_its_new_owners_alone(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    number, acmes, theirs = (
        "+14155550155",
        *(key.headers("native") for key in (tenants.ACMES, tenants.GLOBEX)),
    )

    async def added(account: str, given: Mapping[str, str]) -> None:
        entry = {"number": number, "project": f"{account}-project", "carrier": f"{account}-sandbox"}
        answer = await http.post("/v1/admin/numbers", json=entry, headers=given)
        assert answer.status_code == 201, answer.text

    await added("acme", acmes)
    body = {"to": tenants.USER, "from": number, "text": "acme-text"}
    sent = (await http.post("/v1/messages", json=body, headers=acmes)).json()
    mine = f"/v1/conversations/{sent['conversation_id']}"
    await http.post(mine + "/end", json={}, headers=acmes)
    # It came to its end by silence, and Acme wants no other after it.
    await execute(rt.db, "update conversations set reason = 'idle', reopens = false")
    assert (await http.delete(f"/v1/admin/numbers/{number}", headers=acmes)).status_code == 204
    await added("globex", theirs)
    [shown] = [
        each
        for each in (await http.get("/v1/sms/numbers", headers=theirs)).json()["data"]
        if each["phone_number"] == number
    ]
    assert shown["conversation_count"] == 0
    before = (await http.get(mine, headers=acmes)).json()
    for sid, words, state in (("SM1", "HELP", "keyword"), ("SM2", "Hello?", "heard")):
        heard = await hear(rt.db, words, agent=number, carrier="globex-sandbox", sid=sid)
        assert heard.outcome == state
    assert (await http.get(mine, headers=acmes)).json() == before
    found = (await http.get("/v1/messages?direction=inbound", headers=theirs)).json()["data"]
    assert {each["text"] for each in found} == {"Hello?", "HELP"}


async def test_a_webhook_for_a_conversation_that_is_being_erased_is_for_none(
    http: httpx.AsyncClient, rt: Runtime
) -> None:
    ours = tenants.ACMES.headers("native")
    sent = await http.post(
        "/v1/messages",
        json={"to": tenants.USER, "text": "Hi.", "project": "acme-project"},
        headers=ours,
    )
    name = sent.json()["conversation_id"]
    async with rt.db.connect() as c:
        for table, column in (
            ("events", "conversation_id"),
            ("messages", "conversation_id"),
            ("conversations", "id"),
        ):
            await c.execute(text(f"delete from {table} where {column} = :name"), {"name": name})  # noqa: S608 - ours
        body = {"url": "https://example.com/x", "conversation": name}
        asking = asyncio.create_task(http.post("/v1/webhooks", json=body, headers=ours))

        async def waits() -> bool:
            [found] = await rows(rt.db, "select count(*) n from pg_locks where not granted")
            return found["n"] != 0

        await until(waits)
        await c.commit()
        answer = await asking
    assert answer.status_code == 404, answer.text
