"""GET /v1/usage, /v1/me and /v1/projects."""

from datetime import timedelta

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, USER, Clock, execute
from tests.support.native import BEARER, GLOBEX, get, is_good, is_problem, post, send
from tests.support.provision import NOW
from textback.core.ids import CarrierId
from textback.core.ports import Inbound
from textback.flows import inbound

SECOND = "+14155550101"
SPAN = {"since": "2026-03-01", "until": "2026-03-03"}


async def test_what_was_used_is_counted_by_day_project_and_number(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    one = await send(http)
    said = Inbound(carrier_message_id="IN", agent_number=AGENT, user_number=USER, text="Yes")
    await inbound.hear(engine, CarrierId("acme-twilio"), said, now=NOW)
    await execute(
        engine,
        "update messages set state = 'failed', due_at = null, failed_at = now(), error_code ="
        " '30003' where direction = 'outbound'",
    )
    await post(http, f"/conversations/{one['conversation_id']}/end", {})
    clock.pass_(timedelta(days=1))
    await send(http, to="+14155550124", text="x" * 200, **{"from": SECOND})
    await execute(
        engine,
        "insert into usage_days (project_id, day, turns, tokens, cost_usd)"
        " values ('reminders', '2026-03-02', 3, 500, 0.25), ('reminders', '2026-03-04', 9, 9, 9)",
    )

    found = await get(http, "/usage", **SPAN)
    first = {
        "key": "2026-03-02",
        "texts": {
            "received": 1,
            "written": 1,
            "by_state": {"failed": 1},
            "by_error_code": {"30003": 1},
            "segments": 1,
            "segments_saved": 0,
        },
        "conversations": {"opened": 1, "closed": {"operator": 1}},
        "agents": {"turns": 3, "tokens": 500, "cost_usd": 0.25},
    }
    second: dict[str, object] = {
        "key": "2026-03-03",
        "texts": {
            "received": 0,
            "written": 1,
            "by_state": {"queued": 1},
            "by_error_code": {},
            "segments": 0,
            "segments_saved": 0,
        },
        "conversations": {"opened": 1, "closed": {}},
        "agents": {"turns": 0, "tokens": 0, "cost_usd": 0.0},
    }
    assert found == SPAN | {"by": "day", "data": [first, second]}
    (whole,) = (await get(http, "/usage", **SPAN, by="project", project="reminders"))["data"]
    assert (whole["key"], whole["texts"]["written"], whole["agents"]["turns"]) == (
        *("reminders", 2),
        3,
    )
    by_number = (await get(http, "/usage", **SPAN, by="number"))["data"]
    assert [(each["key"], each["texts"]["written"]) for each in by_number] == [
        (AGENT, 1),
        (SECOND, 1),
    ]
    assert by_number[0]["agents"] is None
    assert (await get(http, "/usage", since="2026-03-04", until="2026-06-03"))["data"] != []
    theirs = await http.get("/v1/usage", params=SPAN, headers=GLOBEX)
    assert is_good(theirs)["data"] == []


async def test_days_are_those_of_the_projects_own_zone(
    http: httpx.AsyncClient, engine: AsyncEngine, clock: Clock
) -> None:
    await execute(
        engine,
        'update projects set policy = policy || \'{"timezone": "Pacific/Auckland"}\'',
    )
    clock.pass_(timedelta(hours=5))  # 14:00 in UTC: there it is tomorrow
    await send(http)
    (row,) = (await get(http, "/usage", **SPAN))["data"]
    assert row["key"] == "2026-03-03"
    assert (await get(http, "/usage", since="2026-03-02", until="2026-03-02"))["data"] == []


async def test_what_is_no_span_of_days_is_refused(http: httpx.AsyncClient) -> None:
    for query, saying in [
        ("", "since is missing"),
        ("since=2026-03-01", "until is missing"),
        ("since=2026-03-02&until=2026-03-01", "up to 91 days after it"),
        ("since=2026-01-01&until=2026-04-03", "up to 91 days after it"),
        ("since=2026-W01-1&until=2026-04-03", "since must be a day such as 2027-01-31"),
        ("since=0001-01-01&until=0001-01-01", "since must be a day"),
        ("since=2026-03-01&until=2026-03-01&by=week", "by must be 'day', 'project' or 'number'"),
    ]:
        answer = await http.get(f"/v1/usage?{query}", headers=BEARER)
        is_problem(answer, 400, "bad-request", saying)


async def test_a_key_is_told_whose_it_is_and_its_projects(http: httpx.AsyncClient) -> None:
    me = await get(http, "/me")
    assert me["account"] == "acme"
    assert set(me["scopes"]) == {"send", "read", "converse", "opt_outs", "webhooks", "manage"}
    assert await get(http, "/projects") == {
        "data": [{"id": "reminders", "name": "Appointment reminders"}],
        "next_cursor": None,
    }


async def test_projects_come_in_pages_like_every_list(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await execute(
        engine,
        "insert into projects (id, account_id, name, agent_id, policy)"
        " select 'more-' || n, account_id, 'More', agent_id, policy"
        " from projects, generate_series(1, 4) n where id = 'reminders'",
    )
    pages, given = list[list[str]](), {"limit": "2"}
    while True:
        page = await get(http, "/projects", **given)
        pages.append([each["id"] for each in page["data"]])
        if page["next_cursor"] is None:
            break
        given["cursor"] = page["next_cursor"]
    assert pages == [["more-1", "more-2"], ["more-3", "more-4"], ["reminders"]]
    answer = await http.get("/v1/projects?name=More", headers=BEARER)
    is_problem(answer, 400, "bad-request", "no such query parameter")
