"""What the llm engine makes of a conversation that is over."""

from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from tests.support.fake_models import Fails, ModelServer, Provider, calls, says, serving
from tests.support.turns import NOON
from textback.core.engine import (
    Analysis,
    AnalysisRequest,
    AnalysisSettings,
    Possible,
    Said,
    TurnFailed,
    Usage,
)
from textback.core.ids import AgentId, ConversationId, ProjectId
from textback.engines.llm import LlmConfig, LlmEngine

ONCE = Usage(input_tokens=100, output_tokens=10)
TWICE = Usage(input_tokens=200, output_tokens=20)
TALK = [
    Said(seq=1, role="agent", text="Friday at 4?", at=NOON),
    Said(seq=2, role="user", text="Yes. I am Ann.", at=NOON),
]
WANTED = AnalysisSettings(
    values={
        "type": "object",
        "properties": {"name": {"$ref": "#/$defs/name"}},
        "$defs": {"name": {"type": "string", "minLength": 2}},
    },
    outcomes=[Possible("confirmed", "The user comes."), Possible("declined")],
    instructions="Mention the weekday.",
)


@pytest.fixture(scope="module")
def running() -> Generator[ModelServer]:
    with serving() as models:
        yield models


@pytest.fixture
def models(running: ModelServer) -> ModelServer:
    running.answers(says("ok"))
    return running


@pytest.fixture(params=["openai", "anthropic"])
async def engine(models: ModelServer, request: pytest.FixtureRequest) -> AsyncGenerator[LlmEngine]:
    provider: Provider = request.param
    model = {
        "provider": provider,
        "name": "fake-1",
        "base_url": models.base_url(provider),
        "api_key": "k",
    }
    config = LlmConfig.model_validate({"model": model, "prompt": "Be kind."})
    engine = LlmEngine(config, clock=lambda: NOON, pauses=(0.01,))
    yield engine
    await engine.close()


def over(wanted: AnalysisSettings = WANTED, **more: Any) -> AnalysisRequest:
    given: dict[str, Any] = {
        "conversation_id": ConversationId("conv_01"),
        "agent_id": AgentId("mia"),
        "project_id": ProjectId("reminders"),
        "transcript": TALK,
        "ended": "idle",
        "wanted": wanted,
        "metadata": {},
        "now": NOON,
    }
    return AnalysisRequest(**given | more)


async def test_a_summary_values_and_an_outcome_come_of_one_call(
    engine: LlmEngine, models: ModelServer
) -> None:
    models.answers(
        calls("record", summary="Ann comes.", values={"name": "Ann"}, outcome="confirmed")
    )
    request = over(objective="Confirm.", variables={"salon": "Bella's"})
    assert engine.can_analyse
    assert await engine.analyse(request) == Analysis(
        summary="Ann comes.", values={"name": "Ann"}, outcome="confirmed", usage=ONCE
    )
    (asked,) = models.asked
    for part in ("idle", "Confirm.", "Bella's", "- confirmed: The user comes.", "the weekday"):
        assert part in asked.instructions
    assert asked.lines == [
        (
            "user",
            '{"by": "agent", "text": "Friday at 4?"}\n{"by": "user", "text": "Yes. I am Ann."}',
        )
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"summary": "x", "values": {"name": "A"}, "outcome": None},  # too short, through a $ref
        {"summary": "x", "values": {"name": "Ann"}, "outcome": "maybe"},
        {"summary": 3, "values": {}, "outcome": None},
        {"values": {}, "outcome": None},
    ],
    ids=["value", "outcome", "summary", "missing"],
)
async def test_what_does_not_fit_is_asked_for_again_and_then_refused(
    engine: LlmEngine, models: ModelServer, wrong: dict[str, object]
) -> None:
    good = calls("record", summary="x", values={}, outcome=None)
    models.answers(calls("record", **wrong), good)
    assert await engine.analyse(over()) == Analysis(summary="x", values={}, usage=TWICE)
    models.answers(calls("record", **wrong))
    reason = "the model's values do not fit the schema"
    assert await engine.analyse(over()) == TurnFailed(reason, TWICE)


async def test_only_what_is_wanted_is_asked_for(engine: LlmEngine, models: ModelServer) -> None:
    models.answers(calls("record", summary="x"))
    assert await engine.analyse(over(AnalysisSettings())) == Analysis(summary="x", usage=ONCE)
    assert "outcome" not in str(models.asked[0].body["tools"])
    models.asked.clear()
    assert await engine.analyse(over(AnalysisSettings(summary=False))) == Analysis()
    assert await engine.analyse(over(transcript=[])) == Analysis()
    assert not models.asked


async def test_of_a_very_long_conversation_the_end_is_read(
    engine: LlmEngine, models: ModelServer
) -> None:
    models.answers(calls("record", summary="x"))
    long = [Said(seq=n, role="user", text=f"<{n}>" + "x" * 999, at=NOON) for n in range(200)]
    await engine.analyse(over(AnalysisSettings(), transcript=long))
    read = models.asked[0].lines[0][1]
    assert "<199>" in read
    assert "<0>" not in read


async def test_a_failure_is_told(engine: LlmEngine, models: ModelServer) -> None:
    models.answers(Fails(status=401))
    failed = await engine.analyse(over())
    assert failed == TurnFailed("the model's server refused the key (HTTP 401)")
