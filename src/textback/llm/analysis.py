"""What a model makes of a conversation that is over: one structured answer, checked."""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from textback.core.engine import Analysis, AnalysisRequest, Said, TurnFailed
from textback.core.language import LanguageModel, ModelFailed
from textback.llm.prompt import as_data
from textback.llm.talk import tokens

_MOST_TO_READ: Final = 30_000
"""Tokens; of a longer conversation, its end."""


async def analysed(
    model: LanguageModel, request: AnalysisRequest, *, seconds: float
) -> Analysis | TurnFailed:
    wanted = request.wanted
    if not request.transcript or not (wanted.summary or wanted.values or wanted.outcomes):
        return Analysis()
    extracted = await model.extract(
        _task(request), _schema(request), _latest(request.transcript), seconds=seconds
    )
    if isinstance(extracted, ModelFailed):
        return TurnFailed(extracted.reason, extracted.usage)
    found = extracted.values
    summary, values, outcome = found.get("summary"), found.get("values"), found.get("outcome")
    return Analysis(
        summary=summary if isinstance(summary, str) else None,
        values=cast("Mapping[str, object]", values) if isinstance(values, Mapping) else None,
        outcome=outcome if isinstance(outcome, str) else None,
        usage=extracted.usage,
    )


def _task(request: AnalysisRequest) -> str:
    wanted = request.wanted
    lines = [f"The conversation is over: {request.ended}. Analyse it."]
    if request.objective:
        lines.append(f"What it was for (data): {as_data(request.objective)}")
    if request.variables:
        lines.append(f"What was known of it (data): {as_data(dict(request.variables))}")
    if wanted.summary:
        lines.append("summary: two or three sentences on what the user wanted and how it ended.")
    if wanted.values is not None:
        lines.append("values: what was said of these; leave out what was not.")
    if wanted.outcomes:
        lines.append("outcome: the one that fits best, or null if none does:")
        lines += [f"- {each.name}: {each.description}" for each in wanted.outcomes]
    if wanted.instructions:
        lines.append(wanted.instructions)
    return "\n".join(lines)


def _schema(request: AnalysisRequest) -> dict[str, object]:
    wanted = request.wanted
    properties: dict[str, object] = {}
    if wanted.summary:
        properties["summary"] = {"type": "string"}
    if wanted.values is not None:
        properties["values"] = _moved(wanted.values, "#/properties/values")
    if wanted.outcomes:
        names: list[object] = [each.name for each in wanted.outcomes]
        properties["outcome"] = {"enum": [*names, None]}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _moved(schema: object, to: str) -> object:
    """A schema that stands deeper in another: what refers to its root refers to `to`."""
    if isinstance(schema, Mapping):
        found: dict[str, object] = {}
        for key, value in cast("Mapping[str, object]", schema).items():
            if key == "$ref" and isinstance(value, str) and value.startswith("#"):
                found[key] = to + value[1:]
            elif key not in {"$id", "$schema"} or not isinstance(value, str):
                found[key] = _moved(value, to)
        return found
    if isinstance(schema, list | tuple):
        return [_moved(each, to) for each in cast("list[object]", schema)]
    return schema


def _latest(transcript: Sequence[Said]) -> list[Said]:
    used, found = 0, list[Said]()
    for said in reversed(transcript):
        used += tokens(said.text)
        if used > _MOST_TO_READ:
            break
        found.insert(0, said)
    return found
