"""What every engine keeps to. A new engine joins by a line in `MAKERS`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import fake_models
from tests.support.turn_server import Answer, Received, TurnServer, says, serving
from tests.support.turns import NOON, turn
from textback.core.engine import Engine, Later, TurnFailed, TurnReply, Usage
from textback.engines.flow import FlowConfig, FlowEngine
from textback.engines.http import HttpConfig, HttpEngine
from textback.engines.llm import LlmConfig, LlmEngine
from textback.engines.scripted import Rule, ScriptedConfig, ScriptedEngine
from textback.llm import talk

storable = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])

# Each engine of this suite says "Bye." and ends at "bye", says nothing at "hush", and else repeats
# what it heard.


@dataclass(frozen=True)
class Servers:
    """What an engine may need: somebody's server for turns, somebody's for models."""

    turns: TurnServer
    models: fake_models.ModelServer


def scripted(_: Servers) -> Engine:
    rules = (
        Rule(match="^bye$", reply="Bye.", end_conversation=True),
        Rule(match="^hush$", reply=""),
    )
    return ScriptedEngine(ScriptedConfig(rules=rules, default="You said: {text}"))


def over_http(servers: Servers) -> Engine:
    def answer(received: Received) -> Answer:
        match received.heard:
            case "bye":
                return says("Bye.", end=True)
            case "hush":
                return says()
            case heard:
                return says(f"You said: {heard}")

    servers.turns.answer = answer
    config = HttpConfig(url=servers.turns.url, timeout_seconds=5)
    return HttpEngine(config, clock=lambda: NOON, pauses=(0, 0.01))


def flow(_: Servers) -> Engine:
    nodes = [
        {
            "id": "sort",
            "edges": [{"matches": "^bye$", "to": "bye"}, {"matches": "^hush$", "to": "hush"}],
            "then": "echo",
        },
        {"id": "bye", "say": "Bye.", "end": True},
        {"id": "hush", "wait": True, "then": "echo"},
        {"id": "echo", "say": "You said: {{lastUserMessage}}", "then": "echo"},
    ]
    config = FlowConfig.model_validate({"nodes": nodes})
    return FlowEngine(config, model=None, clock=lambda: NOON)


def llm(servers: Servers, provider: fake_models.Provider) -> Engine:
    def answer(asked: fake_models.Asked) -> fake_models.Answer:
        match asked.heard:
            case "bye":
                return fake_models.Says(text="Bye.", calls=(fake_models.Calls("end_conversation"),))
            case "hush":
                return fake_models.calls("stay_silent")
            case talk.EMPTY | talk.BEGIN:
                return fake_models.says("You said:")
            case heard:
                return fake_models.says(f"You said: {heard}")

    servers.models.answer = answer
    model = {
        "provider": provider,
        "name": "fake-1",
        "base_url": servers.models.base_url(provider),
        "api_key": "none",
    }
    given = {"model": model, "prompt": "Repeat what you hear.", "may_stay_silent": True}
    return LlmEngine(LlmConfig.model_validate(given), clock=lambda: NOON, pauses=(0.01,))


def llm_openai(servers: Servers) -> Engine:
    return llm(servers, "openai")


def llm_anthropic(servers: Servers) -> Engine:
    return llm(servers, "anthropic")


MAKERS: Final[list[Callable[[Servers], Engine]]] = [
    scripted,
    over_http,
    flow,
    llm_openai,
    llm_anthropic,
]


@pytest.fixture(scope="module")
def servers() -> Generator[Servers]:
    with serving() as turns, fake_models.serving() as models:
        yield Servers(turns, models)


@pytest.fixture(params=MAKERS, ids=[maker.__name__ for maker in MAKERS])
async def engine(request: pytest.FixtureRequest, servers: Servers) -> AsyncGenerator[Engine]:
    make: Callable[[Servers], Engine] = request.param
    engine = make(servers)
    yield engine
    await engine.close()


def bare(answer: object) -> object:
    """What is said and done, without what an engine keeps for itself and what it cost."""
    return replace(answer, state=None, usage=Usage()) if isinstance(answer, TurnReply) else answer


async def test_a_turn_is_answered_with_texts(engine: Engine) -> None:
    answer = await engine.reply(turn("3pm please"))
    assert bare(answer) == TurnReply(texts=("You said: 3pm please",))


async def test_silence_is_an_answer_without_texts(engine: Engine) -> None:
    assert bare(await engine.reply(turn("hush"))) == TurnReply(texts=())


async def test_an_answer_may_end_the_conversation(engine: Engine) -> None:
    answer = await engine.reply(turn("bye"))
    assert bare(answer) == TurnReply(texts=("Bye.",), end_conversation=True)


async def test_the_same_turn_asked_again_is_answered_again(engine: Engine) -> None:
    assert await engine.reply(turn("hi")) == await engine.reply(turn("hi"))


async def test_turns_at_the_same_time_each_get_their_own_answer(engine: Engine) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.reply(turn(f"text {n}"))) for n in range(20)]
    answers = [bare(task.result()) for task in tasks]
    assert answers == [TurnReply(texts=(f"You said: text {n}",)) for n in range(20)]


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(heard=st.text(storable, max_size=2000))
@example(heard="x" * 1590)
@example(heard="x" * 1591)
@example(heard="{text} {0} {} {{text}} %s \\1")
@example(heard=" \n\t\u2003")
async def test_whatever_was_heard_what_is_said_can_be_sent(engine: Engine, heard: str) -> None:
    match await engine.reply(turn(heard)):
        case TurnReply(texts=texts):
            said = f"You said: {heard}"
            assert list(texts) in ([said], [said[:1600]], [said.strip()])
        case TurnFailed(reason):
            assert len(heard) > 1590, reason
            assert reason
        case Later():
            pytest.fail("no engine of this suite answers later")


async def test_an_engine_has_a_deadline_and_says_whether_it_can_open(engine: Engine) -> None:
    assert timedelta(0) < engine.deadline <= timedelta(minutes=10)
    assert engine.can_open in {True, False}


async def test_an_engine_can_be_closed_twice(engine: Engine) -> None:
    await engine.reply(turn("hi"))
    await engine.close()
    await engine.close()
