"""The figures as one SVG, written by hand: bars of what accepting costs, and curves over time."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from bench.report import Result, shown

WIDTH, BAR, GAP, LEFT, CURVE = 960, 22, 8, 330, 200
COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1")


def write(path: Path, results: Sequence[Result]) -> None:
    path.write_text(svg(results))


def svg(results: Sequence[Result]) -> str:
    """Of each result its first column of numbers as bars, and its curves below them."""
    parts: list[str] = []
    y = 20
    for result in results:
        parts.append(_text(10, y + 10, f"{result.name}: {result.title}", weight="bold"))
        y += 24
        numbers = [(str(row[0]), row[1]) for row in result.rows if isinstance(row[1], float | int)]
        most = max((value for _, value in numbers), default=0) or 1
        if numbers:
            parts.append(_text(LEFT, y + 8, result.columns[1], size=11))
            y += 14
        for name, value in numbers:
            length = value / most * (WIDTH - LEFT - 90)
            box = f'x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}"'
            parts += [
                _text(10, y + 15, name),
                f'<rect {box} fill="{COLOURS[0]}"/>',
                _text(LEFT + length + 6, y + 15, shown(value)),
            ]
            y += BAR + GAP
        if result.curves:
            parts.append(_curves(result, y))
            y += CURVE + 40
        y += 20
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}"'
    style = 'font-family="sans-serif" style="background:#fff"'
    return "\n".join([f"{head} {style}>", *parts, "</svg>\n"])


def _curves(result: Result, top: int) -> str:
    points = [point for curve in result.curves.values() for point in curve]
    right, high = max(x for x, _ in points) or 1, max(y for _, y in points) or 1
    parts = [
        f'<rect x="60" y="{top}" width="{WIDTH - 80}" height="{CURVE}" fill="none" stroke="#aaa"/>',
        _text(4, top + 12, shown(float(high)), size=11),
        _text(WIDTH - 60, top + CURVE + 14, f"{shown(float(right))} s", size=11),
    ]
    for n, (name, curve) in enumerate(result.curves.items()):
        colour = COLOURS[n % len(COLOURS)]
        line = " ".join(
            f"{60 + x / right * (WIDTH - 80):.1f},{top + CURVE - y / high * CURVE:.1f}"
            for x, y in curve
        )
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            _text(70 + n * 220, top + CURVE + 16, name, colour=colour, size=12),
        ]
    return "\n".join(parts)


def _text(
    x: float, y: float, words: str, *, weight: str = "normal", size: int = 13, colour: str = "#222"
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(words)}</text>'
    )
