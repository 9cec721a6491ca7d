# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""Bland AI's document, against the standard and against what the routes really do."""

import asyncio
import re
from pathlib import Path
from typing import Any, Final

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import execute, served
from tests.support.bland import AGENT, KEY, USER, ask, hear, send
from textback.dialects import bland
from textback.runtime import Runtime

PAGE: Final = Path(__file__).parents[3] / "docs" / "compatibility" / "bland.md"

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)
KNOWN = {"user_number": USER, "agent_number": AGENT, "phone_number": AGENT}


def exercise(url: str, conversation: str) -> dict[str, set[int]]:
    """Ask of each operation what the description allows, and what not; gives what it answered."""
    document = schemathesis.openapi.from_url(f"{url}/openapi/bland.json")
    seen: dict[str, set[int]] = {}
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation: Any = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        seen[name] = set()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not operation.body:
                continue  # nothing of it can be wrong but what is asked with other routes, too
            seen[name] |= asked(operation, mode, conversation)
    return seen


def asked(operation: Any, mode: GenerationMode, conversation: str) -> set[int]:
    statuses = set[int]()
    is_good = mode is GenerationMode.POSITIVE

    @settings(
        max_examples=5,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if is_good and isinstance(case.body, dict):
            case.body |= {name: KNOWN[name] for name in KNOWN if name in case.body}
        if is_good and "conversation_id" in (case.path_parameters or {}):
            case.path_parameters = {"conversation_id": conversation}
        checks = [*CHECKS, *([] if is_good else [negative_data_rejection])]
        answer = case.call_and_validate(checks=checks, headers={"authorization": KEY})
        statuses.add(answer.status_code)

    ask()
    return statuses


async def test_whatever_is_asked_is_answered_as_described(
    rt: Runtime, http: httpx.AsyncClient
) -> None:
    conversation = (await send(http))["conversation_id"]
    async with served(rt) as url:
        seen = await asyncio.to_thread(exercise, url, conversation)
    for name, statuses in seen.items():
        assert statuses <= {200, 202, 400, 401, 404, 409, 413, 429}, name
    good = {name for name, statuses in seen.items() if statuses & {200, 202}}
    assert good >= {
        "POST /v1/sms/send",
        "POST /v1/sms/number/update",
        "GET /v1/sms/numbers",
        "POST /v1/sms/conversations/{conversation_id}/end",
    }


async def test_the_document_is_valid_and_says_how_each_route_refuses(
    http: httpx.AsyncClient,
) -> None:
    document = (await http.get("/openapi/bland.json")).json()
    schemathesis.openapi.from_dict(document).validate()
    names = [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    assert len(names) > len(document["paths"]) > 10
    for _, path, operation in names:
        told = set(operation["responses"])
        assert told >= {"400", "401", "403", "500", "503"}, path
        assert ("404" in told) >= ("{conversation_id}" in path)
        assert operation["security"] == [{"Bland": []}]


def strict(schema: Any) -> Any:
    """As it is, but that no object may have a field which it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return {name: strict(value) for name, value in schema.items()} | closed


async def test_what_is_read_of_a_conversation_is_described_to_the_last_field(
    http: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    more = {"pathway_id": "intake", "metadata": {"a": 1}, "webhook": "https://example.com/hook"}
    shown = (await send(http, **more))["conversation_id"]
    await hear(engine, "Hello?")
    paths = (await http.get("/openapi/bland.json")).json()["paths"]
    one = "/v1/sms/conversations/{conversation_id}"

    async def is_described(method: str, path: str, body: Any = None) -> None:
        answers = paths[path][method.lower()]["responses"]["200"]["content"]
        schema = answers["application/json"]["schema"]
        there = path.removeprefix("/v1/sms").format(conversation_id=shown)
        answer = await ask(http, method, there, body)
        assert answer.status_code == 200, answer.text
        Draft202012Validator(strict(schema)).validate(answer.json())
        data = schema["properties"].get("data") or schema["properties"]["conversation"]
        assert data.get("items", data)["properties"], path

    async def all_is() -> None:
        await is_described("GET", "/v1/sms/conversations")
        await is_described("GET", one)
        await is_described("GET", f"{one}/webhook")

    await all_is()
    await is_described("PATCH", one, {"is_active": False})
    wanted = '{"summary": true, "values": {"type": "object"}, "outcomes": []}'
    await execute(engine, f"update agent_versions set analysis = '{wanted}'")  # noqa: S608
    made = '{"summary": "S", "values": {"slot": "4pm"}, "outcome": "won"}'
    await execute(engine, f"update conversations set analysis = '{made}'")  # noqa: S608
    await execute(engine, """update webhook_deliveries set body = '{"type":"status"}'""")
    await execute(
        engine,
        "insert into webhook_attempts (delivery_id, number, at, status, milliseconds)"
        " select max(id), 1, now(), 500, 12 from webhook_deliveries",
    )
    await all_is()
    asked = {"schema_id": "intake", "conversation_id": shown}
    await is_described("POST", "/v1/sms/analyze", asked)


def test_the_page_names_every_code() -> None:
    sources = [path.read_text() for path in Path(*bland.__path__).glob("*.py")]
    codes = {code for each in sources for code in re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', each)}
    assert len(codes) > 25
    named = set(re.findall(r"`([A-Z_]+)`", PAGE.read_text()))
    assert sorted(codes - named) == []
