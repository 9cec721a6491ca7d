"""Flows for tests, written as an operator writes them."""

from collections.abc import Mapping, Sequence
from typing import cast

import httpx
import yaml

from tests.support.talk import Talk
from tests.support.turns import NOON
from textback.core.language import LanguageModel
from textback.engines.flow import FlowConfig, FlowEngine

A_MODEL: Mapping[str, object] = {"provider": "anthropic", "name": "m", "api_key": "k" * 20}


def config(text: str, *, model: LanguageModel | None = None) -> FlowConfig:
    """From YAML; stored and read again, as between `apply` and a worker."""
    written = cast("dict[str, object]", yaml.safe_load(text))
    return FlowConfig.model_validate(written if model is None else {"model": A_MODEL, **written})


def engine(
    text: str,
    *,
    model: LanguageModel | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FlowEngine:
    return FlowEngine(
        config(text, model=model), model=model, clock=lambda: NOON, transport=transport
    )


def talk(
    text: str,
    *,
    model: LanguageModel | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    variables: Mapping[str, object] | None = None,
) -> Talk:
    return Talk(engine(text, model=model, transport=transport), variables=variables or {})


async def scripted(talking: Talk, texts: Sequence[str]) -> str:
    """The conversation in which the agent opens and the user says these."""
    await talking.opens()
    for text in texts:
        await talking.says(text)
    return talking.script
