# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""/openapi.json against the standard and against what the route really does; /docs offline."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from pathlib import Path
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

from tests.support.api import ROUTE, headers, is_refused, rows, served
from tests.support.provision import STANDARD_YAML, provision
from textback import wiring
from textback.api import openapi_schemas
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
    fields = {"user_number", "message", "agent_number", "messaging_service_sid"}
    assert set(body["properties"]) == fields
    assert body["properties"]["user_number"]["pattern"] == r"^(rcs:)?\+[1-9]\d{1,14}$"
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
        max_examples=40,
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


SOMEBODY_WHO_IS_THERE = """\
[parameters]
"path.account_id" = "acme"
"path.project_id" = "reminders"
"path.agent_id" = "bookings"
"header.X-TOKEN" = "conn-live"
"""
"""Else every request ends at its path."""


@pytest.mark.parametrize(
    "which",
    [
        ["--include-path", ROUTE, "--phases", "examples,coverage,stateful"],
        ["--include-path-regex", "/chat/|/v3/|/v1/agents/.*/conversations/", "--phases=coverage"],
    ],
    ids=["sending", "reading and chatting"],
)
async def test_schemathesis_finds_nothing_in_any_operation(
    ample: str, tmp_path: Path, which: list[str]
) -> None:
    """Each limit, each missing and doubled part, each other method; chance is above.

    Without two checks, for which every number of the right shape is possible, and a missing header
    is 406.
    """
    (tmp_path / "schemathesis.toml").write_text(SOMEBODY_WHO_IS_THERE)
    program = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).with_name("schemathesis"), "run", f"{ample}/openapi/polyai.json"),
        *(
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance,missing_required_header",
        ),
        *(
            "--seed",
            "1",
            "--generation-database",
            "none",
            "--no-color",
        ),
        *which,
        *(f"--header={name}: {value}" for name, value in headers().items()),
        cwd=tmp_path,
        stdout=PIPE,
        stderr=STDOUT,
    )
    async with asyncio.timeout(120):
        said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert "❌" not in said.decode()


# --- Every route -------------------------------------------------------------------------------

UNDESCRIBED = {
    ("POST", "/hooks/{carrier}/inbound"),
    ("POST", "/hooks/{carrier}/status"),
    *(
        (method, path)
        for method in ("GET", "HEAD")
        for path in (
            *("/health/live", "/health/ready", "/metrics"),
            *("/docs", "/docs/{name}", "/openapi/{name}.json", "/openapi.json"),
        )
    ),
    ("any", "/docs/assets"),
    ("any", "/{any}%0A"),
}
"""What callers of the API do not use."""


def served_routes(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if (inside := getattr(route, "original_router", None)) is not None:
            yield from served_routes(inside.routes)
        else:
            for method in getattr(route, "methods", None) or ["any"]:
                yield method, route.path


def test_every_route_is_described_or_named_as_not_described(
    rt: Runtime, described: dict[str, Any]
) -> None:
    app = wiring.application(rt, owns=False).app
    told = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    assert set(served_routes(app.routes)) == told | UNDESCRIBED
    assert not told & UNDESCRIBED


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


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/..%2f..%2f__init__.py", "/%2e%2e/%2e%2e/__init__.py", "//etc/passwd", "/%00"),
        *("/" + "a" * 5_000, "/%ff%ed%a0%80", "/..%5c..%5cx", "/nothing"),
    ],
)
async def test_what_is_no_asset_is_404_in_our_shape(http: httpx.AsyncClient, path: str) -> None:
    is_refused(await http.get(f"/docs/assets{path}"), 404, counted=False)
    is_refused(await http.get(f"/docs/assets{path}?%00=%ff"), 404, counted=False)


@pytest.mark.parametrize("ranges", ["bytes=0-1", "bytes=-0", "bytes=9-1,2-3", "nonsense", "\xff"])
async def test_an_asset_is_given_whole_whatever_part_is_asked_for(
    http: httpx.AsyncClient, ranges: str
) -> None:
    asked = {b"range": ranges.encode("latin-1")}
    answer = await http.get("/docs/assets/swagger-ui.css", headers=list(asked.items()))
    assert (answer.status_code, len(answer.content) > 1000) == (200, True)


def test_a_description_that_raises_is_asked_for_by_the_next_document_too() -> None:
    asked = list[str]()

    def describe() -> dict[str, str]:
        asked.append("again")
        if len(asked) == 1:
            raise ValueError("not yet")
        return {"summary": "described"}

    openapi_schemas.describe_all()  # what others left
    found = openapi_schemas.later(describe)
    with pytest.raises(ValueError, match="not yet"):
        openapi_schemas.describe_all()
    openapi_schemas.describe_all()
    assert found == {"summary": "described"}
