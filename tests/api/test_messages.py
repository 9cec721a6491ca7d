"""POST and GET /v1/messages: what is accepted, refused, and told of it afterwards."""

from datetime import timedelta

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import (
    AGENT,
    EXPIRING_KEY,
    ODD_ENVIRONMENT,
    ODD_YAML,
    USER,
    Clock,
    execute,
    rows,
    stored,
)
from tests.support.native import BEARER, GLOBEX, HELLO, get, is_good, is_problem, pages, post, send
from tests.support.provision import NOW, provision
from textback.core.commands import SendText
from textback.core.ids import AccountId, CarrierId, MessageId
from textback.core.phone import Phone
from textback.core.policy import SendPolicy
from textback.core.ports import Inbound, Receipt, Taken
from textback.db.book import Book
from textback.dialects.native import paging
from textback.flows import admit, inbound, store_only
from textback.flows import send as sending
from textback.flows.receipt import Receipts
from textback.flows.recording import Recording

CARRIER = CarrierId("acme-twilio")
SECOND = "+14155550101"
ODD = {"Authorization": f"Bearer {EXPIRING_KEY}"}


async def give_to_carrier(engine: AsyncEngine, sid: str = "SM1") -> None:
    """Whatever is due; it takes each."""
    jobs, _ = await sending.claim(
        engine, policy=SendPolicy(), limit=10, except_numbers=(), now=NOW, steady=0
    )
    for place, job in enumerate(jobs):
        taken = Taken(f"{sid}{place}")
        await Recording(engine, SendPolicy()).record(job.message, taken, now=NOW)


async def report(
    engine: AsyncEngine, message_id: str, status: str, code: str | None = None
) -> None:
    said = Receipt(
        carrier_message_id="SM10",
        message_id=MessageId(message_id),
        status=status,  # type: ignore[arg-type]
        error_code=code,
    )
    await Receipts(engine).hear(CARRIER, said, now=NOW + timedelta(seconds=9))


async def hear(engine: AsyncEngine, text: str, sid: str = "IN1") -> None:
    said = Inbound(carrier_message_id=sid, agent_number=AGENT, user_number=USER, text=text)
    await inbound.hear(engine, CARRIER, said, now=NOW + timedelta(seconds=5))


# --- Sending ------------------------------------------------------------------------------------


