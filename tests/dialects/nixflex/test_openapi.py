"""/openapi/nixflex.json against the standard, and against what the routes really do."""

import asyncio
import sys
from asyncio.subprocess import PIPE, STDOUT
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dialects.nixflex.deployment import KEY
from tests.support.api import served
from tests.support.doubles import Plenty
from textback.dialects.nixflex.wire import CODES
from textback.runtime import Runtime

ROTATE = "/v1/keys/rotate"


async def test_exactly_the_documented_paths_are_described_each_code_with_its_status(
    http: httpx.AsyncClient,
) -> None:
    described: dict[str, Any] = (await http.get("/openapi/nixflex.json")).json()
    assert {path: set(item) for path, item in described["paths"].items()} == {
        "/v1/sms": {"post"},
        "/v1/sms/campaigns": {"post", "get"},
        "/v1/sms/campaigns/{campaign_id}": {"get", "delete"},
        "/v1/sms/campaigns/{campaign_id}/launch": {"post"},
        "/v1/agents": {"post", "get"},
        "/v1/agents/{agent_id}": {"get", "put", "delete"},
        "/v1/phone-numbers": {"post", "get"},
        "/v1/phone-numbers/{phone_number}": {"get", "patch", "delete"},
        "/v1/keys": {"post"},
        "/v1/keys/rotate": {"post"},
    }
    told = set[str]()
    for item in described["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if int(status) < 400:
                    continue
                words = response["description"].replace(",", " ").replace(".", " ")
                codes = {word.strip(":") for word in words.split()} & set(CODES)
                assert {CODES[code] for code in codes} == {int(status)}, response
                told |= codes
    # What is said where no route answers.
    assert set(CODES) - told == {"method_not_allowed", "not_found"}


@pytest.mark.parametrize(
    "which",
    [("--exclude-path", ROTATE), ("--include-path", ROTATE)],
    ids=["all but one", "the route that takes the key away"],
)
async def test_schemathesis_finds_nothing(
    rt: Runtime, tmp_path: Path, which: tuple[str, str]
) -> None:
    """Whatever is asked is answered as described.

    Without two checks, for which every number of the right shape is possible, and a missing header
    is 406.
    """
    ample = replace(rt, quota=Plenty())
    async with served(ample) as url:
        program = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).with_name("schemathesis"), "run", f"{url}/openapi/nixflex.json"),
            *("--checks", "all"),
            *("--exclude-checks", "positive_data_acceptance,missing_required_header"),
            *("--phases", "fuzzing", "--max-examples", "5"),
            *("--seed", "1", "--generation-database", "none", "--no-color", "--warnings=off"),
            *which,
            *("--header", f"Authorization: Bearer {KEY}"),
            cwd=tmp_path,
            stdout=PIPE,
            stderr=STDOUT,
        )
        async with asyncio.timeout(240):
            said, _ = await program.communicate()
    assert program.returncode == 0, said.decode()
    assert "No issues found" in said.decode()
