"""docs/tracing.md names every span, and what spans say."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOW = {"kind", "parent"}
"""What a span is given, and does not say."""


def said() -> Iterator[tuple[str, str]]:
    """Names of spans and of attributes, as the page writes them, and where they are from."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            match ast.unparse(node.func):
                case "tracing.span":
                    names = [n.value for n in node.args if isinstance(n, ast.Constant)]
                    yield from ((f"{name}", path.name) for name in names)
                case "span.set":
                    pass
                case _:
                    continue
            for keyword in node.keywords:
                if keyword.arg is not None and keyword.arg not in HOW:
                    yield f"`textback.{keyword.arg}`", path.name


def test_every_span_and_everything_that_it_says_is_documented() -> None:
    page = (ROOT / "docs" / "tracing.md").read_text()
    found = set(said())
    assert len(found) > 15
    assert {(name, where) for name, where in found if name not in page} == set()
