"""`textback conversations` shows what each text costs, and what folding has saved."""

import json

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.doubles import EngineDouble
from tests.support.world import World
from textback.cli.conversations import Which, run
from textback.settings import Settings

WHICH = Which(limit=5, state=None, project=None, user=None)


def saved_in_all() -> float:
    return REGISTRY.get_sample_value("textback_segments_saved_total") or 0.0


async def test_segments_are_shown_with_what_folding_saved(
    engine: AsyncEngine, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world, before = World(engine), saved_in_all()
    await world.provision()
    accepted = await world.accept("\u0142")
    await world.hear("Hello")
    await world.think(engine=EngineDouble("It\u2019s " + "a" * 200))
    found = Settings.model_validate({"database_url": database_url})

    await run(found, accepted.conversation_id, WHICH, as_json=True)
    listed = json.loads(capsys.readouterr().out)["messages"]
    assert [(m["segments"], m["segments_saved"]) for m in listed] == [(1, 0), (None, 0), (2, 2)]

    await run(found, accepted.conversation_id, WHICH, as_json=False)
    told = capsys.readouterr().out
    assert "opener, queued; 1 segment (UCS-2)  msg_" in told
    assert "reply, queued; 2 segments (GSM-7), folding saved 2  msg_" in told
    assert saved_in_all() == before + 2
    await world.close()
