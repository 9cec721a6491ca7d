"""Whatever we may say no with, every dialect knows how to say it."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import grimp
import pytest

import textback
from textback import dialects
from textback.core import errors
from textback.core.errors import Refusal

SRC = Path(textback.__file__).parents[1]
DIALECTS = [found.name for found in pkgutil.iter_modules(dialects.__path__)]

Status = Mapping[type[Refusal], int]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("textback", cache_dir=None)


def status(dialect: str) -> Status:
    wire = importlib.import_module(f"textback.dialects.{dialect}.wire")
    return cast("Status", wire.STATUS)


def refusals(parent: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for child in parent.__subclasses__():
        yield child
        yield from refusals(child)


def made_in(module: str) -> set[type[Refusal]]:
    """The refusals that a module's code makes or raises."""
    path = SRC.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    made: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        of = node.func if isinstance(node, ast.Call) else None
        of = node.exc if isinstance(node, ast.Raise) else of
        if isinstance(of, ast.Attribute):
            made.add(of.attr)
        elif isinstance(of, ast.Name):
            made.add(of.id)
    return {refusal for refusal in refusals() if refusal.__name__ in made}


def met(graph: grimp.ImportGraph, dialect: str) -> set[type[Refusal]]:
    """What a caller of the dialect can meet: all that is made in what it imports, at any depth."""
    package = f"textback.dialects.{dialect}"
    modules = graph.find_upstream_modules(package, as_package=True)
    modules |= graph.find_descendants(package)
    return set[type[Refusal]]().union(*map(made_in, modules))


def test_there_is_a_dialect() -> None:
    assert "polyai" in DIALECTS


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_refusal_a_caller_can_meet_has_a_status(
    graph: grimp.ImportGraph, dialect: str
) -> None:
    assert met(graph, dialect) <= set(status(dialect))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_dialect_answers_with_a_refusal_that_is_the_operators(
    graph: grimp.ImportGraph, dialect: str
) -> None:
    # Not by a list: nothing that a dialect imports makes one.
    assert errors.ProvisioningRefused not in met(graph, dialect)
    assert errors.ProvisioningRefused not in status(dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_status_is_an_error_and_belongs_to_a_refusal(dialect: str) -> None:
    assert set(status(dialect)) <= set(refusals())
    assert all(400 <= code < 600 for code in status(dialect).values())


def test_every_refusal_is_made_somewhere(graph: grimp.ImportGraph) -> None:
    assert set[type[Refusal]]().union(*map(made_in, graph.modules)) == set(refusals())
