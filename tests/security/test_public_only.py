"""What an API said is called at public addresses only, whatever its name; the file's anywhere."""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from tests.support import texts
from tests.support.fake_models import ModelServer, Provider
from tests.support.fake_models import serving as models_serving
from tests.support.fake_models.answers import calls, says
from tests.support.fake_models.mcp import ToolServer, serving_tools
from tests.support.fake_twilio import FakeTwilio
from tests.support.fake_twilio.fake import NO_RECEIPTS
from tests.support.network import Network
from tests.support.provision import NOW, VAULT
from tests.support.turn_server import Answer, TurnServer
from tests.support.turn_server import says as answers
from tests.support.turn_server import serving as turns_serving
from tests.support.turns import turn
from textback.carriers.twilio.importing import TwilioNumbers
from textback.core.engine import Engine, TurnFailed, TurnReply
from textback.core.ids import AccountId, AgentId
from textback.core.phone import Phone
from textback.core.plan import Plan
from textback.core.policy import SendPolicy
from textback.core.ports import CarrierAccount, NotDone, SendError, Taken
from textback.db.agents import AgentVersion
from textback.engine_kinds import KINDS
from textback.provisioning_file.single import OneEntry
from textback.public_network import CarrierWay, PublicNetwork
from textback.wiring import carrier_maker, engine_maker

WHY = "the host's name leads to a private address"
PUBLIC = "93.184.215.14"
OWN = "http://gateway.example"
"""Where Twilio is for accounts that callers bring, by the operator's setting."""
By = Literal["api", "file"]
Reading = Literal["whole", "stream"]
APIS = pytest.mark.parametrize(
    ("provider", "reading"),
    [("openai", "whole"), ("openai", "stream"), ("anthropic", "whole"), ("anthropic", "stream")],
)


def leading_to(address: str, url: str) -> tuple[PublicNetwork, Network]:
    """Every name leads there; connections are made to where `url` is in truth."""

    async def resolve(host: str, port: int) -> list[str]:
        assert host.endswith(".example")
        assert port
        return [address]

    network = Network(urlsplit(url).port or 0)
    return PublicNetwork(resolve=resolve, network=network), network


def named(url: str) -> str:
    """The same server, by a name."""
    return url.replace("127.0.0.1", "crm.example")


def version(engine: dict[str, Any], by: By) -> AgentVersion:
    entry = {"id": "bot", "engine": engine}
    plan = OneEntry(KINDS, private=True).read("agent", entry, AccountId("acme"))
    assert isinstance(plan, Plan), plan
    content = plan.agents[0].production
    return AgentVersion(
        agent_id=AgentId("bot"),
        number=1,
        created_at=NOW,
        greeting=None,
        fallback=None,
        engine=content.engine,
        secrets={path: VAULT.seal(secret) for path, secret in content.secrets.items()},
        can_open=True,
        nodes=content.nodes,
        analysis=None,
        private_urls=None if by == "file" else [],
    )


@asynccontextmanager
async def made(
    engine: dict[str, Any], public: PublicNetwork, *, by: By = "api"
) -> AsyncGenerator[Engine]:
    one = engine_maker(VAULT, public)(version(engine, by))
    yield one
    await one.close()


def said(reply: object) -> list[str]:
    assert isinstance(reply, TurnReply), reply
    return list(reply.texts)


@pytest.fixture(scope="module")
def turns() -> Generator[TurnServer]:
    with turns_serving() as server:
        yield server


@pytest.fixture(scope="module")
def models() -> Generator[ModelServer]:
    with models_serving() as server:
        yield server


@pytest.fixture(scope="module")
def mcp() -> Generator[ToolServer]:
    with serving_tools() as server:
        yield server


# --- A server that answers turns ------------------------------------------------------------------


def http(url: str) -> dict[str, Any]:
    return {"kind": "http", "url": url, "timeout_seconds": 1}


async def test_a_turn_is_not_posted_to_a_name_that_leads_to_a_private_address(
    turns: TurnServer,
) -> None:
    turns.answers(answers("Hi."))
    public, network = leading_to("10.0.0.7", turns.url)
    async with made(http(named(turns.url)), public) as engine:
        failed = await engine.reply(turn("hi"))
    assert isinstance(failed, TurnFailed)
    assert failed.reason.startswith(f"could not connect: {WHY} (attempts: ")
    assert (network.to, turns.received) == ([], [])


async def test_a_turn_is_posted_to_the_address_that_was_checked(turns: TurnServer) -> None:
    turns.answers(answers("Hi."))
    public, network = leading_to(PUBLIC, turns.url)
    async with made(http(named(turns.url)), public) as engine:
        assert said(await engine.reply(turn("hi"))) == ["Hi."]
    assert network.to == [PUBLIC]
    assert turns.received[0].headers["host"] == urlsplit(named(turns.url)).netloc


