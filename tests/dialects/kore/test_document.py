# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""Kore.ai's document, against the standard and against what the route really does."""

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

from tests.support.api import served
from tests.support.kore import BOT, token
from textback.dialects.kore import wire
from textback.runtime import Runtime

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def exercise(url: str, mode: GenerationMode, **known: Any) -> set[int]:
    """Ask what the description allows (or does not), and compare each answer with it."""
    document = schemathesis.openapi.from_url(f"{url}/openapi/kore.json")
    operation: Any = document[wire.ROUTE]["POST"]
    seen = set[int]()

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        rejects = [negative_data_rejection] if mode is GenerationMode.NEGATIVE else []
        if known:
            case.path_parameters = {"BotId": BOT}
        seen.add(case.call_and_validate(checks=[*CHECKS, *rejects], **known).status_code)

    ask()
    return seen


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_whatever_is_asked_is_answered_as_described(
    rt: Runtime, mode: GenerationMode
) -> None:
    async with served(rt) as url:
        seen = await asyncio.to_thread(exercise, url, mode)
        known = await asyncio.to_thread(exercise, url, mode, headers={"auth": token()})
    assert seen <= {400, 401}  # 400: what no HTTP server takes
    assert known <= {200, 400, 404} | ({401} if mode is GenerationMode.NEGATIVE else set())


async def test_the_document_is_valid_and_describes_every_status(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi/kore.json")).json()
    schemathesis.openapi.from_dict(document).validate()
    assert list(document["paths"]) == [wire.ROUTE]
    operation = document["paths"][wire.ROUTE]["post"]
    # 409 is of refusals that this route does not meet; what it imports makes them for others.
    told = {int(status) for status in operation["responses"]}
    assert told == {200, 500, *wire.STATUS.values()} - {409}
    assert "\n".join(operation["requestBody"]["content"]) == "application/json"
