"""`POST /v1/outbound-sms`: every status and what comes with it, and the order of the checks."""

import json
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    BODY,
    EXPIRED_KEY,
    EXPIRING_KEY,
    REVOKED_KEY,
    ROUTE,
    USER,
    Clock,
    client,
    correlation_id,
    execute,
    headers,
    is_accepted,
    is_refused,
    rows,
    send,
    stored,
)
from tests.support.provision import ACME_KEY, GLOBEX_KEY, STANDARD_YAML, provision
from textback.core.gcra import Denied, Granted, Rate
from textback.core.policy import MAX_TEXT
from textback.runtime import Runtime

# --- 202 ---------------------------------------------------------------------------------------


async def test_an_accepted_text_is_stored_before_202_and_its_ids_are_in_the_headers(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    conversation_id, message_id = is_accepted(await send(http, agent_number=AGENT))
    [message] = await rows(engine, "select * from messages")
    [conversation] = await rows(engine, "select * from conversations")
    assert (conversation["id"], conversation["state"]) == (conversation_id, "opened")
    assert (conversation["agent_number"], conversation["user_number"]) == (AGENT, USER)
    assert (message["id"], message["conversation_id"]) == (message_id, conversation_id)
    assert (message["text"], message["state"]) == (BODY["message"], "queued")


async def test_every_counted_answer_tells_what_is_left_of_the_limit(
    http: httpx.AsyncClient,
) -> None:
    first = await send(http)
    second = await send(http)
    assert first.headers["ratelimit-policy"] == '"project";q=100;w=60'
    assert first.headers["ratelimit"] == '"project";r=99;t=1'
    assert second.headers["ratelimit"].startswith('"project";r=98;t=')


async def test_without_a_message_the_agent_opens_with_its_greeting(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_accepted(await send(http, {"user_number": USER}))
    [message] = await rows(engine, "select text, kind from messages")
    assert message == {"text": "Hello, how can I help?", "kind": "opener"}


async def test_without_agent_number_one_of_the_environment_is_picked_and_kept_per_user(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for _ in range(3):
        is_accepted(await send(http))
    is_accepted(await send(http, user_number="+14155550124"))
    found = await rows(engine, "select distinct user_number, agent_number from conversations")
    used = {row["user_number"]: row["agent_number"] for row in found}
    assert len(found) == 2
    assert set(used.values()) == {"+14155550100", "+14155550101"}


async def test_a_number_of_the_project_in_another_environment_may_be_named(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    is_accepted(
        await send(http, asked=headers(EXPIRING_KEY, "conn-dev"), agent_number="+14155550180")
    )
    assert (await stored(engine))["messages"] == 1


async def test_rcs_goes_from_the_messaging_service_that_is_the_projects(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    numbers = '        numbers:\n          - {number: "+14155550100", environment: live'
    service = "MG" + "0a" * 16
    with_service = numbers.replace(
        "numbers:\n", f"numbers:\n          - {{number: {service}, carrier: acme-twilio}}\n"
    )
    await provision(engine, STANDARD_YAML.replace(numbers, with_service))
    # The documented request, with a sender of no use to it.
    asked = {"user_number": "rcs:" + USER, "messaging_service_sid": service, "message": "Hi Jane"}
    is_accepted(await send(http, asked | {"agent_number": "+14155550199"}))
    [text] = await rows(engine, "select user_number, agent_number, text, state from messages")
    assert text == {
        "user_number": "rcs:" + USER,
        "agent_number": service,
        "text": "Hi Jane",
        "state": "queued",
    }
    unknown = await send(http, asked | {"messaging_service_sid": "MG" + "0b" * 16})
    saying = "messaging_service_sid is not provisioned for this project"
    is_refused(unknown, 400, counted=True, saying=saying)


async def test_a_user_who_opted_out_gets_nothing_and_the_caller_202(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(
        engine,
        "insert into opt_outs (id, agent_number, user_number, opted_out_at, source)"
        " values ('opt_1', '+14155550100', '+14155550123', now(), 'keyword')",
    )
    for body in (BODY, {"user_number": USER}, BODY | {"agent_number": AGENT}):
        answer = await send(http, body)
        is_accepted(answer)
        assert "ratelimit" in answer.headers
    found = await rows(engine, "select state, drop_reason from messages")
    assert found == [{"state": "suppressed", "drop_reason": "opted_out"}] * 3
    assert await rows(engine, "select distinct reason from conversations") == [
        {"reason": "opted_out"}
    ]


# --- 400 ---------------------------------------------------------------------------------------

WRONG_BODIES = {
    "no body": b"",
    "not JSON": b"{user_number: 1}",
    "not an object": b"[]",
    "no user_number": b'{"message": "Hi"}',
    "a user_number that is not E.164": b'{"user_number": "4155550123", "message": "Hi"}',
    "a user_number that is not a string": b'{"user_number": 14155550123, "message": "Hi"}',
    "a blank message": b'{"user_number": "+14155550123", "message": " "}',
    "a message that is too long": json.dumps(
        {"user_number": USER, "message": "x" * (MAX_TEXT + 1)}
    ).encode(),
    "an empty agent_number": b'{"user_number": "+14155550123", "agent_number": ""}',
    "a body over 64 KB": b'{"user_number": "+14155550123", "message": "Hi"}' + b" " * 64 * 1024,
}


@pytest.mark.parametrize("body", WRONG_BODIES.values(), ids=WRONG_BODIES)
async def test_a_wrong_body_is_400_and_counted(
    http: httpx.AsyncClient, engine: AsyncEngine, body: bytes
) -> None:
    is_refused(await send(http, body), 400, counted=True)
    assert await stored(engine) == {}


async def test_a_body_of_exactly_64_kb_is_read(http: httpx.AsyncClient) -> None:
    body = json.dumps(BODY).encode()
    is_accepted(await send(http, body + b" " * (64 * 1024 - len(body))))


async def test_another_content_type_is_400(http: httpx.AsyncClient, engine: AsyncEngine) -> None:
    answer = await send(http, json.dumps(BODY).encode(), headers() | {"content-type": "text/plain"})
    is_refused(answer, 400, counted=True, saying="Content-Type: application/json")
    assert await stored(engine) == {}


async def test_a_missing_connector_header_is_400_and_not_counted(http: httpx.AsyncClient) -> None:
    for connector in (None, ""):
        answer = await send(http, asked=headers(connector=connector))
        is_refused(answer, 400, counted=False, saying="X-TOKEN-ID")


@pytest.mark.parametrize("number", ["+14155550199", "+14155550177"], ids=["another's", "nobody's"])
async def test_an_agent_number_that_is_not_the_projects_is_400(
    http: httpx.AsyncClient, engine: AsyncEngine, number: str
) -> None:
    answer = await send(http, agent_number=number)
    is_refused(answer, 400, counted=True, saying="agent_number is not provisioned for this project")
    assert await stored(engine) == {}


async def test_without_a_message_and_without_an_agent_that_can_open_it_is_400(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    answer = await send(http, {"user_number": USER}, headers(GLOBEX_KEY, "conn-globex"))
    is_refused(answer, 400, counted=True, saying="greeting")
    assert await stored(engine) == {}


# --- 401, 403, 404, 405 ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [None, "", "unknown", ACME_KEY + " x", ACME_KEY.upper(), EXPIRED_KEY, REVOKED_KEY],
    ids=["missing", "empty", "unknown", "longer", "in capitals", "expired", "revoked"],
)
async def test_a_key_that_does_not_count_is_401(
    http: httpx.AsyncClient, engine: AsyncEngine, key: str | None
) -> None:
    is_refused(await send(http, asked=headers(key)), 401, counted=False)
    assert await stored(engine) == {}


async def test_a_key_works_until_the_moment_it_expires(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    asked = headers(EXPIRING_KEY, "conn-tight")
    clock.pass_(timedelta(minutes=59, seconds=59))
    is_accepted(await send(http, asked=asked))
    clock.pass_(timedelta(seconds=1))
    is_refused(await send(http, asked=asked), 401, counted=False, saying="expired")


async def test_a_key_of_another_account_is_403(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    answer = await send(http, asked=headers(GLOBEX_KEY, "conn-live"))
    is_refused(answer, 403, counted=False)
    assert await stored(engine) == {}


@pytest.mark.parametrize("connector", ["conn-none", "CONN-LIVE", "conn-live ", "é", "' or 1=1 --"])
async def test_an_unknown_connector_is_404(http: httpx.AsyncClient, connector: str) -> None:
    asked = {
        b"X-PolyAi-Auth-Token": ACME_KEY.encode(),
        b"X-TOKEN-ID": connector.encode("latin-1"),
    }
    answer = await http.post(ROUTE, json=BODY, headers=list(asked.items()))
    is_refused(answer, 404, counted=False, saying="connector")


async def test_a_project_without_numbers_is_404(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    asked = headers(EXPIRING_KEY, "conn-empty")
    for body in (BODY, BODY | {"agent_number": AGENT}):
        is_refused(await send(http, body, asked), 404, counted=True, saying="No number")
    assert await stored(engine) == {}


async def test_numbers_in_another_environment_only_are_404(http: httpx.AsyncClient) -> None:
    answer = await send(http, asked=headers(EXPIRING_KEY, "conn-dev"))
    is_refused(answer, 404, counted=True, saying="environment (dev)")


async def test_unknown_paths_and_methods_are_refused_in_the_same_shape(
    http: httpx.AsyncClient,
) -> None:
    for method, path, status in [
        ("GET", ROUTE, 405),
        ("PUT", ROUTE, 405),
        ("DELETE", ROUTE, 405),
        ("OPTIONS", ROUTE, 405),
        ("POST", "/", 404),
        ("POST", ROUTE + "/", 404),
        ("POST", "/v1//outbound-sms", 404),
        ("POST", "/V1/outbound-sms", 404),
        ("GET", "/docs/assets/none.js", 404),
        ("POST", "/docs/assets/swagger-ui.css", 405),
        ("GET", "/docs/assets/..%2f..%2fpyproject.toml", 404),
        ("GET", "/%ff%fe%00", 404),
        ("DELETE", "/health/live", 405),
    ]:
        answer = await http.request(method, path, headers=headers())
        detail = is_refused(answer, status, counted=False)
        if status == 405:
            assert answer.headers["allow"] in detail


async def test_every_answer_has_a_correlation_id_of_its_own(http: httpx.AsyncClient) -> None:
    answers = [
        await send(http),
        await send(http, b"?"),
        await http.get("/nowhere"),
        await http.get("/health/live"),
        await http.get("/health/ready"),
        await http.get("/openapi.json"),
        await http.get("/docs"),
        await http.get("/docs/assets/swagger-ui.css"),
        await http.get("/metrics"),
        await http.post("/hooks/twilio/inbound"),
    ]
    assert len({correlation_id(answer) for answer in answers}) == len(answers)


# --- 500 ---------------------------------------------------------------------------------------


class BrokenLimiter:
    """What no limiter may do."""

    async def take(self, key: str, rate: Rate, units: float = 1) -> Granted | Denied:
        raise ZeroDivisionError(key, rate, units)

    async def give_back(self, key: str, rate: Rate, units: float = 1) -> None:
        raise ZeroDivisionError(key, rate, units)

    async def close(self) -> None:
        pass


async def test_an_unexpected_error_is_500_in_the_same_shape(
    rt: Runtime, engine: AsyncEngine
) -> None:
    async with client(replace(rt, quota=BrokenLimiter())) as http:
        answer = await send(http)
    detail = is_refused(answer, 500, counted=False, saying="X-PolyAI-Correlation-Id")
    assert "Zero" not in detail
    assert await stored(engine) == {}


async def test_an_error_after_counting_still_tells_the_limit_and_stores_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(engine, "alter table messages add constraint accident check (text <> 'boom')")
    try:
        answer = await send(http, message="boom")
    finally:
        await execute(engine, "alter table messages drop constraint accident")
    is_refused(answer, 500, counted=True)
    assert await stored(engine) == {}


# --- The order of the checks -------------------------------------------------------------------


async def test_the_first_thing_wrong_is_what_is_told(http: httpx.AsyncClient) -> None:
    """Key, connector header, connector, account, limit, body, numbers, agent number."""
    bad = b"{"
    empty = headers(EXPIRING_KEY, "conn-empty")
    tight = headers(EXPIRING_KEY, "conn-tight")
    for _ in range(5):
        is_accepted(await send(http, asked=tight))
    for body, asked, status, saying in [
        (bad, headers("unknown", None), 401, "key"),
        (bad, headers(EXPIRED_KEY, "conn-none"), 401, "key"),
        (bad, headers(GLOBEX_KEY, None), 400, "X-TOKEN-ID"),
        (bad, headers(GLOBEX_KEY, "conn-none"), 404, "connector"),
        (bad, headers(GLOBEX_KEY, "conn-tight"), 403, "account"),
        (bad, tight, 429, "limit"),
        (b" " * 70_000, tight, 429, "limit"),
        (bad, empty, 400, "JSON"),
        (b'{"user_number": "1", "agent_number": "+14155550177"}', empty, 400, "user_number"),
        (b'{"user_number": "+14155550123", "agent_number": "+14155550177"}', empty, 404, "number"),
        (
            b'{"user_number": "+14155550123", "agent_number": "+14155550177"}',
            headers(),
            400,
            "agent_number",
        ),
    ]:
        counted = status == 429 or (
            status in {400, 404} and asked["X-PolyAi-Auth-Token"] != GLOBEX_KEY
        )
        is_refused(await send(http, body, asked), status, counted=counted, saying=saying)
