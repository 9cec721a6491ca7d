"""Opt-outs over HTTP: listed, recorded, ended; in and out as CSV."""

import csv
import io

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, USER, correlation_id, stored
from tests.support.native import BEARER, GLOBEX, get, is_good, is_problem, pages, post, send
from tests.support.provision import NOW
from textback.core.ids import CarrierId
from textback.core.ports import Inbound
from textback.flows import inbound

OTHER = "+14155550124"
WHOLE = {"user_number": USER, "project": "reminders", "reason": "Called us."}
UNKNOWN = "opt_" + "0" * 26


async def create(http: httpx.AsyncClient, **changes: object) -> dict[str, object]:
    body = {name: value for name, value in (WHOLE | changes).items() if value is not None}
    return is_good(await post(http, "/opt-outs", body))


async def end(
    http: httpx.AsyncClient, which: object, body: object, given: dict[str, str] = BEARER
) -> httpx.Response:
    return await http.request("DELETE", f"/v1/opt-outs/{which}", json=body, headers=given)


async def bring_in(
    http: httpx.AsyncClient, content: str | bytes, query: str = ""
) -> httpx.Response:
    given = BEARER | {"content-type": "text/csv"}
    return await http.post(f"/v1/opt-outs/import{query}", content=content, headers=given)


async def test_one_is_recorded_counts_is_ended_and_stays_on_record(
    http: httpx.AsyncClient,
) -> None:
    made = await create(http)
    assert made == {
        "id": made["id"],
        "user_number": USER,
        "agent_number": None,
        "project": "reminders",
        "standing": True,
        "opted_out_at": "2026-03-02T09:00:00Z",
        "source": "caller",
        "words": None,
        "reason": "Called us.",
        "opted_in_at": None,
        "opted_in_source": None,
        "opted_in_words": None,
        "opted_in_reason": None,
        "already_opted_out": False,
    }
    assert await create(http, reason="Again.") == made | {"already_opted_out": True}
    assert (await send(http))["state"] == "suppressed"

    ended = is_good(await end(http, made["id"], {"reason": "Web form."}))
    assert (ended["standing"], ended["opted_in_source"]) == (False, "caller")
    assert (ended["opted_in_at"], ended["opted_in_reason"]) == (
        *("2026-03-02T09:00:00Z",),
        "Web form.",
    )
    assert (await send(http))["state"] == "queued"
    is_problem(await end(http, made["id"], {"reason": "x"}), 409, "conflict", "has ended already")
    assert (await get(http, "/opt-outs"))["data"] == [ended]


