"""`textback conversations` shows what was made of a conversation that is over."""

import json
from typing import Any

import pytest
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.world import World
from textback.cli.conversations import Which, run
from textback.settings import Settings

WHICH = Which(limit=5, state=None, project=None, user=None)
FOUND: dict[str, Any] = {
    "summary": "They agreed on 3pm.",
    "values": {"time": "3pm"},
    "outcome": "booked",
    "at": "2026-03-02T09:00:00+00:00",
}


@pytest.mark.parametrize(
    ("kept", "lines"),
    [
        (
            FOUND,
            ["summary: They agreed on 3pm.", "outcome: booked", "values: {", '  "time": "3pm"'],
        ),
        (FOUND | {"values": None, "outcome": None}, ["summary: They agreed on 3pm."]),
        ({"error": "HTTP 500", "at": FOUND["at"]}, ["not analysed: HTTP 500"]),
        (None, []),
    ],
)
async def test_an_analysis_is_shown_with_the_conversation(
    engine: AsyncEngine,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    kept: dict[str, Any] | None,
    lines: list[str],
) -> None:
    world = World(engine)
    await world.provision()
    accepted = await world.accept()
    if kept is not None:
        statement = "update conversations set analysis = cast(:kept as jsonb)"
        async with world.transaction() as c:
            await c.execute(sql(statement), {"kept": json.dumps(kept)})
    found = Settings.model_validate({"database_url": database_url})
    await run(found, accepted.conversation_id, WHICH, as_json=True)
    assert json.loads(capsys.readouterr().out)["analysis"] == kept
    await run(found, accepted.conversation_id, WHICH, as_json=False)
    told = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line not in told] == []
    assert any("analysed" in line for line in told) is (kept is not None)
    await world.close()
