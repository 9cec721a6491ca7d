"""What is counted seldom is there before it happens: else its first time would be no increase."""

import subprocess
import sys
from dataclasses import fields
from typing import get_args

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import client, settings, started
from tests.support.hooks import INBOUND, RECEIPT, STATUS, TEXT, post
from tests.support.wire import Wire
from textback.flows import analyse, deliver, opening_due
from textback.flows.retention import Forgotten

HTTP = "textback_http_request_seconds"
SEVERAL = {
    ("textback_plans_total", "outcome"): get_args(opening_due.Outcome),
    ("textback_analyses_total", "outcome"): (*get_args(analyse.Outcome), "lost"),
    ("textback_webhooks_total", "outcome"): get_args(deliver.Came),
    ("textback_forgotten_total", "what"): [f.name for f in fields(Forgotten) if f.name != "more"],
    ("textback_tool_calls_total", "outcome"): ("done", "failed", "replayed"),
    ("textback_batches_total", "dialect"): ("native",),
}


def at_the_start(*modules: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a process tells that has done no more than to load `modules`."""
    source = f"""if True:
        import {", ".join(modules)}
        from prometheus_client import REGISTRY, generate_latest
        print(generate_latest(REGISTRY).decode())
    """
    done = subprocess.run(
        [sys.executable, "-c", source], check=True, stdout=subprocess.PIPE, text=True
    )
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(done.stdout)
        for sample in family.samples
    }


def test_every_value_of_a_label_that_is_known_beforehand_is_there_at_zero() -> None:
    found = at_the_start("textback.metrics")
    for (name, label), values in SEVERAL.items():
        there = {has: value for (n, has), value in found.items() if n == name}
        assert there == {frozenset({(label, value)}): 0 for value in values}, name
    assert not [name for name, _ in found if name.startswith(HTTP)]  # a worker has no requests


def test_only_failures_of_hooks_are_there_before_the_first_request() -> None:
    found = at_the_start("textback.api.app")
    there = {has: value for (name, has), value in found.items() if name == f"{HTTP}_count"}
    fixed = {("dialect", "hooks"), ("method", "POST"), ("status", "5xx")}
    assert there == {
        frozenset({*fixed, ("route", f"/hooks/{{carrier}}/{kind}")}): 0
        for kind in ("inbound", "status")
    }


@pytest.mark.parametrize(("path", "form"), [(INBOUND, TEXT), (STATUS, RECEIPT)])
async def test_a_hook_that_fails_is_counted_where_there_was_a_zero(
    provisioned: AsyncEngine, database_url: str, redis_url: str, path: str, form: dict[str, str]
) -> None:
    assert provisioned is not None
    before = _failures()
    async with Wire(database_url) as wire, started(settings(wire.url, redis_url)) as rt:
        wire.cut()
        async with client(rt) as http:
            answer = await post(http, path, form)
    assert answer.status_code == 503
    after = _failures()
    assert set(after) == set(before)
    assert sum(after.values()) == sum(before.values()) + 1


def _failures() -> dict[frozenset[tuple[str, str]], float]:
    return {
        frozenset(sample.labels.items()): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == f"{HTTP}_count"
        and sample.labels["route"].startswith("/hooks/")
        and sample.labels["status"] == "5xx"
    }
