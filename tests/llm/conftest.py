"""Fake models behind both APIs, streaming and not."""

from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass

import pytest

from tests.support.fake_models import ModelServer, Provider, serving
from tests.support.turn_server import TurnServer
from tests.support.turn_server import serving as tools_serving
from textback.llm.model import PydanticAiModel
from textback.llm.settings import ModelSettings

KEY = "sk-SENTINEL-of-the-model-9d1f"


@pytest.fixture(scope="module")
def running() -> Generator[ModelServer]:
    with serving() as server:
        yield server


@pytest.fixture
def models(running: ModelServer) -> ModelServer:
    """Say "ok" to everything, until a test wants something else."""
    running.answers()
    running.answer = ModelServer().answer
    return running


@pytest.fixture(scope="module")
def running_tools() -> Generator[TurnServer]:
    with tools_serving() as server:
        yield server


@pytest.fixture
def endpoint(running_tools: TurnServer) -> TurnServer:
    """A server of tools."""
    running_tools.answers()
    return running_tools


@dataclass(frozen=True)
class Api:
    provider: Provider
    stream: bool

    def settings(self, server: ModelServer, **more: object) -> ModelSettings:
        given = {
            "provider": self.provider,
            "name": "fake-1",
            "base_url": server.base_url(self.provider),
            "api_key": KEY,
            "stream": self.stream,
        }
        return ModelSettings.model_validate(given | more)


APIS = [
    Api("openai", stream=False),
    Api("openai", stream=True),
    Api("anthropic", stream=False),
    Api("anthropic", stream=True),
]


@pytest.fixture(params=APIS, ids=lambda api: f"{api.provider}{'-stream' if api.stream else ''}")
def api(request: pytest.FixtureRequest) -> Api:
    return request.param


@pytest.fixture
async def model(api: Api, models: ModelServer) -> AsyncGenerator[PydanticAiModel]:
    model = PydanticAiModel(api.settings(models), pauses=(0.01,))
    yield model
    await model.close()
