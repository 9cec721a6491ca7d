"""What was measured, as tables for people and as JSON."""

import math
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

Cell = str | float | int | None

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
MODEL = "<!-- model -->", "<!-- /model -->"


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and what was measured of it."""

    what: str
    measured: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        """NaN holds nothing."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return low <= self.measured <= high

    @property
    def wanted(self) -> str:
        if self.at_least is not None:
            return f">= {shown(self.at_least)} {self.unit}"
        return f"<= {shown(self.at_most)} {self.unit}"


def no_errors(bad: float, what: str = "answers that were errors") -> Check:
    """With some, no other figure counts: they are answered sooner than what was asked for."""
    return Check(what, bad, "", at_most=0)


@dataclass(slots=True, kw_only=True)
class Result:
    name: str
    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list[list[Cell]])
    checks: list[Check] = field(default_factory=list[Check])
    notes: list[str] = field(default_factory=list[str])
    figures: dict[str, float] = field(default_factory=dict[str, float])
    """By name, for the model and for who compares."""
    curves: dict[str, list[tuple[float, float]]] = field(
        default_factory=dict[str, list[tuple[float, float]]]
    )


def shown(value: Cell) -> str:
    """Three figures that count; thousands with a comma."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """In Markdown, padded so that it reads well as it is; columns of numbers to the right."""
    cells = [[shown(cell) for cell in row] for row in rows]
    right = [
        bool(rows) and 2 * sum(isinstance(r[n], str) for r in rows) < len(rows)
        for n in range(len(columns))
    ]
    widths = [max(3, len(name), *(len(r[n]) for r in cells)) for n, name in enumerate(columns)]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(columns), line(rule), *map(line, cells)])


def section(result: Result) -> str:
    """One bench, in Markdown."""
    parts = [f"### {result.name}: {result.title}", table(result.columns, result.rows)]
    if result.checks:
        rows = [
            [c.what, f"{shown(c.measured)} {c.unit}", c.wanted, "yes" if c.holds else "NO"]
            for c in result.checks
        ]
        parts.append(table(["promise", "measured", "wanted", "holds"], rows))
    parts += [f"- {note}" for note in result.notes]
    return "\n\n".join(parts) + "\n"


def replaced(document: str, figures: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """`document` with what is between its two marks replaced. Raises ValueError without them."""
    begin, end = marks
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"the document lacks {begin} and {end}")
    return pattern.sub(lambda _: f"{begin}\n{figures}\n{end}", document)


def machine() -> dict[str, Cell]:
    """What it ran on, and what else that was doing."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    load = os.getloadavg()
    return {
        "cores": psutil.cpu_count() or 0,
        "cpu": model,
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1m": round(load[0], 2),
        "load_5m": round(load[1], 2),
    }


def stolen(before: Any, after: Any) -> float:  # noqa: ANN401 - it differs by system
    """Percent of the machine's time that its host gave to others, where that is told."""
    total = sum(after) - sum(before)
    return (getattr(after, "steal", 0) - getattr(before, "steal", 0)) / (total or 1) * 100


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
