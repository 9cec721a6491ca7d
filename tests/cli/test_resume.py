"""`textback resume`, and where an operator sees that a conversation has paused."""

import asyncio
import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from tests.support.world import World
from textback import wiring
from textback.cli.main import app
from textback.cli.narrate import told
from textback.core.ids import ConversationId
from textback.db import reads
from textback.db.session import create_engine


@pytest.fixture
def paused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> ConversationId:
    """A conversation that has just paused, with one text kept."""
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)

    async def arrange() -> ConversationId:
        db = create_engine(database_url)
        world, now = World(db), wiring.clock()
        await world.provision(project={"reply_budget": {"replies": 1, "per_seconds": 3600}})
        await world.hear("Hello", now=now - timedelta(seconds=2))
        await world.think(now=now - timedelta(seconds=1))
        heard = await world.hear("Hello?", now=now)
        await world.close()
        await db.dispose()
        assert heard.conversation_id is not None
        return heard.conversation_id

    return asyncio.run(arrange())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_paused_conversation_is_resumed_once(paused: ConversationId):
    first = run("resume", paused)
    again = run("resume", paused)

    assert (first.exit_code, first.stdout) == (
        0,
        f"{paused} is resumed; the agent answers 1 text that it kept.\n",
    )
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is not paused or handed off, it is engaged" in again.stderr
    (listed,) = json.loads(run("conversations", "--json").stdout)
    assert (listed["state"], listed["paused_until"]) == ("engaged", None)


def test_a_conversation_that_does_not_exist_is_not_resumed(paused: ConversationId):
    result = run("resume", f"{paused}x")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"There is no conversation {paused}x.\n"


def test_paused_conversations_are_listed_with_when_they_go_on(paused: ConversationId):
    listed = run("conversations", "--state", "paused")
    shown = run("conversations", paused)
    as_json = json.loads(run("conversations", paused, "--json").stdout)

    for said in (listed.stdout, shown.stdout):
        assert f"{paused}  paused until 2" in said
    assert "unanswered: reply_budget" in shown.stdout
    assert as_json["paused_until"] == as_json["deadline_at"]


def test_the_demo_tells_of_the_pause_and_of_its_end(paused: ConversationId, database_url: str):
    assert run("resume", paused).exit_code == 0

    async def lines() -> list[str]:
        db = create_engine(database_url)
        happened = await reads.events_after(db, 0)
        await db.dispose()
        return [line.plain for line in map(told, happened) if line is not None]

    said = "\n".join(asyncio.run(lines()))
    assert "a lot of replies: the agent is silent until " in said
    assert "the agent goes on" in said
