"""What is made of a conversation that is over: when it is tried again, and what may be kept."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import cast

from textback.core import storable, turn
from textback.core.engine import Analysis, AnalysisRequest, AnalysisSettings, TurnFailed, Usage
from textback.core.frozen import frozen
from textback.core.policy import Budgets

LONGEST_SUMMARY = 2000
"""Characters."""

LONGEST_VALUES = 64_000
"""Bytes of JSON."""

WAITS = (timedelta(seconds=30), timedelta(minutes=5))
"""Before each attempt but the first; there are no more attempts than these and that one."""

Misfit = Callable[[Mapping[str, object], object], str | None]
"""What about a value does not fit a JSON Schema; None: it fits."""


@frozen
class Analysing:
    """A conversation whose analysis a worker holds until `lease_until`."""

    request: AnalysisRequest
    agent_version: int
    attempts: int
    """This one included."""
    lease_until: datetime
    budgets: Budgets


def again_at(attempts: int, *, now: datetime) -> datetime | None:
    """When it is tried again after so many attempts; None: no more."""
    return now + WAITS[attempts - 1] if attempts <= len(WAITS) else None


def usable(answer: object, wanted: AnalysisSettings, misfit: Misfit) -> Analysis | TurnFailed:
    """What of an engine's answer was wanted; or why it does not keep to its contract.

    The reason does not quote what was said.
    """
    match answer:
        case TurnFailed():
            return _failed(answer.reason, answer.usage)
        case Analysis():
            usage = _failed("", answer.usage).usage
            wrong = _wrong(answer, wanted, misfit)
            if wrong is not None:
                return TurnFailed(f"the engine's analysis {wrong}", usage)
            return Analysis(
                summary=answer.summary if wanted.summary else None,
                values=None if wanted.values is None else answer.values,
                outcome=answer.outcome if wanted.outcomes else None,
                usage=usage,
            )
        case _:
            return TurnFailed("the engine's analysis is none")


def _failed(reason: str, usage: Usage) -> TurnFailed:
    """As of a turn."""
    return cast("TurnFailed", turn.usable(TurnFailed(reason, usage)))


def _wrong(answer: Analysis, wanted: AnalysisSettings, misfit: Misfit) -> str | None:
    # An engine may be anybody's code: its values need not be what their types say.
    summary, values, outcome = cast(
        "tuple[object, object, object]", (answer.summary, answer.values, answer.outcome)
    )
    if wanted.summary and summary is not None:
        if not isinstance(summary, str) or not storable.is_text(summary):
            return "has a summary that is no text"
        if len(summary) > LONGEST_SUMMARY:
            return f"has a summary of over {LONGEST_SUMMARY} characters"
    if wanted.values is not None and values is not None:
        is_json = storable.is_json(values, longest=LONGEST_VALUES)
        if not is_json or not isinstance(values, dict):
            return f"has values that are no JSON of up to {LONGEST_VALUES} bytes"
        if misfit(wanted.values, cast("object", values)) is not None:
            return "has values that do not fit their schema"
    names = [each.name for each in wanted.outcomes]
    if wanted.outcomes and outcome is not None and outcome not in names:
        return "has an outcome that is none of those possible"
    return None
