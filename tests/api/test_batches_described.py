# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# schemathesis' own types are half open.
"""Batches and planned sends do what /openapi/native.json says of them, whatever is asked."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
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
from tests.support.provision import ACME_KEY
from textback.dialects.native import batch_wire as wire
from textback.runtime import Runtime

BEARER = {"Authorization": f"Bearer {ACME_KEY}"}
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def ask(operation: Any, mode: GenerationMode, path: Mapping[str, str], examples: int) -> None:
    checks = [*CHECKS, *([negative_data_rejection] if mode is GenerationMode.NEGATIVE else [])]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            case.path_parameters = {**(case.path_parameters or {}), **path}
        case.call_and_validate(headers=BEARER, checks=checks)

    one()


def exercise(url: str, path: Mapping[str, str], examples: int) -> set[tuple[str, str]]:
    """Each operation with what is described, and what is not; gives which there were."""
    document: Any = schemathesis.openapi.from_url(f"{url}/openapi/native.json")
    asked = set[tuple[str, str]]()
    for found in document.get_all_operations():
        operation: Any = found.ok()
        if operation.path.startswith((wire.BATCHES, wire.SENDS)):
            asked.add((operation.method, operation.path))
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.POSITIVE or operation.body or operation.query:
                    ask(operation, mode, path, examples)
    return asked


async def test_whatever_is_asked_of_batches_is_answered_as_described(rt: Runtime):
    async with served(rt) as url:
        async with httpx.AsyncClient(base_url=url, headers=BEARER) as http:
            batch = {"project": "reminders", "rows": [{"to": "+14155570001"}], "draft": True}
            made = (await http.post(wire.BATCHES, json=batch)).json()
            page = (await http.get(f"{wire.BATCHES}/{made['id']}/rows")).json()
        path = {"batch_id": made["id"], "send_id": page["data"][0]["id"]}
        asked = await asyncio.to_thread(exercise, url, path, 6)
    assert len(asked) == 13
