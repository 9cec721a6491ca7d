"""What `/metrics` says of several processes after a conversation, and what it never says."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import AGENT, ROUTE, USER, headers, is_accepted, until
from tests.support.fake_twilio import FakeTwilio, Number
from tests.support.metrics import declared
from tests.support.ports import free_port
from tests.support.processes import Running, Textback
from tests.support.provision import (
    ACME_SID,
    SECRET_KEY,
    STANDARD_YAML,
    TOKEN,
    environment,
    provision,
)
from tests.support.valkey import Valkey

FAST: Final = STANDARD_YAML.replace(
    "        agent: bookings\n", "        agent: bookings\n        reply_delay_seconds: 0.1\n"
).replace("carrier: acme-twilio}", "carrier: acme-twilio, segments_per_second: 100}")

_VALUE: Final = re.compile(r"[a-z0-9_./{}-]+", re.ASCII)
"""Of a label. Route templates have braces, ids of ours an upper-case part or a long number."""
_LONG: Final = re.compile(r"[0-9]{6,}|[0-9A-Za-z]{26,}")


@dataclass(frozen=True, slots=True)
class Said:
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]
    text: str

    def of(self, name: str, **labels: str) -> float:
        """Added up over what is not named."""
        wanted = set(labels.items())
        return sum(value for (n, has), value in self.samples.items() if n == name and wanted <= has)


@dataclass(frozen=True, slots=True)
class Deployment:
    api: Running
    url: str
    worker_url: str
    twilio: FakeTwilio
    http: httpx.AsyncClient

    async def said(self, url: str) -> Said:
        """By a connection of its own: whichever process takes it answers."""
        async with httpx.AsyncClient(trust_env=False, timeout=20) as alone:
            answer = await alone.get(f"{url}/metrics")
        assert answer.status_code == 200
        families = text_string_to_metric_families(answer.text)
        found = {
            (s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples
        }
        return Said(found, answer.text)


@pytest.fixture
async def deployment(
    engine: AsyncEngine, database_url: str, mortal: Valkey, tmp_path: Path
) -> AsyncGenerator[Deployment]:
    port, worker_port = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    given = {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": mortal.url,
        "TEXTBACK_PUBLIC_URL": url,
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_METRICS_PORT": str(worker_port),
    }
    async with (
        FakeTwilio(ACME_SID, TOKEN) as twilio,
        Textback(tmp_path, given) as textback,
        httpx.AsyncClient(trust_env=False, timeout=20) as http,
    ):
        twilio.account.numbers = [
            Number(phone_number=AGENT, sms_url=f"{url}/hooks/twilio/inbound#rc=5&rp=all")
        ]
        await provision(engine, FAST, environment(twilio.base_url))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(textback.serve(port, "--workers", "2"))
            group.create_task(textback.start("work"))
        worker_url = f"http://127.0.0.1:{worker_port}"
        yield Deployment(serving.result(), url, worker_url, twilio, http)


async def test_a_conversation_is_counted_over_all_processes_and_nobody_is_named(
    deployment: Deployment,
) -> None:
    d = deployment
    accepted = {await _send(d) for _ in range(6)}
    assert len(accepted) == 1
    refused = await d.http.post(d.url + ROUTE, json={"message": "?"}, headers=headers())
    assert refused.status_code == 400
    assert (await d.http.get(f"{d.url}/wp-login.php?user={USER}")).status_code == 404
    await until(lambda: _so_many(d, 1))
    await d.twilio.idle()
    await d.twilio.text(USER, AGENT, "Rather 3pm")
    await until(lambda: _so_many(d, 2))
    await d.twilio.idle()
    await d.twilio.text(USER, AGENT, "STOP")

    api, worker = await d.said(d.url), await d.said(d.worker_url)

    assert api.of("textback_accepted_total", dialect="polyai") == 1
    assert api.of("textback_replayed_total", dialect="polyai") == 5
    assert api.of("textback_refused_total", dialect="polyai", reason="bad_request") == 1
    route = {"route": ROUTE, "dialect": "polyai", "method": "POST"}
    assert api.of("textback_http_request_seconds_count", **route, status="2xx") == 6
    assert api.of("textback_http_request_seconds_count", **route, status="4xx") == 1
    assert api.of("textback_http_request_seconds_count", route="none", status="4xx") == 1
    hooks = {"route": "/hooks/{carrier}/status", "dialect": "hooks"}
    assert api.of("textback_http_request_seconds_count", **hooks, status="2xx") >= 2
    assert api.of("textback_hooks_total", carrier="twilio", kind="inbound", outcome="heard") == 1
    assert api.of("textback_hooks_total", carrier="twilio", kind="inbound", outcome="keyword") == 1
    assert api.of("textback_messages_total", state="received") == 2
    assert api.of("textback_messages_total", state="delivered") == 2
    assert api.of("textback_conversations_total", state="closed") == 1
    assert api.of("textback_opt_outs_total", change="out") == 1
    assert api.of("textback_pool_size") == 20  # of two processes
    assert api.of("textback_build_info") == 1

    assert worker.of("textback_sends_total", outcome="taken") == 2
    assert worker.of("textback_carrier_seconds_count", carrier="twilio", outcome="taken") == 2
    assert worker.of("textback_send_wait_seconds_count") == 2
    assert worker.of("textback_turns_total", outcome="answered") == 1
    assert worker.of("textback_turn_seconds_count") == 1
    assert worker.of("textback_engine_seconds_count", engine="scripted") == 1
    assert worker.of("textback_engine_errors_total") == 0
    for said in (api, worker):
        assert said.of("textback_reachable", store="postgres") == 1
        assert said.of("textback_reachable", store="redis") == 1
        assert said.of("textback_oldest_due_seconds", queue="messages") == 0
        assert said.of("textback_uncertain") == 0
        _names_nobody(said, *next(iter(accepted)))

    victim = d.api.children()[0]
    victim.kill()
    await until(lambda: _replaced(d, victim.pid))
    after = await d.said(d.url)
    assert after.of("textback_replayed_total", dialect="polyai") == 5  # what it counted counts
    assert after.of("textback_pool_size") == 20  # what it had it has no more


async def test_each_process_hears_that_redis_is_back_though_nobody_asks_it_for_anything(
    deployment: Deployment, mortal: Valkey
) -> None:
    d, keys = deployment, count()
    mortal.kill()

    async def all_lost_it() -> bool:
        await _send(d, f"key-{next(keys)}")
        return (await d.said(d.url)).of("textback_limiter_fallbacks_total") == 2

    await until(all_lost_it)
    assert (await d.said(d.url)).of("textback_limiter_local") == 1
    mortal.start()

    async def all_have_it() -> bool:
        return (await d.said(d.url)).of("textback_limiter_local") == 0

    await until(all_have_it)


async def _send(d: Deployment, key: str = "once") -> tuple[str, str]:
    """The same for the same key, by a new connection, so that both processes get some."""
    async with httpx.AsyncClient(trust_env=False) as caller:
        body = {"user_number": USER, "message": "Is 2pm good?", "agent_number": AGENT}
        asked = headers() | {"Idempotency-Key": key}
        return is_accepted(await caller.post(d.url + ROUTE, json=body, headers=asked))


async def _so_many(d: Deployment, count: int) -> bool:
    return len([m for m in d.twilio.created if m.to == USER]) >= count


async def _replaced(d: Deployment, pid: int) -> bool:
    try:
        children = {child.pid for child in d.api.children()}
    except psutil.NoSuchProcess:  # its parent has yet to notice
        return False
    if len(children) != 2 or pid in children:
        return False
    return (await d.said(d.url)).of("textback_pool_size") == 20


def _names_nobody(said: Said, *ids: str) -> None:
    labels = {each.name: set(each.labels) for each in declared()}
    ours = [each for each in said.samples if each[0].startswith("textback_")]
    assert len(ours) > 100
    for name, has in ours:
        base = name if name in labels else re.sub(r"_(bucket|sum|count)$", "", name)
        assert {label for label, _ in has} - {"le"} == labels[base], name
        for label, value in has:
            if label in {"le", "version"}:
                continue
            assert _LONG.search(value) is None, (name, label, value)
            named = label in {"method", "status"} or _VALUE.fullmatch(value)
            assert named, (name, label, value)
    for number in (USER, AGENT):
        assert number.removeprefix("+") not in said.text
    for each in (*ids, ACME_SID, "acme", "wp-login"):
        assert each not in said.text
