# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""/openapi/native.json against what the routes that manage really do."""

import asyncio
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

from tests.support.api import client, served, started
from tests.support.api import settings as of
from tests.support.native import BEARER
from tests.support.wire import Wire
from textback.runtime import Runtime

TAG = "Administration"
IDS = {
    "id": "none",
    "number": "+14155550188",
    "key_id": "key_" + "0" * 26,
    "pair_id": "nxf_" + "0" * 32,
    "client_id": "cs-00000000-0000-4000-8000-000000000000",
}
THERE = {"id": "bookings", "number": "+14155550100"}
"""What there is, so that not all that chance asks for is unknown."""

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@pytest.fixture
async def described(http: httpx.AsyncClient) -> dict[str, Any]:
    return (await http.get("/openapi/native.json")).json()


def ours(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, told)
        for path, item in described["paths"].items()
        for method, told in item.items()
        if TAG in told["tags"]
    ]


async def test_what_every_route_may_answer_happens(
    http: httpx.AsyncClient,
    described: dict[str, Any],
    provisioned: AsyncEngine,
    database_url: str,
    redis_url: str,
) -> None:
    assert provisioned is not None
    found = ours(described)
    assert len(found) == 46
    async with Wire(database_url) as lost, started(of(lost.url, redis_url)) as rt:
        lost.cut()
        async with client(rt) as nobody:
            for method, path, told in found:
                statuses, url = set(told["responses"]), path.format(**IDS)
                assert told["description"]
                assert (await http.request(method, url)).status_code == 401
                answer = await nobody.request(method, url, headers=BEARER)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
                provoked = {"401", "403", "500", "503"}
                if "requestBody" in told:
                    given = BEARER | {"content-type": "application/json"}
                    much = b"x" * 1_000_001
                    huge = await http.request(method, url, content=much, headers=given)
                    broken = await http.request(method, url, content=b"{", headers=given)
                    assert (huge.status_code, broken.status_code) == (413, 400)
                    provoked |= {"400", "413"}
                elif "query" in {each["in"] for each in told["parameters"]}:
                    answer = await http.get(url, headers=BEARER, params={"limit": "x"})
                    assert answer.status_code == 400
                    provoked.add("400")
                if "{" in path:
                    answer = await http.request(method, url, headers=BEARER)
                    assert answer.status_code == 404
                    provoked.add("404")
                # 409 is provoked in the tests of the flows.
                assert statuses - {"200", "201", "204", "409"} == provoked, path


def is_ours(operation: Any) -> bool:
    return TAG in (operation.tags or ())


def exercise(url: str, mode: GenerationMode, examples: int) -> set[int]:
    """Ask what the description allows (or does not), and compare each answer with it."""
    document: Any = schemathesis.openapi.from_url(f"{url}/openapi/native.json")
    checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else [*CHECKS]
    seen = set[int]()
    for operation in (each.ok() for each in document.get_all_operations()):
        if not is_ours(operation):
            continue

        @settings(
            max_examples=examples if operation.body else 2,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            if mode is GenerationMode.POSITIVE:
                for name in THERE.keys() & case.path_parameters.keys():
                    case.path_parameters[name] = THERE[name]
            seen.add(case.call_and_validate(headers=BEARER, checks=checks).status_code)

        ask()
    return seen


@pytest.mark.parametrize(
    ("mode", "examples"), [(GenerationMode.POSITIVE, 8), (GenerationMode.NEGATIVE, 6)]
)
async def test_whatever_is_asked_is_answered_as_described(
    rt: Runtime, mode: GenerationMode, examples: int
) -> None:
    async with served(rt) as url:
        seen = await asyncio.to_thread(exercise, url, mode, examples)
    wanted = {200, 201} if mode is GenerationMode.POSITIVE else {400, 404}
    assert wanted <= seen