async def test_where_a_server_of_turns_redirects_to_nobody_goes(turns: TurnServer) -> None:
    turns.answers(Answer(status=307, headers={"location": "http://169.254.169.254/"}))
    public, network = leading_to(PUBLIC, turns.url)
    async with made(http(named(turns.url)), public) as engine:
        failed = await engine.reply(turn("hi"))
    assert isinstance(failed, TurnFailed)
    assert "redirects are not followed" in failed.reason
    assert set(network.to) == {PUBLIC}


async def test_the_files_server_may_be_on_this_machine(turns: TurnServer) -> None:
    turns.answers(answers("Hi."))
    public, network = leading_to("10.0.0.7", turns.url)
    local = turns.url.replace("127.0.0.1", "localhost")
    async with made(http(local), public, by="file") as engine:
        assert said(await engine.reply(turn("hi"))) == ["Hi."]
    assert network.to == []  # it was not asked


async def test_an_address_that_was_written_as_it_is_is_checked_too(turns: TurnServer) -> None:
    """As one that came while private addresses were allowed."""
    turns.answers(answers("Hi."))
    public, _ = leading_to(PUBLIC, turns.url)
    async with made(http(turns.url), public) as engine:
        failed = await engine.reply(turn("hi"))
    assert isinstance(failed, TurnFailed)
    assert WHY in failed.reason


# --- Models, tools, MCP servers -------------------------------------------------------------------


def llm(
    base_url: str, provider: Provider = "openai", reading: Reading = "whole", **more: object
) -> dict[str, Any]:
    model = {"provider": provider, "name": "fake-1", "api_key": "sk-1", "base_url": base_url}
    model |= {"stream": reading == "stream", "retries": 0}
    return {"kind": "llm", "prompt": "Be kind.", "model": model, **more}


@APIS
async def test_a_model_is_not_asked_at_a_private_address(
    models: ModelServer, provider: Provider, reading: Reading
) -> None:
    models.answers(says("Hi."))
    base_url = models.base_url(provider)
    public, network = leading_to("169.254.169.254", base_url)
    async with made(llm(named(base_url), provider, reading), public) as engine:
        failed = await engine.reply(turn("hi"))
    assert isinstance(failed, TurnFailed)
    assert failed.reason == f"the model was not asked: {WHY}"
    assert (network.to, models.asked) == ([], [])


@APIS
async def test_a_model_is_asked_at_the_address_that_was_checked(
    models: ModelServer, provider: Provider, reading: Reading
) -> None:
    models.answers(says("Hi."))
    base_url = models.base_url(provider)
    public, network = leading_to(PUBLIC, base_url)
    async with made(llm(named(base_url), provider, reading), public) as engine:
        assert said(await engine.reply(turn("hi"))) == ["Hi."]
    assert network.to == [PUBLIC]


@APIS
async def test_the_files_model_may_be_on_this_machine(
    models: ModelServer, provider: Provider, reading: Reading
) -> None:
    models.answers(says("Hi."))
    base_url = models.base_url(provider)
    public, network = leading_to(PUBLIC, base_url)
    async with made(llm(base_url, provider, reading), public, by="file") as engine:
        assert said(await engine.reply(turn("hi"))) == ["Hi."]
    assert network.to == []


def private_but(url: str) -> tuple[PublicNetwork, Network]:
    """The model is at a public address, and what it calls at a private one."""

    async def resolve(host: str, port: int) -> list[str]:
        assert port
        return [PUBLIC if host == "model.example" else "10.0.0.7"]

    network = Network(urlsplit(url).port or 0)
    return PublicNetwork(resolve=resolve, network=network), network


async def test_a_tool_at_a_private_address_is_not_called_and_the_agent_is_told(
    models: ModelServer, turns: TurnServer
) -> None:
    models.answers(calls("look", day="mon"), says("I could not look."))
    base_url = models.base_url("openai")
    public, network = private_but(base_url)
    tools = [{"name": "look", "description": "Looks.", "url": named(turns.url)}]
    turns.received.clear()
    at = base_url.replace("127.0.0.1", "model.example")
    async with made(llm(at, tools=tools), public) as engine:
        assert said(await engine.reply(turn("hi"))) == ["I could not look."]
    assert f"It was not called: {WHY}." in dict(models.asked[-1].lines)["tool"]
    assert turns.received == []
    assert set(network.to) == {PUBLIC}


async def test_the_tools_of_an_mcp_server_at_a_private_address_are_not_listed(
    models: ModelServer, mcp: ToolServer
) -> None:
    models.answers(says("Hi."))
    public, network = private_but(models.base_url("openai"))
    at = models.base_url("openai").replace("127.0.0.1", "model.example")
    servers = [{"name": "crm", "url": named(mcp.url)}]
    async with made(llm(at, mcp=servers), public) as engine:
        failed = await engine.reply(turn("hi"))
    assert isinstance(failed, TurnFailed)
    assert failed.reason == f"the tools of the MCP server crm could not be listed: {WHY}"
    assert network.to == []


