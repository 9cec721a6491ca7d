"""Conversations found, changed and erased over HTTP; the plans of the lists."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Self

import httpx
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, USER, Clock, execute, rows, stored
from tests.support.native import BEARER, GLOBEX, get, is_good, is_problem, pages, post, send
from tests.support.plans import all_of
from tests.support.provision import NOW
from textback.core.ids import AccountId
from textback.db import conversation_reads, message_reads, opt_out_reads, usage_reads
from textback.db.conversation_reads import ConversationFilter
from textback.db.message_reads import MessageFilter
from textback.db.opt_out_reads import OptOutFilter
from textback.flows import due

SECOND = "+14155550101"
OTHER = "+14155550124"
UNKNOWN = "conv_" + "0" * 26


async def test_conversations_are_found_by_everything_known_of_them(
    http: httpx.AsyncClient, clock: Clock
) -> None:
    one = await send(http, text="About a tooth", metadata={"id": "A-17", "vip": True, "n": 7})
    clock.pass_(timedelta(hours=1))
    two = await send(http, to=OTHER, text="About braces", **{"from": SECOND})
    await post(http, f"/conversations/{two['conversation_id']}/end", {})
    names = {one["conversation_id"]: 1, two["conversation_id"]: 2}

    async def found(**query: object) -> list[int]:
        listed = (await get(http, "/conversations", **query))["data"]
        return [names[each["id"]] for each in listed]

    assert await found() == [2, 1]
    assert await found(project="reminders", dialect="native", agent="bookings") == [2, 1]
    assert await found(environment="live") == [2, 1]
    assert await found(environment="dev") == []
    assert await found(connector="conn-live") == []
    assert await found(state="opened") == [1]
    assert await found(reason="operator") == [2]
    assert await found(user_number=USER) == [1]
    assert await found(agent_number=SECOND) == [2]
    assert await found(since="2026-03-02T10:00:00Z") == [2]
    assert await found(until="2026-03-02T10:00:00Z") == [1]
    assert await found(q="tooth") == [1]
    assert await found(**{"metadata.id": "A-17", "metadata.vip": "true"}) == [1]
    assert await found(**{"metadata.n": 7}) == [1]
    for value in ("A-18", "7", "NaN", "1e999", '{"a": 1}', '"A-17"', "[" * 5000):
        assert await found(**{"metadata.id": value}) == []
    listed = await get(http, "/conversations", state="opened")
    (item,) = listed["data"]
    assert (item["message_count"], item["last_text"]) == (1, "About a tooth")
    assert is_good(await http.get("/v1/conversations", headers=GLOBEX))["data"] == []
    for wrong in ("metadata.=x", "metadata.a=1&metadata.a=2", "metadata.a=%00", "vip=true"):
        answer = await http.get(f"/v1/conversations?{wrong}", headers=BEARER)
        is_problem(answer, 400, "bad-request", "")
    many = "&".join(f"metadata.k{n}=1" for n in range(6))
    is_problem(await http.get(f"/v1/conversations?{many}", headers=BEARER), 400, "bad-request", "5")


async def test_pages_hold_every_conversation_once(http: httpx.AsyncClient) -> None:
    ids = [(await send(http))["conversation_id"] for _ in range(5)]
    seen = [each["id"] async for page in pages(http, "/conversations", 2) for each in page]
    assert seen == sorted(ids, reverse=True)


async def test_what_was_said_comes_in_pages_oldest_first(http: httpx.AsyncClient) -> None:
    talk = (await send(http, text="0"))["conversation_id"]
    for n in range(1, 5):
        is_good(await post(http, f"/conversations/{talk}/messages", {"text": f"{n}"}), 202)
    path = f"/conversations/{talk}/messages"
    found = [m["text"] async for page in pages(http, path, 2) for m in page]
    assert found == ["0", "1", "2", "3", "4"]
    for which, given in ((talk, GLOBEX), (UNKNOWN, BEARER), ("conv_%00", BEARER)):
        answer = await http.get(f"/v1/conversations/{which}/messages", headers=given)
        is_problem(answer, 404, "unknown-conversation", "There is no conversation")
    wrong = await http.get(f"/v1{path}?cursor=x", headers=BEARER)
    is_problem(wrong, 400, "bad-request", "cursor is not one of this list's")


async def test_of_a_long_conversation_the_latest_texts_are_shown_with_it(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    talk = (await send(http))["conversation_id"]
    await execute(
        engine,
        "insert into messages (id, conversation_id, project_id, carrier_id, agent_number,"  # noqa: S608 - ours
        " user_number, direction, kind, text, state, created_at, carrier_message_id)"
        f" select 'in' || n, '{talk}', 'reminders', 'acme-twilio', '{AGENT}', '{USER}', 'inbound',"
        " 'text', n, 'received', now(), 'IN' || n from generate_series(1, 250) n",
    )
    shown = await get(http, f"/conversations/{talk}")
    assert shown["message_count"] == 251
    assert [m["text"] for m in shown["messages"]] == [str(n) for n in range(51, 251)]


# --- Changed ------------------------------------------------------------------------------------


async def patch(http: httpx.AsyncClient, talk: str, body: object) -> httpx.Response:
    return await http.patch(f"/v1/conversations/{talk}", json=body, headers=BEARER)


async def test_what_was_said_of_a_conversation_can_be_changed(http: httpx.AsyncClient) -> None:
    sent = await send(http, metadata={"a": 1}, variables={"name": "Ann"}, objective="Friday")
    talk = sent["conversation_id"]

    shown = is_good(await patch(http, talk, {"metadata": {"b": 2}, "objective": None}))
    assert (shown["metadata"], shown["variables"], shown["objective"]) == (
        *({"b": 2}, {"name": "Ann"}),
        None,
    )
    shown = is_good(await patch(http, talk, {"variables": {"name": "Bob"}, "metadata": None}))
    assert (shown["metadata"], shown["variables"]) == ({}, {"name": "Bob"})
    assert is_good(await patch(http, talk, {})) == shown

    await post(http, f"/conversations/{talk}/end", {})
    assert is_good(await patch(http, talk, {"metadata": {"c": 3}}))["metadata"] == {"c": 3}
    refused = await patch(http, talk, {"objective": "Sunday"})
    is_problem(refused, 409, "wrong-state", "only its metadata may change")
    wrong: list[object] = [{"objective": ""}, {"metadata": []}, {"x": 1}]
    for body in [*wrong, {"metadata": {"a": "x" * 17000}}]:
        is_problem(await patch(http, talk, body), 400, "bad-request", "")
    is_problem(await patch(http, UNKNOWN, {}), 404, "unknown-conversation", "")


# --- Erased -------------------------------------------------------------------------------------


async def erase(
    http: httpx.AsyncClient, talk: str, given: dict[str, str] = BEARER
) -> httpx.Response:
    return await http.delete(f"/v1/conversations/{talk}", headers=given)


async def test_a_conversation_is_erased_and_its_idempotency_key_does_no_harm(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    body, key = {"to": USER, "text": "Hi", "from": AGENT}, {"Idempotency-Key": "k"}
    sent = is_good(await post(http, "/messages", body, key), 202)
    talk = sent["conversation_id"]
    said = is_good(await post(http, f"/conversations/{talk}/messages", {"text": "x"}, key), 202)
    is_problem(await erase(http, talk, GLOBEX), 404, "unknown-conversation", "")

    assert is_good(await erase(http, talk)) == {"id": talk, "erased": True}

    assert await stored(engine) == {"idempotency_keys": 2}
    for path in (f"conversations/{talk}", f"conversations/{talk}/messages"):
        assert (await http.get(f"/v1/{path}", headers=BEARER)).status_code == 404
    is_problem(await erase(http, talk), 404, "unknown-conversation", "")
    again = await post(http, "/messages", body, key)
    assert is_good(again, 202) == sent
    gone = await post(http, f"/conversations/{talk}/messages", {"text": "x"}, key)
    is_problem(gone, 404, "unknown-conversation", "")
    which = await http.get(f"/v1/messages/{said['message_id']}", headers=BEARER)
    is_problem(which, 404, "unknown-resource", "")
    assert await stored(engine) == {"idempotency_keys": 2}


async def test_of_a_planned_send_nothing_is_left_that_names_somebody(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    sent = await send(http, send_at="2026-03-02T10:00:00Z", metadata={"who": "Ann"})
    clock.pass_(timedelta(hours=1))
    turn = due.Turn(account_id=ACME)
    assert await all_of(engine, turn, now=clock()) == ["accepted"]
    assert is_good(await erase(http, sent["conversation_id"]))["erased"] is True
    (plan,) = await rows(engine, "select user_number, command::text as command from planned_sends")
    assert plan["user_number"] == ""
    assert not any(word in str(plan["command"]) for word in (USER, "Ann", "3pm"))
    which = await http.get(f"/v1/messages/{sent['message_id']}", headers=BEARER)
    is_problem(which, 404, "unknown-resource", "")


async def test_while_a_text_is_on_its_way_its_conversation_is_not_erased(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    sent = await send(http)
    await execute(
        engine,
        "update messages set state = 'sending', due_at = null, claimed_at = now(),"
        " lease_until = now()",
    )
    answer = await erase(http, sent["conversation_id"])
    is_problem(answer, 409, "conflict", "may be on its way")


# --- Plans --------------------------------------------------------------------------------------

MANY = """
insert into conversations (id, account_id, project_id, agent_id, agent_version, agent_number,
    user_number, state, opened_at, active_at, closed_at, reason)
