"""A server says in its own words that it is there, and that it is gone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.log_lines import lines
from tests.support.ports import free_port
from tests.support.processes import Textback
from tests.support.provision import SECRET_KEY, provision
from textback import __version__


@pytest.fixture
async def given(engine: AsyncEngine, database_url: str, redis_url: str) -> dict[str, str]:
    await provision(engine)
    return {
        "TEXTBACK_DATABASE_URL": database_url,
        "TEXTBACK_REDIS_URL": redis_url,
        "TEXTBACK_PUBLIC_URL": "https://sms.example.com",
        "TEXTBACK_SECRET_KEY": SECRET_KEY,
        "TEXTBACK_PORT": str(free_port()),
    }


async def _said(folder: Path, given: Mapping[str, str], *arguments: str) -> list[dict[str, Any]]:
    """By one that was started, and told to stop once it was ready."""
    async with Textback(folder, given) as textback:
        running = await textback.serve(int(given["TEXTBACK_PORT"]), *arguments)
        running.ask_to_stop()
        code, _seconds = await running.ended(within=60)
    assert code == 0, running.log
    return lines(running.log)


async def test_a_server_that_starts_and_stops_says_so_and_no_library_does(
    given: dict[str, str], tmp_path: Path
) -> None:
    started, *_, stopped = said = await _said(tmp_path, given)
    assert (started["event"], started["version"]) == ("serve.started", __version__)
    assert (str(started["port"]), started["workers"]) == (given["TEXTBACK_PORT"], 1)
    assert (stopped["event"], stopped["level"]) == ("serve.stopped", "info")
    assert [line for line in said if "logger" in line] == []


async def test_each_of_several_workers_says_so_with_its_pid(
    given: dict[str, str], tmp_path: Path
) -> None:
    said = await _said(tmp_path, given, "--workers", "2")
    for event in ("serve.started", "serve.stopped"):
        pids = {line["pid"] for line in said if line["event"] == event}
        assert len(pids) == 2
    started = [line for line in said if line["event"] == "serve.started"]
    assert {(str(line["port"]), line["workers"]) for line in started} == {
        (given["TEXTBACK_PORT"], 2)
    }


async def test_no_secret_is_in_what_a_server_says_at_the_level_that_tells_most(
    given: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    url = given["TEXTBACK_DATABASE_URL"].replace("postgres@", "postgres:planted-password@")
    assert url != given["TEXTBACK_DATABASE_URL"]
    planted = {
        "TEXTBACK_DATABASE_URL": url,
        "TEXTBACK_METRICS_TOKEN": "planted-metrics-token",
        "TEXTBACK_LOG_LEVEL": "debug",
    }
    said = str(await _said(tmp_path, given | planted))
    assert "serve.started" in said
    for secret in (SECRET_KEY, "planted-metrics-token", "planted-password", redis_url):
        assert secret not in said
