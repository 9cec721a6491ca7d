"""Our own routes over HTTP: who may ask, what is answered, what is refused and how."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    EXPIRED_KEY,
    REVOKED_KEY,
    USER,
    client,
    correlation_id,
    execute,
    headers,
    is_accepted,
    rows,
    send,
    settings,
    started,
    stored,
)
from tests.support.deployment import NOW
from tests.support.ports import free_port
from tests.support.provision import ACME_KEY, GLOBEX_KEY
from tests.support.wire import Wire
from textback.core.ids import CarrierId
from textback.core.ports import Inbound
from textback.flows import inbound

BEARER = {"Authorization": f"Bearer {ACME_KEY}"}
ACTS = ["handoff", "resume", "messages", "end"]
UNKNOWN = "conv_" + "0" * 26


@pytest.fixture
async def conversation(http: httpx.AsyncClient) -> str:
    conversation_id, _ = is_accepted(await send(http, user_number=USER, agent_number=AGENT))
    return conversation_id


async def ask(
    http: httpx.AsyncClient,
    conversation: str,
    act: str,
    body: object = None,
    given: Mapping[str, str] = BEARER,
) -> httpx.Response:
    url = f"/v1/conversations/{conversation}/{act}"
    if body is None and act == "messages":
        body = {"text": "Bob here."}
    return (
        await http.post(url, json=body, headers=given)
        if body is not None
        else await http.post(url, headers=given)
    )


async def get(
    http: httpx.AsyncClient, conversation: str, given: Mapping[str, str] = BEARER
) -> httpx.Response:
    return await http.get(f"/v1/conversations/{conversation}", headers=given)


def is_good(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    correlation_id(answer)
    return answer.json()


def is_problem(answer: httpx.Response, status: int, kind: str, saying: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    correlation_id(answer)
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["status"]) == (f"urn:textback:problem:{kind}", status)
    assert saying in problem["detail"]
    assert ("www-authenticate" in answer.headers) is (status == 401)
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_a_conversation_goes_to_a_person_and_back(
    http: httpx.AsyncClient, conversation: str
) -> None:
    handed = is_good(
        await ask(http, conversation, "handoff", {"reason": "a refund", "metadata": {"id": 7}})
    )
    assert handed == {
        "conversation_id": conversation,
        "state": "handed_off",
        "reason": "a refund",
        "handed_off_at": "2026-03-02T09:00:00Z",
        "already_handed_off": False,
    }
    again = is_good(await ask(http, conversation, "handoff"))
    assert again == handed | {"already_handed_off": True}
    shown = is_good(await get(http, conversation))
    assert shown["hand_off"] == {
        "at": "2026-03-02T09:00:00Z",
        "reason": "a refund",
        "by": "caller",
        "metadata": {"id": 7},
    }
    said = is_good(await ask(http, conversation, "messages", {"text": "Bob here."}), 202)
    assert said == {
        "message_id": said["message_id"],
        "conversation_id": conversation,
        "state": "handed_off",
    }
    resumed = is_good(await ask(http, conversation, "resume", {"message": "I am back."}))
    assert resumed["message_id"].startswith("msg_")
    assert resumed | {"message_id": None} == {
        "conversation_id": conversation,
        "state": "engaged",
        "message_id": None,
        "answers": 0,
    }
    ended = is_good(await ask(http, conversation, "end", {"reason": "settled"}))
    assert ended == {
        "conversation_id": conversation,
        "state": "closed",
        "reason": "operator",
        "already_closed": False,
    }
    assert is_good(await ask(http, conversation, "end"))["already_closed"] is True
    shown = is_good(await get(http, conversation))
    assert [(text["role"], text["kind"], text["text"]) for text in shown["messages"]] == [
        ("agent", "opener", "Is 3pm tomorrow still good?"),
        ("person", "person", "Bob here."),
        ("agent", "reply", "I am back."),
    ]
    assert (shown["state"], shown["reason"], shown["hand_off"]) == ("closed", "operator", None)


async def test_a_conversation_is_shown_whole(http: httpx.AsyncClient, conversation: str) -> None:
    shown = is_good(await get(http, conversation))
    (text,) = shown.pop("messages")
    assert shown == {
        "id": conversation,
        "state": "opened",
        "reason": None,
        "project_id": "reminders",
        "connector_id": "conn-live",
        "agent": {"id": "bookings", "version": 1},
        "agent_number": AGENT,
        "user_number": USER,
        "dialect": "polyai",
        "objective": None,
        "variables": {},
        "metadata": {},
        "message_count": 1,
        "last_text": "Is 3pm tomorrow still good?",
        "opened_at": "2026-03-02T09:00:00Z",
        "last_activity_at": "2026-03-02T09:00:00Z",
        "deadline_at": "2026-03-03T09:10:00Z",
        "paused_until": None,
        "closed_at": None,
        "hand_off": None,
        "tool_calls": 0,
        "analysis": None,
    }
    assert text["id"].startswith("msg_")
    assert (text["role"], text["state"], text["media"]) == ("agent", "queued", [])


async def test_an_agent_that_is_to_reply_is_asked(
    http: httpx.AsyncClient, conversation: str, engine: AsyncEngine
) -> None:
    is_good(await ask(http, conversation, "handoff"))
    assert is_good(await ask(http, conversation, "resume", {"reply": True}))["answers"] == 0
    (turn,) = await rows(engine, "select state from turns")
    assert turn == {"state": "waiting"}


async def test_the_key_may_come_as_polyai_has_it(
    http: httpx.AsyncClient, conversation: str
) -> None:
    is_good(await get(http, conversation, {"X-PolyAi-Auth-Token": ACME_KEY}))
    is_good(await get(http, conversation, {"Authorization": f"bearer  {ACME_KEY} "}))
    basic = {"Authorization": "Basic eA==", "X-PolyAi-Auth-Token": ACME_KEY}
    is_good(await get(http, conversation, basic))


NO_KEYS: list[tuple[Mapping[str, str], str]] = [
    ({}, "Send your API key as Authorization: Bearer KEY."),
    ({"Authorization": "Bearer "}, "Send your API key"),
    ({"Authorization": ACME_KEY}, "Send your API key"),
    ({"Authorization": "Bearer wrong"}, "is not valid"),
    ({"Authorization": f"Bearer {REVOKED_KEY}"}, "is not valid"),
    ({"Authorization": f"Bearer {EXPIRED_KEY}"}, "has expired"),
    ({"X-PolyAi-Auth-Token": "wrong"}, "is not valid"),
]


async def test_who_has_no_good_key_is_told_so_and_nothing_else(
    http: httpx.AsyncClient, conversation: str
) -> None:
    for given, saying in NO_KEYS:
        for act in ACTS:
            answer = await ask(http, conversation, act, given=given)
            is_problem(answer, 401, "bad-key", saying)
        is_problem(await get(http, conversation, given), 401, "bad-key", saying)


async def test_the_conversation_of_another_account_is_as_unknown_as_none(
    http: httpx.AsyncClient, conversation: str
) -> None:
    others = {"Authorization": f"Bearer {GLOBEX_KEY}"}
    for which, given in ((conversation, others), (UNKNOWN, BEARER)):
        answers = [await ask(http, which, act, given=given) for act in ACTS]
        for answer in [*answers, await get(http, which, given)]:
            is_problem(answer, 404, "unknown-conversation", f"There is no conversation {which}.")
    assert is_good(await get(http, conversation))["state"] == "opened"


ODD_IDS = ["conv_%00", "%ff", "conv_none", "a" * 5000, "..%2f", "%ED%A0%80"]


async def test_an_id_that_none_can_have_is_unknown(http: httpx.AsyncClient) -> None:
    for which in ODD_IDS:
        assert (await get(http, which)).status_code == 404
        for act in ACTS:
            assert (await ask(http, which, act)).status_code == 404


async def test_what_is_over_is_told_so(http: httpx.AsyncClient, conversation: str) -> None:
    is_good(await ask(http, conversation, "end"))
    for act in ("handoff", "messages", "resume"):
        is_problem(await ask(http, conversation, act), 409, "wrong-state", "closed (operator)")


async def test_what_was_not_handed_off_cannot_be_resumed(
    http: httpx.AsyncClient, conversation: str
) -> None:
    answer = await ask(http, conversation, "resume")
    is_problem(answer, 409, "wrong-state", "is not paused or handed off, it is opened")


async def test_a_node_that_is_none_is_a_bad_request(
    http: httpx.AsyncClient, conversation: str
) -> None:
    is_good(await ask(http, conversation, "handoff"))
    answer = await ask(http, conversation, "resume", {"node": "pay"})
    is_problem(answer, 400, "unknown-agent", 'Agent "bookings" has no node "pay"')


@pytest.mark.parametrize(
    ("act", "body", "saying"),
    [
        ("messages", {"text": " "}, "A text has 1 to 1600 characters"),
        ("messages", {"message": "Hi"}, "text is missing"),
        ("messages", [], "must be a JSON object"),
        ("handoff", {"reason": " "}, "A reason has 1 to 500 characters"),
        ("handoff", {"why": "x"}, "there are reason, metadata"),
        ("resume", {"message": "Hi", "reply": True}, "but not both"),
        ("resume", {"message": "\t"}, "A text has 1 to 1600 characters"),
        ("end", {"reason": 1}, "reason must be a string"),
    ],
)
async def test_a_wrong_body_is_told_what_to_change_and_changes_nothing(
    http: httpx.AsyncClient,
    conversation: str,
    engine: AsyncEngine,
    *,
    act: str,
    body: object,
    saying: str,
) -> None:
    before = await stored(engine)
    is_problem(await ask(http, conversation, act, body), 400, "bad-request", saying)
    assert await stored(engine) == before


async def test_a_body_without_its_type_is_refused(
    http: httpx.AsyncClient, conversation: str
) -> None:
    answer = await http.post(
        f"/v1/conversations/{conversation}/end", content=b'{"reason": "x"}', headers=BEARER
    )
    is_problem(answer, 400, "bad-request", "Content-Type: application/json")


async def test_a_body_that_is_too_large_is_not_read(
    http: httpx.AsyncClient, conversation: str
) -> None:
    answer = await ask(http, conversation, "handoff", {"metadata": {"x": "x" * 70_000}})
    is_problem(answer, 413, "too-large", "64 KB at most")


async def test_metadata_of_any_kind_is_kept_as_it_came(
    http: httpx.AsyncClient, conversation: str
) -> None:
    given = {"a": [1.5, None, {"\u00e9": "\U0001f600\\u0000"}], "": 10**40}
    is_good(await ask(http, conversation, "handoff", {"metadata": given}))
    assert is_good(await get(http, conversation))["hand_off"]["metadata"] == given


# --- Once ---------------------------------------------------------------------------------------

KEYED = BEARER | {"Idempotency-Key": "k1"}


async def test_a_repeated_text_is_said_once(
    http: httpx.AsyncClient, conversation: str, engine: AsyncEngine
) -> None:
    first = await ask(http, conversation, "messages", given=KEYED)
    again = await ask(http, conversation, "messages", given=KEYED)
    assert is_good(again, 202) == is_good(first, 202)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (await stored(engine))["messages"] == 2


async def test_a_conversation_that_is_resumed_under_a_key_is_resumed_once(
    http: httpx.AsyncClient, conversation: str
) -> None:
    await ask(http, conversation, "handoff")
    says = {"message": "I am back."}
    first = await ask(http, conversation, "resume", says, KEYED)
    await ask(http, conversation, "handoff")  # between the two: its state refuses nothing
    again = await ask(http, conversation, "resume", says, KEYED)

    assert (first.status_code, again.status_code) == (200, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json() | {"state": "handed_off"}
    texts = (await get(http, conversation)).json()["messages"]
    assert [text["text"] for text in texts].count("I am back.") == 1
    other = await ask(http, conversation, "resume", {"message": "Hello?"}, KEYED)
    is_problem(other, 409, "key-reused", "used for a different request")


async def test_what_the_agent_then_answers_is_told_again_under_the_key(
    http: httpx.AsyncClient, conversation: str, engine: AsyncEngine
) -> None:
    await ask(http, conversation, "handoff")
    said = Inbound(carrier_message_id="IN1", agent_number=AGENT, user_number=USER, text="Anybody?")
    await inbound.hear(engine, CarrierId("acme-twilio"), said, now=NOW)
    first = await ask(http, conversation, "resume", {"reply": True}, KEYED)
    again = await ask(http, conversation, "resume", {"reply": True}, KEYED)

    assert first.json()["answers"] == 1
    assert again.json() == first.json()


async def test_a_key_is_the_conversations_own(
    http: httpx.AsyncClient, conversation: str, engine: AsyncEngine
) -> None:
    other, _ = is_accepted(await send(http, user_number="+14155550124"))
    is_good(await ask(http, conversation, "messages", given=KEYED), 202)
    is_good(await ask(http, other, "messages", given=KEYED), 202)
    assert (await stored(engine))["messages"] == 4


async def test_a_key_with_another_text_is_refused(
    http: httpx.AsyncClient, conversation: str
) -> None:
    is_good(await ask(http, conversation, "messages", given=KEYED), 202)
    answer = await ask(http, conversation, "messages", {"text": "Other."}, given=KEYED)
    is_problem(answer, 409, "key-reused", "used for a different request")


async def test_a_key_that_is_too_long_is_refused(
    http: httpx.AsyncClient, conversation: str
) -> None:
    answer = await ask(
        http, conversation, "messages", given=BEARER | {"Idempotency-Key": "x" * 256}
    )
    is_problem(answer, 400, "bad-request", "1 to 255 characters")


async def test_the_projects_quota_does_not_count_these_requests(
    http: httpx.AsyncClient, conversation: str, engine: AsyncEngine
) -> None:
    await execute(
        engine,
        "update projects set policy = jsonb_set(policy, '{rate_limit}',"
        ' \'{"amount": 1, "seconds": 3600}\')',
    )
    for _ in range(5):
        answer = await ask(http, conversation, "messages")
        assert "ratelimit" not in answer.headers
        is_good(answer, 202)
    assert (await send(http, asked=headers())).status_code in {202, 429}


# --- Without a database -------------------------------------------------------------------------


@pytest.fixture
async def wire(provisioned: AsyncEngine, database_url: str) -> AsyncGenerator[Wire]:
    assert provisioned is not None
    async with Wire(database_url) as made:
        yield made


@pytest.fixture
async def wired(wire: Wire, redis_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with started(settings(wire.url, redis_url)) as rt, client(rt) as http:
        yield http


async def test_without_a_database_every_route_is_503_soon(redis_url: str) -> None:
    url = f"postgresql://postgres@127.0.0.1:{free_port()}/textback"
    async with started(settings(url, redis_url)) as rt, client(rt) as http:
        for answer in [await get(http, UNKNOWN), *[await ask(http, UNKNOWN, a) for a in ACTS]]:
            is_problem(answer, 503, "unavailable", "try again")
            assert answer.headers["retry-after"] == "2"


async def test_a_text_whose_commit_took_hold_unseen_is_a_202_once_the_database_is_back(
    wired: httpx.AsyncClient, wire: Wire, engine: AsyncEngine, conversation: str
) -> None:
    # Without an idempotency key: told 503, this caller would text the user a second time.
    wire.cut_at(b"INSERT INTO messages", b"COMMIT", deliver=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(_mended_soon(wire))
        answer = group.create_task(ask(wired, conversation, "messages"))
    said = is_good(answer.result(), 202)
    assert said["state"] == "opened"
    assert (await stored(engine))["messages"] == 2


@pytest.mark.parametrize(
    "markers",
    [
        [b"FROM api_keys"],
        [b"INSERT INTO idempotency_keys"],
        [b"INSERT INTO messages"],
        [b"INSERT INTO messages", b"COMMIT"],
    ],
)
async def test_a_text_that_could_not_be_stored_is_503_and_can_be_said_again(
    wired: httpx.AsyncClient,
    wire: Wire,
    engine: AsyncEngine,
    conversation: str,
    *,
    markers: list[bytes],
) -> None:
    wire.cut_at(*markers)
    is_problem(
        await ask(wired, conversation, "messages", given=KEYED), 503, "unavailable", "try again"
    )
    assert (await stored(engine))["messages"] == 1
    await wire.mend()
    is_good(await ask(wired, conversation, "messages", given=KEYED), 202)
    assert (await stored(engine))["messages"] == 2


async def _mended_soon(wire: Wire) -> None:
    async with asyncio.timeout(10):
        while not wire.cuts:  # noqa: ASYNC110 - it is the wire that changes
            await asyncio.sleep(0.005)
    await wire.mend()
