# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""/openapi/native.json against what our own routes really do."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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

from tests.support.api import client, execute, served, started
from tests.support.api import settings as of
from tests.support.native import BEARER, send
from tests.support.wire import Wire
from textback.dialects.native import wire
from textback.runtime import Runtime

MINE = {"Messages", "Conversations", "Opt-outs", "Account"}
PROBLEM = "application/problem+json"
ALWAYS = {"401", "500", "503"}
IDS = {
    "conversation_id": "conv_" + "0" * 26,
    "message_id": "msg_" + "0" * 26,
    "opt_out_id": "opt_" + "0" * 26,
}

PROVOKED_BY_NAME = {
    "sendMessage": {"404", "409", "429"},
    "changeConversation": {"409"},
    "eraseConversation": {"409"},
    "handOffConversation": {"409"},
    "sayInConversation": {"409"},
    "resumeConversation": {"409"},
    "createOptOut": {"404"},
    "endOptOut": {"409"},
}
"""In the tests of the routes, because each needs something that went before."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    told: dict[str, Any]

    @property
    def name(self) -> str:
        return self.told["operationId"]

    @property
    def statuses(self) -> set[str]:
        return set(self.told["responses"])

    @property
    def url(self) -> str:
        return self.path.format(**IDS)

    @property
    def media_type(self) -> str | None:
        found = self.told.get("requestBody")
        return None if found is None else next(iter(found["content"]))

    @property
    def has_query(self) -> bool:
        return any(each["in"] == "query" for each in self.told["parameters"])


@pytest.fixture
async def described(http: httpx.AsyncClient) -> dict[str, Any]:
    return (await http.get("/openapi/native.json")).json()


def operations(described: Mapping[str, Any]) -> Iterator[Operation]:
    for path, item in described["paths"].items():
        for method, told in item.items():
            if MINE & set(told["tags"]):
                yield Operation(method.upper(), path, told)


async def ask(http: httpx.AsyncClient, it: Operation, **more: Any) -> httpx.Response:
    given = BEARER | ({} if it.media_type is None else {"content-type": it.media_type})
    asked: dict[str, Any] = {"headers": given, **more}
    return await http.request(it.method, it.url, **asked)


def is_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM


def test_the_document_is_valid_openapi_and_shows_how_to_ask(described: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(described).validate()
    schemes = described["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    found = list(operations(described))
    assert len(found) == 20
    for it in found:
        assert it.told["security"] == [{name: []} for name in schemes]
        assert it.told["description"]
        if it.media_type == "application/json":
            assert it.told["requestBody"]["content"]["application/json"]["schema"]["example"]
        for status, response in it.told["responses"].items():
            assert "X-PolyAI-Correlation-Id" in response["headers"]
            assert ("Retry-After" in response["headers"]) is (status in {"429", "503"})
            assert ("WWW-Authenticate" in response["headers"]) is (status == "401")
            if status[0] in "45" and status != "500":
                assert list(response["content"]) == [PROBLEM]
    assert {s for it in found for s in it.statuses} <= {str(s) for s in wire.STATUS.values()} | {
        *("200", "202", "500")
    }


async def test_every_error_that_is_described_happens(
    http: httpx.AsyncClient, engine: AsyncEngine, described: dict[str, Any]
) -> None:
    for it in operations(described):
        provoked = set(ALWAYS) | PROVOKED_BY_NAME.get(it.name, set())
        is_problem(await ask(http, it, headers={}), 401)
        if it.media_type is not None:
            is_problem(await ask(http, it, content=b"x" * (1 << 20) + b"x"), 413)
            provoked.add("413")
        if it.media_type is not None or it.has_query:
            wrong: dict[str, Any] = (
                {"params": {"nothing": "1"}} if it.has_query else {"content": b"{"}
            )
            # What can be asked of is looked for first, where that costs nothing.
            is_problem(await ask(http, it, **wrong), 400)
            provoked.add("400")
        if "{" in it.path:
            body = {"text": "x"} if it.name == "sayInConversation" else {"reason": "x"}
            bodies: dict[str, Any] = {
                "json": body if it.name in {"sayInConversation", "endOptOut"} else {}
            }
            is_problem(await ask(http, it, **(bodies if it.media_type else {})), 404)
            provoked.add("404")
        await execute(engine, "update api_keys set scopes = '[]'")
        if "403" in it.statuses:
            is_problem(await ask(http, it), 403)
            provoked.add("403")
        await execute(engine, "update api_keys set scopes = null")
        assert {s for s in it.statuses if s[0] in "45"} == provoked, it.name


async def test_without_a_database_every_route_says_try_again(
    provisioned: AsyncEngine, database_url: str, redis_url: str, described: dict[str, Any]
) -> None:
    assert provisioned is not None
    async with Wire(database_url) as lost, started(of(lost.url, redis_url)) as rt:
        lost.cut()
        async with client(rt) as http:
            for it in operations(described):
                answer = await ask(http, it)
                is_problem(answer, 503)
                assert answer.headers["retry-after"] == "2"


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


ELSEWHERE = {"Batches", "Planned sends", "Administration"}
"""Asked in `test_batches_described.py` and `test_admin_described.py`; all else is, here."""


def exercise(
    url: str, mode: GenerationMode, examples: int, path: Mapping[str, str]
) -> dict[str, set[int]]:
    """Ask what the description allows (or does not), and compare each answer with it."""
    document: Any = schemathesis.openapi.from_url(f"{url}/openapi/native.json")
    found = [each.ok() for each in document.get_all_operations()]
    mine = [each for each in found if not ELSEWHERE & set(each.tags)]
    mine.sort(key=lambda each: each.method == "delete")  # after those that need what is there
    return {
        each.definition.raw["operationId"]: exercise_one(each, mode, examples, path)
        for each in mine
    }


def exercise_one(
    operation: Any, mode: GenerationMode, examples: int, path: Mapping[str, str]
) -> set[int]:
    checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else [*CHECKS]
    answers = set[int]()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            there = {name: path[name] for name in case.path_parameters or () if name in path}
            case.path_parameters = {**(case.path_parameters or {}), **there}
        answers.add(case.call_and_validate(headers=BEARER, checks=checks).status_code)

    ask()
    return answers


async def what_is_there(http: httpx.AsyncClient) -> dict[str, str]:
    """One of each that a path can name."""
    webhook = (await http.post("/v1/webhooks", json={"url": None}, headers=BEARER)).json()
    sent = await send(http)
    polled = await http.get(f"/v1/webhooks/{webhook['id']}/deliveries", headers=BEARER)
    no = {"user_number": "+14155550177", "project": "reminders", "reason": "said so"}
    opt_out = (await http.post("/v1/opt-outs", json=no, headers=BEARER)).json()
    return {
        "conversation_id": sent["conversation_id"],
        "message_id": sent["message_id"],
        "opt_out_id": opt_out["id"],
        "webhook_id": webhook["id"],
        "delivery_id": polled.json()["data"][0]["id"],
    }


@pytest.mark.parametrize(
    ("mode", "examples"), [(GenerationMode.POSITIVE, 8), (GenerationMode.NEGATIVE, 6)]
)
async def test_whatever_is_asked_is_answered_as_described(
    rt: Runtime, mode: GenerationMode, examples: int
) -> None:
    async with served(rt) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            path = await what_is_there(http)
        seen = await asyncio.to_thread(exercise, url, mode, examples, path)
    assert len(seen) >= 35
    assert (200 if mode is GenerationMode.POSITIVE else 400) in seen["listMessages"]
