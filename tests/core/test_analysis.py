"""What of an engine's analysis is kept."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.make import NOW
from textback.core.analysis import again_at, usable
from textback.core.engine import (
    NOTHING,
    Analysis,
    AnalysisSettings,
    Possible,
    TurnFailed,
    Usage,
)
from textback.llm.schema import misfit

SCHEMA = {
    "type": "object",
    "properties": {"time": {"type": "string"}},
    "additionalProperties": False,
}
WANTED = AnalysisSettings(values=SCHEMA, outcomes=[Possible("booked"), Possible("lost")])
USED = Usage(input_tokens=9, output_tokens=1, cost_usd=0.5)


@pytest.mark.parametrize(
    "found",
    [
        Analysis(),
        Analysis(summary="", values={}, outcome=None),
        Analysis(summary="They agreed on 3pm.", values={"time": "3pm"}, outcome="booked"),
        Analysis(summary="🎉" * 2000, usage=USED),
    ],
)
def test_what_was_wanted_is_kept(found: Analysis) -> None:
    assert usable(found, WANTED, misfit) == found


def test_what_was_not_wanted_is_not_looked_at() -> None:
    found = Analysis(summary="x" * 9999, values={"y": object()}, outcome="z", usage=USED)
    assert usable(found, AnalysisSettings(summary=False), misfit) == Analysis(usage=USED)


def given(**values: Any) -> Analysis:
    return Analysis(**values, usage=USED)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (given(summary="x" * 2001), "has a summary of over 2000 characters"),
        (given(summary="PRIVATE\x00"), "has a summary that is no text"),
        (given(summary=["PRIVATE"]), "has a summary that is no text"),
        (given(values=["PRIVATE"]), "has values that are no JSON of up to 64000 bytes"),
        (given(values={"time": "\x00"}), "has values that are no JSON of up to 64000 bytes"),
        (given(values={"time": "x" * 64_000}), "has values that are no JSON of up to 64000 bytes"),
        (given(values={"time": float("nan")}), "has values that are no JSON of up to 64000 bytes"),
        (given(values={"time": 3}), "has values that do not fit their schema"),
        (given(values={"PRIVATE": 3}), "has values that do not fit their schema"),
        (given(outcome="PRIVATE"), "has an outcome that is none of those possible"),
        (given(outcome=""), "has an outcome that is none of those possible"),
        (given(outcome=["booked"]), "has an outcome that is none of those possible"),
    ],
)
def test_what_cannot_be_kept_fails_with_a_reason_that_quotes_nothing(
    found: Analysis, why: str
) -> None:
    assert usable(found, WANTED, misfit) == TurnFailed(f"the engine's analysis {why}", USED)


@pytest.mark.parametrize("answer", [None, "PRIVATE", {}, object()])
def test_what_is_no_analysis_fails(answer: object) -> None:
    assert usable(answer, WANTED, misfit) == TurnFailed("the engine's analysis is none")


def test_a_failure_keeps_its_reason_as_far_as_it_can_be_stored() -> None:
    failed = usable(TurnFailed("no\x00" + "x" * 999, USED), WANTED, misfit)
    assert isinstance(failed, TurnFailed)
    assert failed.usage == USED
    assert failed.reason.startswith("no?x")
    assert len(failed.reason) == 500


@pytest.mark.parametrize("usage", [Usage(input_tokens=-1), Usage(cost_usd=float("inf")), "much"])
def test_a_cost_that_makes_no_sense_counts_as_nothing(usage: Any) -> None:
    assert usable(Analysis(usage=usage), WANTED, misfit) == Analysis(usage=NOTHING)


def test_a_schema_that_cannot_be_followed_fails_the_values() -> None:
    lost: Mapping[str, object] = {"type": "object", "$ref": "https://example.com/schema"}
    wanted = AnalysisSettings(values=lost)
    assert isinstance(usable(Analysis(values={}), wanted, misfit), TurnFailed)


def test_it_is_tried_three_times() -> None:
    assert again_at(1, now=NOW) == NOW + timedelta(seconds=30)
    assert again_at(2, now=NOW) == NOW + timedelta(minutes=5)
    assert again_at(3, now=NOW) is None
    assert again_at(4, now=NOW) is None
