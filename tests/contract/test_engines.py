"""What every engine keeps to. A new engine joins by a line in `MAKERS`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import timedelta
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.turn_server import Answer, Received, TurnServer, says, serving
from tests.support.turns import NOON, turn
from textback.core.engine import Engine, TurnFailed, TurnReply
from textback.engines.http import HttpConfig, HttpEngine
from textback.engines.scripted import Rule, ScriptedConfig, ScriptedEngine

storable = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])

# Each engine of this suite says "Bye." and ends at "bye", says nothing at "hush", and else repeats
# what it heard.


def scripted(_: TurnServer) -> Engine:
    rules = (
        Rule(match="^bye$", reply="Bye.", end_conversation=True),
        Rule(match="^hush$", reply=""),
    )
    return ScriptedEngine(ScriptedConfig(rules=rules, default="You said: {text}"))


def over_http(server: TurnServer) -> Engine:
    def answer(received: Received) -> Answer:
        match received.heard:
            case "bye":
                return says("Bye.", end=True)
            case "hush":
                return says()
            case heard:
                return says(f"You said: {heard}")

    server.answer = answer
    config = HttpConfig(url=server.url, timeout_seconds=5)
    return HttpEngine(config, clock=lambda: NOON, pauses=(0, 0.01))


MAKERS: Final[list[Callable[[TurnServer], Engine]]] = [scripted, over_http]


@pytest.fixture(scope="module")
def server() -> Generator[TurnServer]:
    with serving() as server:
        yield server


@pytest.fixture(params=MAKERS, ids=[maker.__name__ for maker in MAKERS])
async def engine(request: pytest.FixtureRequest, server: TurnServer) -> AsyncGenerator[Engine]:
    make: Callable[[TurnServer], Engine] = request.param
    engine = make(server)
    yield engine
    await engine.close()


async def test_a_turn_is_answered_with_texts(engine: Engine) -> None:
    answer = await engine.reply(turn("3pm please"))
    assert answer == TurnReply(texts=("You said: 3pm please",))


async def test_silence_is_an_answer_without_texts(engine: Engine) -> None:
    assert await engine.reply(turn("hush")) == TurnReply(texts=())


async def test_an_answer_may_end_the_conversation(engine: Engine) -> None:
    assert await engine.reply(turn("bye")) == TurnReply(texts=("Bye.",), end_conversation=True)


async def test_the_same_turn_asked_again_is_answered_again(engine: Engine) -> None:
    assert await engine.reply(turn("hi")) == await engine.reply(turn("hi"))


async def test_turns_at_the_same_time_each_get_their_own_answer(engine: Engine) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(engine.reply(turn(f"text {n}"))) for n in range(20)]
    answers = [task.result() for task in tasks]
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
            assert list(texts) == [f"You said: {heard}"[:1600]]
        case TurnFailed(reason):
            assert len(heard) > 1590, reason
            assert reason


async def test_an_engine_has_a_deadline_and_says_whether_it_can_open(engine: Engine) -> None:
    assert timedelta(0) < engine.deadline <= timedelta(minutes=10)
    assert engine.can_open in {True, False}


async def test_an_engine_can_be_closed_twice(engine: Engine) -> None:
    await engine.reply(turn("hi"))
    await engine.close()
    await engine.close()
