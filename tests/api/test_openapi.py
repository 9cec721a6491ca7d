# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""/openapi.json against the standard and against what the route really does; /docs offline."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import ROUTE, headers, rows, served
from tests.support.provision import STANDARD_YAML, provision
from textback.dialects.polyai import wire
from textback.runtime import Runtime

STATUSES = {"202", "400", "401", "403", "404", "409", "429", "500", "503"}
COUNTED = {"ratelimit", "ratelimit-policy"}


@pytest.fixture
async def described(http: httpx.AsyncClient) -> dict[str, Any]:
    return (await http.get("/openapi.json")).json()


@pytest.fixture
async def operation(described: dict[str, Any]) -> dict[str, Any]:
    return described["paths"][ROUTE]["post"]


def names(found: Mapping[str, Any]) -> set[str]:
    return {name.lower() for name in found}


def test_the_document_is_valid_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(described).validate()


def test_only_what_callers_use_is_described(described: dict[str, Any]) -> None:
    assert {path: list(item) for path, item in described["paths"].items()} == {ROUTE: ["post"]}


def test_exactly_the_statuses_of_the_route_are_described(operation: dict[str, Any]) -> None:
    assert set(operation["responses"]) == STATUSES
    assert {int(status) for status in STATUSES} == {202, 500, *wire.STATUS.values()}


def test_every_error_is_one_sentence_and_202_has_no_body(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status == "202":
            assert "content" not in response
            continue
        [(media_type, content)] = response["content"].items()
        schema = content["schema"]
        assert media_type == "application/json"
        assert (list(schema["properties"]), schema["required"]) == (["detail"], ["detail"])
        assert schema["properties"]["detail"]["type"] == "string"


def test_headers_are_described_where_they_are_sent(operation: dict[str, Any]) -> None:
    sent = {
        status: names(response["headers"]) for status, response in operation["responses"].items()
    }
    assert all("x-polyai-correlation-id" in found for found in sent.values())
    assert {status for status, found in sent.items() if found >= COUNTED} == STATUSES - {
        "401",
        "403",
    }
    assert {status for status, found in sent.items() if "retry-after" in found} == {"429", "503"}
    assert sent["202"] >= {"x-conversation-id", "x-message-id", "idempotent-replayed"}


def test_headers_that_are_always_sent_are_marked_so(operation: dict[str, Any]) -> None:
    always = {
        status: {name.lower() for name, h in response["headers"].items() if h.get("required")}
        for status, response in operation["responses"].items()
    }
    every = {"x-polyai-correlation-id"}
    assert always == dict.fromkeys(STATUSES, every) | {
        "202": every | {"x-conversation-id", "x-message-id"},
        "429": every | COUNTED | {"retry-after"},
        "503": every | {"retry-after"},
    }


def test_the_request_is_described_with_its_limits(operation: dict[str, Any]) -> None:
    given = {parameter["name"].lower(): parameter for parameter in operation["parameters"]}
    required = {name for name, parameter in given.items() if parameter["required"]}
    assert set(given) == {"x-polyai-auth-token", "x-token-id", "idempotency-key"}
    assert required == {"x-polyai-auth-token", "x-token-id"}
    assert given["idempotency-key"]["schema"]["maxLength"] == 255
    assert operation["requestBody"]["required"] is True
    assert "64 KB" in operation["requestBody"]["description"]
    assert list(operation["requestBody"]["content"]) == ["application/json"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["user_number"]
    assert set(body["properties"]) == {"user_number", "message", "agent_number"}
    assert body["properties"]["user_number"]["pattern"] == r"^\+[1-9]\d{1,14}$"
    assert body["properties"]["message"]["anyOf"][0]["maxLength"] == 1600


# --- What it describes is what happens ---------------------------------------------------------


@pytest.fixture
async def ample(rt: Runtime, engine: AsyncEngine) -> AsyncGenerator[str]:
    """Served with a limit that no test reaches."""
    limit = "agent: bookings\n        rate_limit: {requests: 1000000, per_seconds: 60}\n"
    await provision(engine, STANDARD_YAML.replace("agent: bookings\n", limit))
    async with served(rt) as url:
        yield url


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def exercise(url: str, mode: GenerationMode, given_headers: Mapping[str, str]) -> set[int]:
    """Ask what the description allows (or does not), and compare each answer with it."""
    operation: Any = schemathesis.openapi.from_url(f"{url}/openapi.json")[ROUTE]["POST"]
    seen = set[int]()

    @settings(
        max_examples=80,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        checks = [*CHECKS]
        if mode is GenerationMode.NEGATIVE:
            checks.append(negative_data_rejection)
        answer = case.call_and_validate(headers=dict(given_headers), checks=checks)
        seen.add(answer.status_code)

    ask()
    return seen


@pytest.mark.parametrize("known", [True, False], ids=["with a good key", "with any key"])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_whatever_is_asked_is_answered_as_described(
    ample: str, engine: AsyncEngine, mode: GenerationMode, *, known: bool
) -> None:
    seen = await asyncio.to_thread(exercise, ample, mode, headers() if known else {})
    assert seen <= ({202, 400, 401, 404, 409} if known else {400, 401})
    accepted = 202 in seen
    assert bool(await rows(engine, "select 1 from messages limit 1")) is accepted


# --- /docs -------------------------------------------------------------------------------------


async def test_the_page_and_all_it_loads_come_from_us(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(https?:)?//[a-z]", page.text)
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 3
    for asset in assets:
        answer = await http.get(f"/{asset}")
        assert (answer.status_code, len(answer.content) > 500) == (200, True)
        if asset.endswith(".css"):
            assert not re.search(r"(@import|url\(\s*['\"]?(https?:)?//)", answer.text)
    assert "url: 'openapi.json'" in page.text
