"""How what was measured is shown."""

import math
from xml.etree import ElementTree as ET

import pytest

from bench import plot
from bench.report import BEGIN, END, Check, Result, no_errors, replaced, section, shown, table
from bench.what.scale import saturated


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1234567, "1,234,567"),
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (0.01234, "0.0123"),
        (math.nan, "-"),
        (None, ""),
        ("as it is", "as it is"),
    ],
)
def test_three_figures_are_enough(value: float | str | None, words: str) -> None:
    assert shown(value) == words


def test_a_table_reads_well_as_it_is() -> None:
    assert table(["what", "req/s"], [["bare", 7000], ["textback", 6_500.4]]) == (
        "| what     | req/s |\n| -------- | ----: |\n| bare     | 7,000 |\n| textback | 6,500 |"
    )


def test_a_table_may_be_empty() -> None:
    assert table(["a", "b"], []).splitlines() == ["| a   | b   |", "| --- | --- |"]


def test_a_promise_holds_up_to_its_limit_and_never_for_nothing() -> None:
    assert Check("p99", 50, "ms", at_most=50).holds
    assert not Check("p99", 50.1, "ms", at_most=50).holds
    assert Check("rate", 400, "/s", at_least=400).holds
    assert not Check("rate", 399, "/s", at_least=400).holds
    assert not Check("p99", math.nan, "ms", at_most=50).holds
    assert no_errors(0).holds
    assert not no_errors(1).holds


def test_a_section_says_what_does_not_hold() -> None:
    result = Result(
        name="idle",
        title="nothing to do",
        columns=["process", "%"],
        rows=[["API", 0.4]],
        checks=[Check("API", 2.0, "%", at_most=1)],
        notes=["a note"],
    )
    written = section(result)
    assert written.startswith("### idle: nothing to do\n\n| process")
    assert "| API     | 2 %      | <= 1 % | NO    |" in written
    assert "- a note" in written


def test_figures_go_between_their_marks() -> None:
    old = f"before\n{BEGIN}\nold \\1\n{END}\nafter\n"
    assert replaced(old, "new \\1") == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"
    with pytest.raises(ValueError, match="lacks"):
        replaced("no marks", "new")


def test_the_plot_is_an_image_with_bars_and_curves() -> None:
    result = Result(
        name="a <b>",
        title="t & u",
        columns=["what", "req/s"],
        rows=[["one", 5.0], ["two", 10], ["three", None]],
        curves={"queued": [(0, 0), (1, 3), (2, 0)]},
    )
    tree = ET.fromstring(plot.svg([result]))  # noqa: S314 - ours
    names = [each.tag.rpartition("}")[2] for each in tree.iter()]
    assert names.count("polyline") == 1
    assert names.count("rect") == 3  # two bars, and the frame of the curve


def test_what_saturates_first_is_named() -> None:
    full = {"API": 0.7, "Postgres": 0.8, "Redis": 0.1, "load": 0.3}
    assert saturated(full, processes=1, cores=2).startswith(
        "the machine's 2 cores; most of them Postgres"
    )
    alone = {"API": 0.98, "Postgres": 0.3, "Redis": 0.0}
    assert saturated(alone, processes=1, cores=8) == "the API processes"
    assert saturated(alone, processes=2, cores=8).startswith("nothing")