select 'conv_' || lpad(n::text, 26, '0'), 'acme', 'reminders', 'bookings', 1, '+14155550100',
    '+1415666' || lpad((n % 900)::text, 4, '0'), 'closed', t.at, t.at, t.at, 'idle'
from generate_series(1, 3000) n, lateral (select timestamptz '2026-01-01' + n * interval '1 hour'
    as at) t;
insert into messages (id, conversation_id, project_id, carrier_id, agent_number, user_number,
    direction, kind, text, state, created_at, carrier_message_id)
select 'msg_' || lpad(n::text, 26, '0'), 'conv_' || lpad(n::text, 26, '0'), 'reminders',
    'acme-twilio', '+14155550100', '+1415666' || lpad((n % 900)::text, 4, '0'), 'inbound', 'text',
    'word' || n, 'received', timestamptz '2026-01-01' + n * interval '1 hour', 'IN' || n
from generate_series(1, 3000) n;
insert into opt_outs (id, agent_number, user_number, opted_out_at, source)
select 'opt_' || lpad(n::text, 26, '0'), '+14155550100', '+1415666' || n, now(), 'import'
from generate_series(1, 3000) n;
"""
ACME = AccountId("acme")


@pytest.fixture
async def many(provisioned: AsyncEngine) -> AsyncEngine:
    async with provisioned.begin() as c:
        for statement in MANY.split(";\n"):
            if statement.strip():
                await c.execute(text(statement))
        await c.execute(text("analyze conversations, messages, opt_outs"))
    return provisioned


class Plans:
    """How Postgres goes about each statement that is run meanwhile."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._asked: list[tuple[str, Sequence[Any]]] = []

    def __enter__(self) -> Self:
        event.listen(self._engine.sync_engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine.sync_engine, "before_cursor_execute", self._note)

    async def all(self) -> list[str]:
        async with self._engine.connect() as c:
            raw: Any = (await c.get_raw_connection()).driver_connection
            # Of few rows Postgres would rather read all: this asks whether it has to.
            await raw.execute("set enable_seqscan = off")
            return [
                "\n".join(row[0] for row in await raw.fetch(f"explain {statement}", *values))
                for statement, values in self._asked
            ]

    def _note(self, *given: Any) -> None:
        self._asked.append((given[2], given[3]))


