"""The examples of PolyAI's documentation, unchanged but for the host and the placeholders.

https://docs.poly.ai/api-reference/outbound-sms/endpoint/send-sms
"""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import rows, served, settings, started
from tests.support.provision import ACME_KEY, provision

EXAMPLES: Final = Path(__file__).parent / "examples"
CLIENTS: Final = {
    "send.sh": [shutil.which("bash") or shutil.which("sh")] if shutil.which("curl") else [],
    "send.py": [sys.executable],
    "send.mjs": [shutil.which("node")],
}
"""What runs each; a client that is not on this machine is left out."""
HERE: Final = [(name, runner[0]) for name, runner in CLIENTS.items() if runner and runner[0]]


@pytest.fixture
async def url(engine: AsyncEngine, database_url: str, redis_url: str) -> AsyncGenerator[str]:
    await provision(engine)
    async with started(settings(database_url, redis_url)) as rt, served(rt) as found:
        yield found


async def said(runner: str, example: str, url: str, *, key: str = ACME_KEY) -> str:
    """The answer's body and status, as the example prints it."""
    process = await asyncio.create_subprocess_exec(
        *(runner, str(EXAMPLES / example)),
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "NO_PROXY": "*",
            "BASE_URL": url,
            "API_KEY": key,
            "CONNECTOR_ID": "conn-live",
        },
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert err == b""
    return out.decode().strip()


@pytest.mark.parametrize(("example", "runner"), HERE, ids=[name for name, _ in HERE])
async def test_the_published_example_works(
    url: str, engine: AsyncEngine, example: str, runner: str
) -> None:
    assert await said(runner, example, url) == "202"
    assert await rows(engine, "select agent_number, user_number, text, state from messages") == [
        {
            "agent_number": "+14155550100",
            "user_number": "+14155551234",
            "text": "Hi Jane, your appointment is confirmed for tomorrow at 2pm.",
            "state": "queued",
        }
    ]
    refused = await said(runner, example, url, key="YOUR_API_KEY")
    assert refused.startswith('{"detail":"')
    assert refused.endswith("401")