async def test_those_that_users_said_are_listed_too_and_found_by_what_is_known(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    said = Inbound(carrier_message_id="IN", agent_number=AGENT, user_number=OTHER, text="Stop!")
    await inbound.hear(engine, CarrierId("acme-twilio"), said, now=NOW)
    whole = await create(http)

    async def found(**query: object) -> list[tuple[str, str | None]]:
        listed = (await get(http, "/opt-outs", **query))["data"]
        return [(each["user_number"], each["words"]) for each in listed]

    both = {(USER, None), (OTHER, "Stop!")}
    assert set(await found()) == set(await found(project="reminders", standing="true")) == both
    assert await found(user_number=OTHER) == await found(agent_number=AGENT) == [(OTHER, "Stop!")]
    assert await found(standing="false") == await found(project="nothing") == []
    seen = [each["id"] async for page in pages(http, "/opt-outs", 1) for each in page]
    assert (len(seen), whole["id"] in seen) == (2, True)
    theirs = await http.get("/v1/opt-outs", headers=GLOBEX)
    assert is_good(theirs)["data"] == []
    is_problem(
        await end(http, whole["id"], {"reason": "x"}, GLOBEX), 404, "unknown-resource", "no opt-out"
    )


async def test_what_is_wrong_with_one_is_said_and_nothing_is_stored(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    wrong: list[tuple[dict[str, object], int, str, str]] = [
        ({"reason": None}, 400, "bad-request", "reason is missing"),
        ({"reason": " "}, 400, "bad-request", "A reason has"),
        ({"user_number": "x"}, 400, "bad-request", "user_number must be"),
        ({"agent_number": AGENT}, 400, "bad-request", "and not both"),
        ({"project": None}, 400, "bad-request", "Give agent_number, or project"),
        ({"project": "globex-project"}, 404, "unknown-resource", "no project"),
        (
            {"project": None, "agent_number": "+14155550999"},
            *(400, "number-not-provisioned", "not one of this account's"),
        ),
    ]
    for changes, status, kind, saying in wrong:
        body = {name: value for name, value in (WHOLE | changes).items() if value is not None}
        is_problem(await post(http, "/opt-outs", body), status, kind, saying)
    is_problem(await end(http, UNKNOWN, {"reason": "x"}), 404, "unknown-resource", "no opt-out")
    is_problem(await end(http, "opt_x", {"reason": "x"}), 404, "unknown-resource", "no opt-out")
    is_problem(await end(http, UNKNOWN, {}), 400, "bad-request", "reason is missing")
    assert await stored(engine) == {}


async def test_what_is_exported_can_be_imported_and_changes_nothing(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    await create(http)
    await create(http, user_number=OTHER, project=None, agent_number=AGENT, reason='=1, "a"\n')
    ended = await create(http, user_number="+14155550125")
    is_good(await end(http, ended["id"], {"reason": "Web form."}))
    before = await stored(engine)

    answer = await http.get("/v1/opt-outs/export", headers=BEARER)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="opt-outs.csv"'
    correlation_id(answer)
    found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {(row["user_number"], row["agent_number"], row["project"]) for row in found} == {
        (USER, "", "reminders"),
        (OTHER, AGENT, ""),
        ("+14155550125", "", "reminders"),
    }
    standing = await http.get("/v1/opt-outs/export?standing=true", headers=BEARER)
    assert len(standing.text.split("\r\n")) == 4

    done = is_good(await bring_in(http, answer.content))
    assert (done["recorded"], done["already"], done["refused"]) == (0, 2, 1)
    assert await stored(engine) == before
    (refused,) = [row for row in done["rows"] if row["state"] == "refused"]
    assert "has ended" in refused["detail"]


async def test_of_a_file_every_row_counts_by_itself(http: httpx.AsyncClient) -> None:
    content = f"\ufeffUser_Number , note\r\n{USER},x\r\n\r\nAnn,y\r\n{OTHER},z\r\n{USER},again\r\n"
    done = is_good(await bring_in(http, content, "?project=reminders"))
    assert done == {
        "recorded": 2,
        "already": 1,
        "refused": 1,
        "rows": [
            {"row": 1, "user_number": USER, "state": "recorded", "detail": None},
            {
                "row": 2,
                "user_number": "Ann",
                "state": "refused",
                "detail": "user_number must be a phone number in E.164 format, such as "
                "+14155550123.",
            },
            {"row": 3, "user_number": OTHER, "state": "recorded", "detail": None},
            {"row": 4, "user_number": USER, "state": "already", "detail": None},
        ],
    }
    (row,) = is_good(await bring_in(http, f"user_number,project\n{USER},no"))["rows"]
    assert row["detail"] == 'This account has no project "no".'
    (row,) = is_good(await bring_in(http, f"user_number\n{USER}"))["rows"]
    assert row["detail"].startswith("Give agent_number, or project")


@pytest.mark.parametrize(
    ("content", "query", "saying"),
    [
        ("", "", "The first line must name each column once"),
        ("phone\n+1", "", "The first line must name"),
        ("user_number,user_number\n", "", "The first line must name"),
        (b"user_number\n\xff", "", "not UTF-8"),
        ('user_number\n"x', "", "is no CSV"),
        ("user_number\n" + f"{USER}\n" * 2001, "", "more than 2000 rows"),
        ("user_number\n", "?project=a&agent_number=%2B14155550100", "not both"),
        ("user_number\n", "?projekt=a", "There is no such query parameter"),
    ],
)
async def test_what_is_no_such_file_is_refused_whole(
    http: httpx.AsyncClient, engine: AsyncEngine, content: str | bytes, query: str, saying: str
) -> None:
    is_problem(await bring_in(http, content, query), 400, "bad-request", saying)
    assert await stored(engine) == {}


async def test_a_file_that_is_too_large_or_of_no_type_is_refused(http: httpx.AsyncClient) -> None:
    is_problem(await bring_in(http, b"x" * (1 << 20) + b"x"), 413, "too-large", "1024 KB")
    answer = await http.post("/v1/opt-outs/import", content=b"user_number", headers=BEARER)
    is_problem(answer, 400, "bad-request", "Content-Type: text/csv")
