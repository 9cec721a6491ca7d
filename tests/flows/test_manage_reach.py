"""What the file gave may lead anywhere, also after an API changed something beside it."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.managed import managing
from tests.support.provision import NOW, VAULT, environment, provision
from tests.support.provisioned import row
from textback.cli.apply import provision as apply
from textback.core.ids import AgentId, CarrierId
from textback.core.ports import CarrierAccount
from textback.core.reach import open_origins
from textback.db import agents, tenants
from textback.db.session import transaction
from textback.flows import manage, manage_agents
from textback.flows.manage import Managing

MODEL = "http://10.0.0.5:8080/v1"
FILE = f"""\
accounts:
  - id: acme
    name: Acme Dental
    agent_template: own
    carriers:
      - {{id: gateway, kind: twilio, account_sid: "AC{"cd" * 16}", auth_token: "t",
         base_url: "http://10.0.0.6"}}
    agents:
      - id: own
        engine:
          kind: llm
          prompt: Be kind.
          model: {{provider: openai, name: m, base_url: "{MODEL}"}}
"""
TOOL = {"name": "t", "description": "d", "url": "https://tools.example.com/t"}
SID = "AC" + "ab" * 16
CARRIER = {"id": "theirs", "kind": "twilio", "account_sid": SID, "auth_token": "t"}


@pytest.fixture
async def m(engine: AsyncEngine) -> Managing:
    await provision(engine)
    await apply(engine, VAULT, FILE, environment(), now=NOW)
    return managing(engine)


async def opened(engine: AsyncEngine, agent_id: str, label: Any = "production") -> object:
    """Who may be called at private addresses; None: anybody."""
    async with transaction(engine) as c:
        found = await agents.current(c, AgentId(agent_id), label)
    return open_origins(found.engine, found.private_urls)


async def carrier(engine: AsyncEngine, carrier_id: str) -> CarrierAccount:
    async with transaction(engine) as c:
        found = await tenants.find_carrier(c, CarrierId(carrier_id))
    assert found is not None
    return tenants.opened(found, VAULT)


async def test_the_files_agent_may_call_anybody(m: Managing) -> None:
    assert await opened(m.db, "own") is None
    await manage.update(m, "agent", "own", {})
    assert await opened(m.db, "own") is None


async def test_an_agent_of_the_apis_calls_public_addresses_only(m: Managing) -> None:
    engine = {"kind": "http", "url": "https://crm.example.com/turn"}
    await manage.create(m, "agent", {"id": "new", "engine": engine})
    assert await opened(m.db, "new") == frozenset()
    await manage.update(m, "agent", "new", {"greeting": "Hi"})
    assert await opened(m.db, "new") == frozenset()


async def test_what_an_api_adds_is_limited_and_what_the_file_gave_is_not(m: Managing) -> None:
    await manage.update(m, "agent", "own", {"engine": {"prompt": "Be short.", "tools": [TOOL]}})
    assert await opened(m.db, "own") == {"http://10.0.0.5:8080"}
    # Also when it is changed again, and in a draft beside it.
    model = {"provider": "openai", "name": "m", "base_url": MODEL}
    draft = {"kind": "llm", "prompt": "New.", "model": model}
    await manage.update(m, "agent", "own", {"draft": {"engine": draft}})
    for label in ("production", "draft"):
        assert await opened(m.db, "own", label) == {"http://10.0.0.5:8080"}
    await apply(m.db, VAULT, FILE, environment(), now=NOW)
    assert await opened(m.db, "own") is None


async def test_another_door_of_a_server_that_the_file_named_is_not_opened(m: Managing) -> None:
    # Written so that its text says nothing private.
    inner = {**TOOL, "url": "https://intern.example.com/t"}
    file = FILE.replace(MODEL, "https://intern.example.com/v1")
    await apply(m.db, VAULT, file, environment(), now=NOW)
    await manage.update(m, "agent", "own", {"engine": {"tools": [inner]}})
    assert await opened(m.db, "own") == frozenset()
    await manage.update(m, "agent", "own", {"engine": {"tools": [], "prompt": "Alone again."}})
    assert await opened(m.db, "own") == {"https://intern.example.com:443"}


async def test_a_copy_of_the_template_calls_whom_the_template_may_call(m: Managing) -> None:
    await manage_agents.create_from_template(m, agent_id="copy", prompt="Be brief.")
    assert await opened(m.db, "copy") == {"http://10.0.0.5:8080"}
    template = {"model": {"base_url": "https://models.example.com/v1"}}
    await manage.update(m, "agent", "own", {"engine": template})
    await manage_agents.create_from_template(m, agent_id="later", prompt="Be brief.")
    assert await opened(m.db, "later") == frozenset()


async def test_the_file_takes_over_what_an_api_made(m: Managing) -> None:
    engine: dict[str, Any] = {"kind": "http", "url": "https://crm.example.com/turn"}
    await manage.create(m, "agent", {"id": "new", "engine": engine})
    new = '      - {id: new, engine: {kind: http, url: "https://crm.example.com/turn"}}\n'
    await apply(m.db, VAULT, FILE + new, environment(), now=NOW)
    assert await opened(m.db, "new") is None
    assert (await row(m.db, "agent", "new"))["source"] == "file"


async def test_a_carriers_address_is_limited_if_an_api_said_it(m: Managing) -> None:
    assert not (await carrier(m.db, "gateway")).public_only
    await manage.update(m, "carrier", "gateway", {"auth_token": "other"})
    assert not (await carrier(m.db, "gateway")).public_only
    there = {"base_url": "https://gateway.example.com", "auth_token": "t"}
    await manage.update(m, "carrier", "gateway", there)
    assert (await carrier(m.db, "gateway")).public_only
    await manage.update(m, "carrier", "gateway", {"auth_token": "third"})
    assert (await carrier(m.db, "gateway")).public_only
    await apply(m.db, VAULT, FILE, environment(), now=NOW)
    assert not (await carrier(m.db, "gateway")).public_only


async def test_twilio_itself_is_called_as_ever(m: Managing) -> None:
    await manage.create(m, "carrier", CARRIER)
    assert not (await carrier(m.db, "theirs")).public_only
    there = {"base_url": "https://gateway.example.com", "auth_token": "t"}
    await manage.update(m, "carrier", "theirs", there)
    assert (await carrier(m.db, "theirs")).public_only
