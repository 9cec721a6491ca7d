"""`textback tail`: a line for each event, for a person or a program, until Ctrl-C."""

import json
import re
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import until
from tests.support.deployment import NOW, USER
from tests.support.processes import Textback
from tests.support.tailed import happened
from tests.support.world import World
from textback.cli.tail import as_line, since
from textback.core.phone import masked
from textback.db.session import transaction

CUT = text(
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where pid <> pg_backend_pid() and datname = current_database()"
)


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncGenerator[World]:
    made = World(engine)
    await made.provision()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("span", "before"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400)],
)
def test_a_length_of_time_is_written_short(span: str, before: int) -> None:
    assert since(span, now=NOW) == NOW - timedelta(seconds=before)
    for bad in ("0m", "10", "m", "-5m", "10 m", "1w"):
        with pytest.raises(typer.Exit):
            since(bad, now=NOW)


def test_a_person_reads_what_happened_between_whom_and_why() -> None:
    event = happened("message.failed", error_code="30005", segments=2)
    line = re.sub(r"\x1b\[[0-9;]*m", "", as_line(event))
    assert re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) == (
        "TIME  message.failed            +14155550100 ↔ +14155550123  conv_1  msg_1"
        "  error_code=30005  segments=2"
    )


async def test_a_process_follows_over_a_lost_connection_and_ends_at_ctrl_c(
    world: World, database_url: str, tmp_path: Path
) -> None:
    first = await world.accept("planted words")
    async with Textback(tmp_path, {"TEXTBACK_DATABASE_URL": database_url}) as textback:
        tail = await textback.start("tail", "--since", "9999d")

        async def told() -> list[dict[str, object]]:
            lines = tail.log.splitlines()
            return [json.loads(line) for line in lines if line.startswith("{")]

        async def kinds(of: str | None) -> list[object]:
            return [each["kind"] for each in await told() if each["message_id"] == of]

        async def queued() -> bool:
            return await kinds(first.message_id) == ["message.queued"]

        async def delivered() -> bool:
            return await kinds(first.message_id) == ["message.queued", "message.delivered"]

        await until(queued, within=60)
        async with transaction(world.db) as c:
            await c.execute(CUT)
        await world.db.dispose()
        await world.receipt("delivered", sid="SM1", message_id=first.message_id)
        await until(delivered, within=60)
        said = tail.log
        tail.interrupt()
        assert (await tail.ended(within=60))[0] == 0
        assert tail.log == said  # no traceback, no last words
    ids = [each["id"] for each in await told()]
    assert ids == sorted(set(map(int, map(str, ids))))
    assert masked(USER) in said
    assert USER not in said
    assert "planted words" not in said