async def test_an_mcp_server_is_called_at_the_address_that_was_checked(
    models: ModelServer, mcp: ToolServer
) -> None:
    models.answers(calls("crm_free_slots", day="mon"), says("At 4pm."))
    local = models.base_url("openai")
    public, network = leading_to(PUBLIC, mcp.url)
    engine = llm(local, mcp=[{"name": "crm", "url": named(mcp.url)}])
    # The model is as the file gave it.
    one = engine_maker(VAULT, public)(replace(version(engine, "api"), private_urls=[local]))
    assert said(await one.reply(turn("hi"))) == ["At 4pm."]
    assert set(network.to) == {PUBLIC}
    assert [name for name, *_ in mcp.calls] == ["free_slots"]
    await one.close()


# --- Flows ----------------------------------------------------------------------------------------


def flow(url: str) -> dict[str, Any]:
    call = {"url": url}
    return {
        "kind": "flow",
        "nodes": [
            {
                "id": "ask",
                "call": call,
                "edges": [{"result": "success", "to": "well"}, {"result": "failure", "to": "ill"}],
            },
            {"id": "well", "say": "It is open.", "end": True},
            {"id": "ill", "say": "Nobody is there.", "end": True},
        ],
    }


@pytest.mark.parametrize(("address", "answer"), [("10.0.0.7", "Nobody is there."), (PUBLIC, "It")])
async def test_a_flow_calls_public_addresses_only(
    turns: TurnServer, address: str, answer: str
) -> None:
    turns.answers(Answer(body=b"{}"))
    public, _ = leading_to(address, turns.url)
    async with made(flow(named(turns.url)), public) as engine:
        (text,) = said(await engine.reply(turn("hi")))
    assert text.startswith(answer)
    assert len(turns.received) == (address == PUBLIC)


async def test_the_files_flow_calls_this_machine(turns: TurnServer) -> None:
    turns.answers(Answer(body=b"{}"))
    public, _ = leading_to(PUBLIC, turns.url)
    async with made(flow(turns.url), public, by="file") as engine:
        assert said(await engine.reply(turn("hi"))) == ["It is open."]


# --- Carriers -------------------------------------------------------------------------------------


@pytest.fixture
async def twilio() -> AsyncGenerator[FakeTwilio]:
    async with FakeTwilio() as fake:
        fake.receipts = NO_RECEIPTS
        yield fake


def carriers(public: PublicNetwork) -> Callable[[CarrierAccount], Any]:
    return carrier_maker(SendPolicy(), texts.utc_now, lambda: 0.0, CarrierWay(public, OWN))


@pytest.mark.parametrize(
    ("by", "address", "to"), [("api", "10.0.0.7", []), ("api", PUBLIC, [PUBLIC]), ("file", "", [])]
)
async def test_a_text_leaves_for_a_public_address_or_the_files(
    twilio: FakeTwilio, by: By, address: str, to: list[str]
) -> None:
    public, network = leading_to(address, twilio.base_url)
    account = texts.account_of(twilio)
    if by == "api":
        account = replace(account, base_url=named(twilio.base_url), public_only=True)
    carrier = carriers(public)(account)
    done = await carrier.send(texts.outgoing("Hi."))
    assert network.to == to
    if to or by == "file":
        assert isinstance(done, Taken)
    else:
        # Nothing left, so nothing is in doubt: it waits, and is not sent twice.
        assert done == SendError("connection", f"could not connect: {WHY}", "slow_down")
    await carrier.close()


async def test_a_number_is_not_looked_up_at_a_private_address(twilio: FakeTwilio) -> None:
    public, network = leading_to("10.0.0.7", twilio.base_url)
    importer = TwilioNumbers(timeout=timedelta(seconds=5), way=CarrierWay(public, OWN))
    account = replace(texts.account_of(twilio), base_url=named(twilio.base_url), public_only=True)
    done = await importer.find(account, Phone("+14155550100"))
    assert done == NotDone("unreachable", f"Twilio did not answer ({WHY}).")
    assert network.to == []


async def test_the_operators_own_address_for_twilio_may_be_private(twilio: FakeTwilio) -> None:
    public, network = leading_to("10.0.0.7", twilio.base_url)
    account = replace(texts.account_of(twilio), public_only=True)
    way = CarrierWay(public, account.base_url)
    carrier = carrier_maker(SendPolicy(), texts.utc_now, lambda: 0.0, way)(account)
    assert isinstance(await carrier.send(texts.outgoing("Hi.")), Taken)
    assert network.to == []
    await carrier.close()