async def test_no_list_reads_a_whole_table(many: AsyncEngine) -> None:
    message_lists = [
        MessageFilter(),
        MessageFilter(project="reminders", state="failed", since=NOW),
        MessageFilter(user_number="+14156660007"),
        MessageFilter(user_number="+14156660007", agent_number="+14155550100"),
        MessageFilter(words="word17"),
        MessageFilter(conversation="conv_" + "7".zfill(26)),
    ]
    talks = [
        ConversationFilter(),
        ConversationFilter(since=NOW, state="closed"),
        ConversationFilter(user_number="+14156660007"),
        ConversationFilter(metadata={"a": "1"}),
        ConversationFilter(words="word17"),
    ]
    with Plans(many) as plans:
        for which in message_lists:
            await message_reads.list_messages(many, ACME, which, limit=20)
        for which in talks:
            await conversation_reads.search(many, ACME, which, limit=20)
        await message_reads.messages_of(many, "conv_" + "7".zfill(26), limit=20)
        for which in (OptOutFilter(), OptOutFilter(user_number="+14156667", standing=True)):
            await opt_out_reads.list_opt_outs(many, ACME, which, limit=20)
        first, last = NOW.date() - timedelta(days=1), NOW.date()
        await usage_reads.used(many, ACME, project=None, first=first, last=last, by="day")
    found = await plans.all()
    assert len(found) > len(message_lists) + 2 * len(talks)
    for plan in found:
        assert not re.search("Seq Scan on (messages|conversations|opt_outs)", plan), plan
