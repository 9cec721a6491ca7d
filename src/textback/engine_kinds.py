"""Every kind of engine: how its settings are read, and how it is made. A new one is added here.

A kind is loaded when it is first named, so that nobody pays for what no agent uses.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from textback.core import secret_paths
from textback.core.engine import Engine
from textback.core.frozen import frozen
from textback.public_network import ANY_WAY, Way


@frozen
class EngineKind:
    """All of one kind. What its functions are given is an instance of `model`."""

    model: type[BaseModel]
    """Of its settings; what is a secret in them is a SecretStr."""
    deadline: Callable[[Any], timedelta]
    """How long a turn may take in all."""
    make: Callable[[Any, Callable[[], datetime], Way], Engine]
    """With the clock that dates signatures, and the way to what is called. Nothing connects yet."""
    can_open: Callable[[Any], bool] = lambda _: False
    can_analyse: Callable[[Any], bool] = lambda _: False
    nodes: Callable[[Any], Sequence[str]] = lambda _: ()
    """Where conversations can be told to start."""
    earlier: Callable[[Any], int] = lambda _: 0
    """Of how many earlier conversations with the same user it wants to be told."""


@cache
def _scripted() -> EngineKind:
    from textback.engines.scripted import ScriptedConfig, ScriptedEngine  # noqa: PLC0415

    def make(config: ScriptedConfig, _clock: object, _way: object) -> Engine:
        return ScriptedEngine(config)

    def deadline(config: ScriptedConfig) -> timedelta:
        return ScriptedEngine(config).deadline

    return EngineKind(model=ScriptedConfig, deadline=deadline, make=make)


@cache
def _http() -> EngineKind:
    from textback.engines.http import HttpConfig, HttpEngine  # noqa: PLC0415

    def make(config: HttpConfig, clock: Callable[[], datetime], way: Way) -> Engine:
        return HttpEngine(config, clock=clock, transport=way.transport(config.url))

    def deadline(config: HttpConfig) -> timedelta:
        return timedelta(seconds=2 * config.timeout_seconds)  # HttpEngine's; one opens a pool

    return EngineKind(
        model=HttpConfig,
        deadline=deadline,
        make=make,
        can_open=lambda _: HttpEngine.can_open,
        can_analyse=lambda _: HttpEngine.can_analyse,
        earlier=lambda config: config.earlier_conversations,
    )


@cache
def _llm() -> EngineKind:
    from textback.llm.settings import LlmConfig  # noqa: PLC0415

    def make(config: LlmConfig, clock: Callable[[], datetime], way: Way) -> Engine:
        from textback.engines.llm import LlmEngine  # noqa: PLC0415

        return LlmEngine(config, clock=clock, way=way)

    def deadline(config: LlmConfig) -> timedelta:
        return timedelta(seconds=config.timeout_seconds)

    return EngineKind(
        model=LlmConfig,
        deadline=deadline,
        make=make,
        can_open=lambda _: True,
        can_analyse=lambda _: True,
        earlier=lambda config: config.memory.earlier_conversations,
    )


@cache
def _flow() -> EngineKind:
    from textback.engines.flow import FlowConfig, FlowEngine  # noqa: PLC0415

    def make(config: FlowConfig, clock: Callable[[], datetime], way: Way) -> Engine:
        from textback.llm.model import make_model  # noqa: PLC0415

        model = None if config.model is None else make_model(config.model, way)
        return FlowEngine(config, model=model, clock=clock, way=way)

    def deadline(config: FlowConfig) -> timedelta:
        return timedelta(seconds=config.deadline_seconds)

    def nodes(config: FlowConfig) -> list[str]:
        return list(config.graph().nodes)

    return EngineKind(
        model=FlowConfig,
        deadline=deadline,
        make=make,
        can_open=lambda config: config.can_open,
        can_analyse=lambda config: config.model is not None,
        nodes=nodes,
    )


@frozen(kw_only=False)
class _Kinds(Mapping[str, EngineKind]):
    loaders: Mapping[str, Callable[[], EngineKind]]

    def __getitem__(self, name: str) -> EngineKind:
        return self.loaders[name]()

    def __contains__(self, name: object) -> bool:
        return name in self.loaders

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaders)

    def __len__(self) -> int:
        return len(self.loaders)


KINDS: Final[Mapping[str, EngineKind]] = _Kinds(
    {"scripted": _scripted, "http": _http, "llm": _llm, "flow": _flow}
)
"""By the `kind` that an agent's `engine` names."""


def make(
    engine: Mapping[str, object],
    secrets: Mapping[str, str],
    *,
    clock: Callable[[], datetime],
    way: Way = ANY_WAY,
) -> Engine:
    """From stored settings, and the opened secrets by their paths in them.

    Raises ValueError, LookupError or TypeError when they are not what today's engines understand.
    """
    kind = KINDS[str(engine["kind"])]
    settings = kind.model.model_validate(secret_paths.put(engine, secrets))
    return kind.make(settings, clock, way)