async def test_a_text_is_accepted_and_all_that_becomes_of_it_is_told(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    answer = await post(http, "/messages", HELLO)
    sent = is_good(answer, 202)
    assert sent == {
        "message_id": sent["message_id"],
        "conversation_id": sent["conversation_id"],
        "state": "queued",
        "from": AGENT,
        "to": USER,
        "resumed": False,
        "planned_for": None,
    }
    assert answer.headers["ratelimit-policy"] == '"project";q=100;w=60'
    await give_to_carrier(engine)
    await report(engine, sent["message_id"], "failed", "30003")

    told = await get(http, f"/messages/{sent['message_id']}")
    assert [each["state"] for each in told["timeline"]] == [
        *("accepted", "queued", "sending", "sent", "failed")
    ]
    assert told["timeline"][-1] == {
        "state": "failed",
        "at": "2026-03-02T09:00:09Z",
        "detail": {"error_code": "30003"},
    }
    assert told["error"]["code"] == "30003"
    assert "could not be reached" in told["error"]["meaning"]
    assert told["error"]["what_to_do"].startswith("Try again once")
    assert told["error"]["more"] == "https://www.twilio.com/docs/api/errors/30003"
    assert (told["state"], told["segments"], told["attempts"]) == ("failed", 1, 0)
    assert (told["from"], told["to"], told["carrier_message_id"]) == (AGENT, USER, "SM10")


async def test_everything_a_send_may_carry_reaches_its_conversation(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    sent = await send(
        http,
        agent={"id": "bookings", "version": 1},
        objective="Move it to Friday",
        variables={"name": "Ann", "age": 41},
        metadata={"appointment": "A-17"},
        validity_seconds=60,
        inactivity={"warn_after_seconds": 90, "closing": None},
        webhook="https://example.com/hook",
        template={"content_sid": "HX" + "0" * 32, "variables": {"1": "Ann"}},
    )
    told = await get(http, f"/conversations/{sent['conversation_id']}")
    assert (told["objective"], told["dialect"]) == ("Move it to Friday", "native")
    assert told["variables"] == {"name": "Ann", "age": 41}
    assert told["metadata"] == {"appointment": "A-17"}
    text = await get(http, f"/messages/{sent['message_id']}")
    assert text["valid_until"] == "2026-03-02T09:01:00Z"
    assert text["template"] == {"content_sid": "HX" + "0" * 32, "variables": {"1": "Ann"}}
    (row,) = await rows(engine, "select idle from conversations")
    idle = row["idle"]
    assert isinstance(idle, dict)
    assert (idle["warn_after"], idle["close_after"], idle["closing"]) == ("PT1M30S", "PT10M", None)
    assert idle["warning"] == "Are you still there?"
    (hook,) = await rows(engine, "select url, format, conversation_id from webhook_endpoints")
    assert hook["url"] == "https://example.com/hook"
    assert (hook["format"], hook["conversation_id"]) == ("native", sent["conversation_id"])


async def test_a_conversation_is_gone_on_with_or_begun_anew(http: httpx.AsyncClient) -> None:
    first = await send(http)
    second = await send(http, conversation="resume", text="And bring your card.")
    third = await send(http, **{"from": None}, project="reminders")
    assert second["conversation_id"] == first["conversation_id"]
    assert (second["resumed"], third["resumed"]) == (True, False)
    assert third["conversation_id"] != first["conversation_id"]
    assert third["from"] == AGENT  # the same as before


async def test_without_a_text_the_agent_greets(http: httpx.AsyncClient) -> None:
    sent = await send(http, text=None)
    told = await get(http, f"/messages/{sent['message_id']}")
    assert (sent["state"], told["text"]) == ("queued", "Hello, how can I help?")


async def test_a_text_that_the_agent_is_to_write_is_promised(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    scripted = 'id: silent, engine: {kind: scripted, default: "You said: {text}"}'
    writes = "id: silent, engine: {kind: http, url: 'http://127.0.0.1:9/turn', timeout_seconds: 5}"
    assert scripted in ODD_YAML
    await provision(engine, ODD_YAML.replace(scripted, writes), ODD_ENVIRONMENT)
    body, key = {"to": USER, "from": "+14155550180"}, ODD | {"Idempotency-Key": "k"}
    sent = is_good(await http.post("/v1/messages", json=body, headers=key), 202)
    assert sent["state"] == "promised"
    answer = await http.get(f"/v1/messages/{sent['message_id']}", headers=ODD)
    told = is_good(answer)
    assert (told["state"], told["text"], told["segments"]) == ("promised", None, None)
    assert [each["state"] for each in told["timeline"]] == ["accepted", "promised"]
    again = await http.post("/v1/messages", json=body, headers=key)
    assert is_good(again, 202) == sent


async def test_a_text_for_later_is_planned_and_told_so(http: httpx.AsyncClient) -> None:
    sent = await send(http, send_at="2026-03-03T08:00:00+01:00", **{"from": None})
    assert (sent["state"], sent["planned_for"]) == ("planned", "2026-03-03T07:00:00Z")
    told = await get(http, f"/messages/{sent['message_id']}")
    assert (told["state"], told["why_planned"]) == ("planned", "scheduled")
    assert (told["planned_for"], told["text"]) == ("2026-03-03T07:00:00Z", HELLO["text"])
    assert [each["state"] for each in told["timeline"]] == ["planned"]
    assert (await get(http, "/messages"))["data"] == []


async def test_a_repetition_gives_the_first_answer_and_is_not_counted(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = is_good(await post(http, "/messages", HELLO, key), 202)
    before = await stored(engine)
    again = await post(http, "/messages", HELLO, key)
    assert is_good(again, 202) == first
    assert again.headers["idempotent-replayed"] == "true"
    assert "ratelimit" not in again.headers
    other = await post(http, "/messages", HELLO | {"text": "Else"}, key)
    is_problem(other, 409, "key-reused", "different request")
    assert await stored(engine) == before


@pytest.mark.parametrize("sid", ["SM" + "0" * 32, None])
async def test_of_a_text_put_on_record_the_carriers_own_id_is_shown(
    http: httpx.AsyncClient, engine: AsyncEngine, sid: str | None
) -> None:
    said = await store_only.put_on_record(
        engine,
        await admit.sender(Book(engine), AccountId("acme"), agent_number=Phone(AGENT)),
        SendText(user_number=Phone(USER), agent_number=Phone(AGENT), text="Said elsewhere."),
        sayer="agent",
        carrier_message_id=sid,
        now=NOW,
    )
    told = await get(http, f"/messages/{said.message_id}")
    assert (told["state"], told["carrier_message_id"]) == ("sent", sid)


async def test_who_has_opted_out_is_not_texted(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await hear(engine, "STOP")
    sent = await send(http)
    told = await get(http, f"/messages/{sent['message_id']}")
    assert (sent["state"], told["state"], told["reason"]) == (
        *("suppressed", "suppressed"),
        "opted_out",
    )
    before = await stored(engine)
    refused = await post(http, "/messages", HELLO | {"if_opted_out": "refuse"})
    is_problem(refused, 403, "opted-out", USER)
    assert await stored(engine) == before


REFUSED: list[tuple[dict[str, object], int, str, str]] = [
    ({"to": "555"}, 400, "bad-request", "to must be a phone number"),
    ({"text": "x" * 1601}, 400, "bad-request", "text is too long"),
    ({"txt": "x"}, 400, "bad-request", "There is no such field here; there are to, text, from"),
    ({"metadata": {"a": "\0"}}, 400, "bad-request", "a holds a character"),
    ({"webhook": "https://10.0.0.1/"}, 400, "bad-request", "webhook must not lead to a private"),
    ({"webhook": "ftp://example.com"}, 400, "bad-request", "webhook must begin with https://"),
    ({"channel": "sms", "to": f"rcs:{USER}"}, 400, "bad-request", "another channel than sms"),
    (
        {"from": None, "messaging_service_sid": "MG" + "0" * 32},
        *(400, "bad-request", "is for channel rcs"),
    ),
    ({"send_at": "2027-03-02T09:00:00Z"}, 400, "bad-request", "send_at"),
    ({"from": "+14155550999"}, 400, "number-not-provisioned", "not one of this account's"),
    (
        {"from": "+14155550999", "project": "reminders"},
        *(400, "number-not-provisioned", "not provisioned"),
    ),
    ({"agent": {"id": "nobody"}}, 400, "unknown-agent", 'no agent "nobody"'),
    ({"agent": {"start_node": "pay"}}, 400, "unknown-agent", 'no node "pay"'),
    ({"project": "nothing"}, 404, "unknown-resource", 'no project "nothing"'),
    ({"project": "globex-project"}, 404, "unknown-resource", "no project"),
    ({"connector": "conn-globex"}, 404, "unknown-connector", "no connector"),
    (
        {"from": None, "project": "reminders", "environment": "dev"},
        *(404, "no-number", "environment (dev)"),
    ),
    ({"channel": "whatsapp", "from": None}, 404, "no-number", "No number is provisioned"),
]


async def test_what_is_refused_is_said_in_one_sentence_and_not_stored(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for changes, status, kind, saying in REFUSED:
        body = {name: value for name, value in (HELLO | changes).items() if value is not None}
        answer = await post(http, "/messages", body)
        is_problem(answer, status, kind, saying)
    typed = BEARER | {"content-type": "application/json"}
    half = b'{"to": "+14155550123", "metadata": {"a": "\\ud800"}}'
    broken = await http.post("/v1/messages", content=half, headers=typed)
    is_problem(broken, 400, "bad-request", "not valid JSON")
    large = await http.post("/v1/messages", content=b"x" * 70_000, headers=BEARER)
    is_problem(large, 413, "too-large", "64 KB")
    several = await http.post("/v1/messages", json={"to": USER, "text": "Hi"}, headers=ODD)
    is_problem(several, 400, "bad-request", "Name the project")
    silent = {"to": USER, "project": "staged", "from": "+14155550180"}
    nothing = await http.post("/v1/messages", json=silent, headers=ODD)
    is_problem(nothing, 400, "nothing-to-say", "Give a message")
    assert await stored(engine) == {}


async def test_where_the_agent_may_not_speak_it_is_not_asked_to(http: httpx.AsyncClient) -> None:
    sent = await send(http)
    await post(http, f"/conversations/{sent['conversation_id']}/handoff", {})
    body = {name: HELLO[name] for name in ("to", "from")} | {"conversation": "resume"}
    is_problem(await post(http, "/messages", body), 409, "wrong-state", "a person has it")


async def test_the_limit_is_the_projects_and_told(http: httpx.AsyncClient) -> None:
    body = {"to": USER, "project": "tight", "text": "Hi"}
    for left in range(4, -1, -1):
        answer = await http.post("/v1/messages", json=body, headers=ODD)
        assert (answer.status_code, f";r={left};" in answer.headers["ratelimit"]) == (202, True)
    answer = await http.post("/v1/messages", json=body, headers=ODD)
    is_problem(answer, 429, "rate-limited", "rate limit is used up")
    assert answer.headers["ratelimit"].startswith('"project";r=0;')


# --- Keys ---------------------------------------------------------------------------------------


async def test_a_key_does_what_its_scopes_allow_and_nothing_else(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    sent = await send(http)
    await execute(engine, "update api_keys set scopes = '[\"read\"]' where account_id = 'acme'")
    before = await stored(engine)
    talk = f"/v1/conversations/{sent['conversation_id']}"
    asked: list[tuple[str, str, object, str]] = [
        ("POST", "/v1/messages", HELLO, "send"),
        ("POST", f"{talk}/messages", {"text": "x"}, "send"),
        *(("POST", f"{talk}/{act}", {}, "converse") for act in ("handoff", "resume", "end")),
        ("PATCH", talk, {}, "converse"),
        ("DELETE", talk, None, "converse"),
        ("POST", "/v1/opt-outs", {}, "opt_outs"),
        ("POST", "/v1/opt-outs/import", None, "opt_outs"),
        ("DELETE", f"/v1/opt-outs/opt_{'0' * 26}", {}, "opt_outs"),
    ]
    for method, path, body, scope in asked:
        answer = await http.request(method, path, json=body, headers=BEARER)
        is_problem(answer, 403, "missing-scope", f'it lacks the scope "{scope}"')
    await execute(engine, "update api_keys set scopes = '[\"send\"]' where account_id = 'acme'")
    reads = ["messages", "conversations", "opt-outs", "opt-outs/export", "usage", "projects"]
    for path in [*reads, f"messages/{sent['message_id']}"]:
        answer = await http.get(f"/v1/{path}", headers=BEARER)
        is_problem(answer, 403, "missing-scope", 'it lacks the scope "read"')
    me = await get(http, "/me")
    assert (me["account"], me["account_name"], me["key_name"]) == ("acme", "Acme Dental", "ci")
    assert (me["scopes"], me["expires_at"]) == (["send"], None)
    assert await stored(engine) == before


async def test_without_a_good_key_nothing_is_told(http: httpx.AsyncClient) -> None:
    paths = ["messages", f"messages/msg_{'0' * 26}", "conversations", "opt-outs", "me", "usage"]
    for path in paths:
        for given in ({}, {"Authorization": "Bearer wrong"}):
            assert (await http.get(f"/v1/{path}", headers=given)).status_code == 401


# --- Lists --------------------------------------------------------------------------------------


async def test_texts_are_found_by_everything_known_of_them(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    first = await send(http, text="Your dentist says hello")
    await give_to_carrier(engine)
    await report(engine, first["message_id"], "failed", "30007")
    await hear(engine, "Which dentist?")
    clock.pass_(timedelta(hours=1))
    second = await send(http, to="+14155550124", text="Bonjour", **{"from": SECOND})

    async def found(**query: object) -> list[str]:
        return [m["text"] for m in (await get(http, "/messages", **query))["data"]]

    hello, which, bonjour = "Your dentist says hello", "Which dentist?", "Bonjour"
    both = [which, hello]
    assert await found() == [bonjour, *both]
    assert await found(project="reminders") == [bonjour, *both]
    assert await found(project="nothing") == []
    assert await found(conversation=second["conversation_id"]) == [bonjour]
    assert await found(direction="inbound") == [which]
    assert await found(state="failed") == [hello]
    assert await found(error_code="30007") == [hello]
    assert await found(user_number=USER) == both
    assert await found(user_number=USER, agent_number=SECOND) == []
    assert await found(agent_number=SECOND) == [bonjour]
    assert await found(since="2026-03-02T10:00:00Z") == [bonjour]
    assert await found(until="2026-03-02T10:00:00Z") == both
    assert await found(q="dentist") == both
    assert await found(q='"dentist says" -which') == [hello]
    assert await found(q="BONJOUR or hello") == [bonjour, hello]
    assert await found(q="!!!") == []
    theirs = await http.get("/v1/messages", headers=GLOBEX)
    assert is_good(theirs) == {"data": [], "next_cursor": None}
    unknown = await http.get(f"/v1/messages/{first['message_id']}", headers=GLOBEX)
    is_problem(unknown, 404, "unknown-resource", "There is no message")


async def test_pages_hold_every_text_once_also_those_of_one_moment(
    http: httpx.AsyncClient,
) -> None:
    ids = [(await send(http, text=f"{n}"))["message_id"] for n in range(7)]
    seen = [m["id"] async for page in pages(http, "/messages", 3) for m in page]
    assert sorted(seen, reverse=True) == seen
    assert set(seen) == set(ids)


@pytest.mark.parametrize("path", ["messages", "conversations", "opt-outs"])
async def test_what_is_no_page_of_a_list_is_refused(http: httpx.AsyncClient, path: str) -> None:
    await send(http)
    await send(http)
    mine = await get(http, "/messages", limit=1)
    other = "conversations" if path == "messages" else "messages"
    cursors = {
        "messages": mine["next_cursor"],
        "conversations": (await get(http, "/conversations", limit=1))["next_cursor"],
    }
    odd = [paging.cursor(path, at) for at in ("x", "2026-03-02", "0001-01-01T00:00:00+23:59 a")]
    if path != "messages":
        odd = []
    for wrong in ["x", "%%%", cursors[other], "Ä", "A" * 499, *odd]:
        answer = await http.get(f"/v1/{path}", params={"cursor": wrong}, headers=BEARER)
        is_problem(answer, 400, "bad-request", "cursor is not one of this list's")
    for wrong in ["limit=0", "limit=201", "limit=x", "cursor=", "projekt=x", "limit=1&limit=2"]:
        answer = await http.get(f"/v1/{path}?{wrong}", headers=BEARER)
        is_problem(answer, 400, "bad-request", "")


async def test_an_id_that_none_can_have_is_unknown(http: httpx.AsyncClient) -> None:
    for which in ["msg_%00", "%ff", "msg_none", "msg_" + "0" * 26, "a" * 5000, "%ED%A0%80"]:
        assert (await http.get(f"/v1/messages/{which}", headers=BEARER)).status_code == 404
