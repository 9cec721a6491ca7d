"""A table is uploaded, and every recipient in it is texted."""

import json
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows
from tests.support.bland import AGENT, KEY, OTHERS, READER, THEIRS, good, post, refused
from textback.dialects.bland import batching
from textback.dialects.bland.wire import Wrong

PUBLISHED = b"""\
phone_number,first_name,request_data.account_id
+14155551234,Alice,acc_001
10987654321,Bob,acc_002
"""
WRONG = b"not a number,Eve,acc_003\n"
ROWS = "select * from planned_sends order by row"


async def attach(
    http: httpx.AsyncClient,
    content: bytes,
    *,
    key: str = KEY,
    kind: str = "batches",
    name: str = "people.csv",
) -> httpx.Response:
    return await http.post(
        "/v1/files/attach",
        files={"file": (name, content, "text/csv")},
        data={"file_type": kind},
        headers={"authorization": key},
    )


async def attached(http: httpx.AsyncClient, content: bytes = PUBLISHED) -> str:
    return str(good(await attach(http, content))["file_id"])


async def test_every_recipient_is_texted_with_what_the_table_says_of_them(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    file_id = await attached(http, PUBLISHED + WRONG)
    asked = {
        "file_id": file_id,
        "global": {
            "agent_number": AGENT,
            "agent_message": "Hi {{first_name}}, of {{shop}}{{nothing}}!",
            "request_data": {"shop": "Acme", "first_name": "you"},
            "metadata": {"campaign": 3},
            "persona_id": "mia",
            "disposition_ids": ["d1"],
            "webhook": "https://hooks.example.com/batch",
            "channel": "",
        },
        "column_mapping": {"first_name": "request_data"},
    }
    first = await post(http, "/batch", asked, idempotency_key="k")
    data = good(first)
    assert list(data) == ["message", "batch_id", "workflow_id"]
    assert data["batch_id"] == file_id
    again = await post(http, "/batch", asked, idempotency_key="k")
    assert again.content == first.content
    [batch] = await rows(engine, "select * from batches")
    assert (batch["dialect"], batch["name"], batch["total"]) == ("bland", "people.csv", 3)
    command: Any = batch["command"]
    alice, bob, eve = await rows(engine, ROWS)
    assert (alice["user_number"], bob["user_number"]) == ("+14155551234", "+10987654321")
    assert [row["state"] for row in (alice, bob, eve)] == ["planned", "planned", "refused"]
    own: Any = alice["command"]
    assert own["text"] == "Hi Alice, of Acme!"
    assert own["variables"] == {"shop": "Acme", "first_name": "Alice", "account_id": "acc_001"}
    assert command["metadata"] == {"campaign": 3}
    assert command["notify"]["format"] == "bland"
    assert command["thread"] == "resume"


CANNOT: Final[list[tuple[dict[str, object], int, str]]] = [
    ({"file_id": None}, 400, "MISSING_FILE_ID"),
    ({"file_id": ""}, 400, "MISSING_FILE_ID"),
    ({"file_id": "file_abc123"}, 404, "FILE_NOT_FOUND"),
    ({"file_id": "019cadc6-9a80-7fc5-9156-0a3421d82f84"}, 404, "FILE_NOT_FOUND"),
    ({"global": None}, 400, "MISSING_REQUIRED_FIELDS"),
    ({"global": {"agent_message": "Hi."}}, 400, "MISSING_REQUIRED_FIELDS"),
    ({"global": "x"}, 400, "INVALID_REQUEST"),
    ({"global": {"agent_number": THEIRS}}, 404, "AGENT_NUMBER_NOT_FOUND"),
    ({"global": {"agent_number": "+14155550190"}}, 404, "AGENT_NUMBER_NOT_FOUND"),
    ({"global": {"agent_number": AGENT, "objective": 5}}, 400, "INVALID_OBJECTIVE"),
    ({"global": {"agent_number": AGENT, "time_out": -1}}, 400, "INVALID_TIMEOUT_CONFIG"),
    ({"global": {"agent_number": AGENT, "persona_id": "x"}}, 400, "INVALID_AGENT"),
    ({"column_mapping": {"first_name": "pathway_id"}}, 400, "INVALID_REQUEST"),
    ({"column_mapping": {"phone_number": "request_data"}}, 400, "INVALID_FILE"),
    ({"column_mapping": {"age": "request_data"}}, 400, "INVALID_FILE"),
]


async def test_a_batch_that_cannot_be_made_is_refused_as_documented(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    body = {"file_id": await attached(http), "global": {"agent_number": AGENT}}
    for asked, status, code in CANNOT:
        refused(await post(http, "/batch", body | asked), status, code)
    assert await rows(engine, "select 1 from batches") == []


async def test_a_file_is_its_accounts_and_is_looked_at_when_it_comes(
    http: httpx.AsyncClient,
) -> None:
    file_id = await attached(http)
    body = {"file_id": file_id, "global": {"agent_number": THEIRS}}
    refused(await post(http, "/batch", body, key=OTHERS), 404, "FILE_NOT_FOUND")
    refused(await attach(http, PUBLISHED, key=READER), 403, "FORBIDDEN")
    refused(await attach(http, PUBLISHED, kind="knowledge"), 400, "INVALID_FILE_TYPE")
    refused(await attach(http, b"\xff\xfe"), 400, "INVALID_REQUEST")
    refused(await attach(http, b"phone_number\n\0"), 400, "INVALID_REQUEST")
    refused(await attach(http, b"phone\n+14155551234\n"), 400, "INVALID_FILE")
    refused(await attach(http, b"x" * (5 * 1024 * 1024)), 413, "REQUEST_TOO_LARGE")
    for content in (b"", b"nonsense", b"--x\r\n\r\n--x--"):
        answer = await http.post(
            "/v1/files/attach",
            content=content,
            headers={"authorization": KEY, "content-type": "multipart/form-data; boundary=x"},
        )
        refused(answer, 400, "MISSING_REQUIRED_FIELDS")
    as_json = {"file_type": "batches", "content": json.dumps([{"phone_number": "14155551234"}])}
    given = {"authorization": KEY}
    good(await http.post("/v1/files/attach", json=as_json, headers=given))
    answer = await http.post("/v1/files/attach", json={"file_type": "batches"}, headers=given)
    refused(answer, 400, "MISSING_REQUIRED_FIELDS")


# --- How a table is read ------------------------------------------------------------------------


def test_json_is_read_as_csv_is() -> None:
    table = [
        {"phone_number": 14155551234, "first_name": "Ada", "request_data": {"a": 1}},
        {"phone_number": "+14155551235", "request_data.b": True, "request_data": None},
        {},
    ]
    found = batching.rows(json.dumps(table), {"first_name": "request_data"})
    assert [(row.to, row.variables) for row in found] == [
        ("+14155551234", {"a": 1, "first_name": "Ada"}),
        ("+14155551235", {"b": True}),
        ("", {}),
    ]


def test_a_csv_may_have_blank_lines_quotes_and_rows_of_other_lengths() -> None:
    table = 'phone_number, note \r\n\r\n14155551234,"a, ""b""\nc"\r\n+1,x,y\r\n+2\r\n'
    found = batching.rows(table, {})
    assert [(row.to, row.variables, row.wrong) for row in found] == [
        ("+14155551234", {"note": 'a, "b"\nc'}, None),
        ("+1", {"note": "x"}, "The row has 3 values for 2 columns."),
        ("+2", {}, None),
    ]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("", "no row"),
        ("phone_number\n", "no row"),
        ("Phone_Number\n+1\n", "no column phone_number"),
        ("phone_number,a,a\n+1,2,3\n", "two columns a"),
        ('phone_number\n"+1\n', "Line 2 of the file is no CSV"),
        ("phone_number," * 101 + "\n", "more than 100 columns"),
        ("phone_number\n" + "+1\n" * 10_001, "more than 10000 rows"),
        ("[]", "no row"),
        ("[1]", "Row 1 of the file is no JSON object"),
        ("[{]", "no JSON array"),
        ('[{"phone_number": "+1", "a": %s}]' % ("[" * 300 + "]" * 300), "no JSON array"),
        ('[{"phone_number": NaN}]', "no JSON array"),
        ("[" * 100_000, "no JSON array"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(table: str, why: str) -> None:
    with pytest.raises(Wrong, match=why) as refusal:
        batching.rows(table, {})
    assert refusal.value.code == "INVALID_FILE"
