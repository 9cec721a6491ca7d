"""An agent that was found right -> the contents of its production and its draft version."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from pydantic import BaseModel, SecretStr

from textback.core import secret_paths
from textback.core.engine import AnalysisSettings, Possible
from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId
from textback.core.plan import Agent, AgentContent, Path
from textback.provisioning_file import agent_shape as shape
from textback.provisioning_file.engine_kind import EngineKind


@frozen(kw_only=False)
class EngineSettings:
    """An agent's `engine`, checked by the model of its kind."""

    settings: BaseModel
    kind: EngineKind


Engines: TypeAlias = Mapping[Path, EngineSettings]


def built(path: Path, account_id: AccountId, agent: shape.Agent, engines: Engines) -> Agent:
    """`engines` by the path of an agent's or a draft's `engine`."""
    engine = engines[*path, "engine"]
    production = _content(agent.greeting, agent.fallback, engine, agent.analysis)
    draft = None
    if (own := agent.draft) is not None:
        given = own.model_fields_set
        draft = _content(
            own.greeting if "greeting" in given else agent.greeting,
            own.fallback if "fallback" in given else agent.fallback,
            engine if own.engine is None else engines[*path, "draft", "engine"],
            own.analysis if "analysis" in given else agent.analysis,
        )
    return Agent(
        path=path, id=AgentId(agent.id), account_id=account_id, production=production, draft=draft
    )


def _content(
    greeting: str | None,
    fallback: str | None,
    engine: EngineSettings,
    analysis: shape.Analysis | None,
) -> AgentContent:
    kind, settings = engine.kind, engine.settings
    plain, secrets = taken_apart(settings)
    return AgentContent(
        greeting=greeting,
        fallback=fallback,
        engine=plain,
        secrets=secrets,
        can_open=kind.can_open(settings),
        deadline=kind.deadline(settings),
        earlier=kind.earlier(settings),
        nodes=tuple(kind.nodes(settings)),
        analysis=None if analysis is None else _wanted(analysis),
    )


def _wanted(analysis: shape.Analysis) -> AnalysisSettings:
    return AnalysisSettings(
        summary=analysis.summary,
        values=analysis.values,
        outcomes=tuple(Possible(one.name, one.description) for one in analysis.outcomes),
        instructions=analysis.instructions,
    )


def taken_apart(settings: BaseModel) -> tuple[dict[str, object], dict[str, str]]:
    """The settings as JSON, with null for each secret; and the secrets, by their paths."""
    secrets: dict[str, str] = {}
    plain = without_secrets(settings.model_dump(), settings.model_dump(mode="json"), secrets)
    return cast("dict[str, object]", plain), secrets


def reread(
    kinds: Mapping[str, EngineKind], engine: Mapping[str, object], secrets: Mapping[str, str]
) -> Mapping[str, object]:
    """What an engine's stored settings are in today's words: fields added since have defaults.

    Settings that today's model refuses are given back as they are.
    """
    try:
        kind = kinds[str(engine["kind"])]
        settings = kind.model.model_validate(secret_paths.put(engine, secrets))
    except (LookupError, ValueError, TypeError):
        return engine
    return taken_apart(settings)[0]


def without_secrets(
    live: object, dumped: object, found: dict[str, str], path: tuple[str, ...] = ()
) -> object:
    """`dumped` with null for each SecretStr of `live`, which goes into `found` by its path."""
    match live, dumped:
        case SecretStr(), _:
            found[".".join(path)] = live.get_secret_value()
            return None
        case dict(), dict():
            fields = cast("dict[str, object]", live)
            return {
                name: without_secrets(fields[name], value, found, (*path, name))
                for name, value in cast("dict[str, object]", dumped).items()
            }
        case list() | tuple(), list():
            pairs = zip(cast("Sequence[object]", live), cast("list[object]", dumped), strict=True)
            return [
                without_secrets(item, value, found, (*path, str(place)))
                for place, (item, value) in enumerate(pairs)
            ]
        case _:
            return dumped
