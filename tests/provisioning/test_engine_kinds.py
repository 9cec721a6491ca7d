"""What a file says of an engine is what the engine is that the worker makes of it."""

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from tests.support.provision import VAULT
from tests.support.provisioning_file import parsed
from textback.core.ids import AgentId
from textback.core.plan import AgentContent
from textback.db.agents import AgentVersion
from textback.engine_kinds import KINDS
from textback.wiring import engine_maker

SECRET = "whsec_" + "QUJD" * 10
MODEL = {"provider": "anthropic", "name": "claude", "api_key": "sk-ant-1"}
TOOL = {"name": "t", "description": "d", "url": "http://127.0.0.1:9/", "secret": SECRET}
NODES = [
    {"id": "quiet", "wait": True, "then": "say"},
    {"id": "say", "say": "Hi.", "then": "quiet"},
]
CALLING = [{"id": "a", "say": "Hi.", "then": "b"}, {"id": "b", "call": {"url": TOOL["url"]}}]
ENGINES: list[dict[str, Any]] = [
    {"kind": "scripted"},
    {"kind": "http", "url": "http://127.0.0.1:9/", "secret": SECRET, "timeout_seconds": 7},
    {"kind": "llm", "model": MODEL, "prompt": "p", "tools": [TOOL], "timeout_seconds": 33},
    {"kind": "flow", "nodes": NODES},
    {"kind": "flow", "nodes": NODES, "start": "say", "model": MODEL, "timeout_seconds": 44},
    {"kind": "flow", "nodes": [CALLING[0], CALLING[1] | {"then": "a"}], "timeout_seconds": 55},
]


def content_of(engine: dict[str, Any]) -> AgentContent:
    acme = {"id": "acme", "agents": [{"id": "bot", "engine": engine}]}
    return parsed(yaml.safe_dump({"accounts": [acme]})).plan.agents[0].production


def stored(content: AgentContent) -> AgentVersion:
    return AgentVersion(
        agent_id=AgentId("bot"),
        number=1,
        created_at=datetime(2026, 3, 2, tzinfo=UTC),
        greeting=None,
        fallback=None,
        engine=content.engine,
        secrets={path: VAULT.seal(secret) for path, secret in content.secrets.items()},
        can_open=content.can_open,
        nodes=content.nodes,
        analysis=None,
        private_urls=None,
    )


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: str(engine)[:60])
async def test_an_engine_is_as_its_settings_say(engine: dict[str, Any]) -> None:
    content = content_of(engine)
    made = engine_maker(VAULT, None)(stored(content))
    try:
        assert (made.can_open, made.deadline) == (content.can_open, content.deadline)
        kind = KINDS[engine["kind"]]
        assert made.can_analyse == kind.can_analyse(kind.model.model_validate(engine))
    finally:
        await made.close()


@pytest.mark.parametrize(
    "change",
    [
        {"engine": {"kind": "telepathy"}},
        {"engine": {"kind": "http", "url": "nowhere"}},
        {"secrets": {"tools.0.secret": VAULT.seal("x")}},
    ],
)
def test_settings_of_another_release_raise_what_the_worker_expects(change: dict[str, Any]) -> None:
    version = stored(content_of(ENGINES[1]))
    fields = {name: getattr(version, name) for name in version.__dataclass_fields__} | change
    with pytest.raises((ValueError, LookupError, TypeError)):
        engine_maker(VAULT, None)(AgentVersion(**fields))
