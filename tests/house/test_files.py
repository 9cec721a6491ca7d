"""What neither the types nor the imports can show."""

import re
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "textback"
FILES = sorted(SRC.rglob("*.py"))

LONGEST = 300
NAMES_THAT_SAY_NOTHING = {
    "base",
    "common",
    "helpers",
    "managers",
    "models",
    "repositories",
    "services",
    "utils",
}


def where(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def calls(pattern: str) -> set[str]:
    """The files that hold such a call."""
    return {where(path) for path in FILES if re.search(pattern, path.read_text())}


@pytest.mark.parametrize("path", FILES, ids=where)
def test_a_file_can_be_read_at_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_transactions_begin_and_end_in_one_place() -> None:
    assert calls(r"\.(begin|begin_nested|commit|rollback)\(") <= {"db/session.py"}


def test_a_module_is_named_after_what_lives_there() -> None:
    names = {name for path in FILES for name in path.relative_to(SRC).with_suffix("").parts}
    assert not names & NAMES_THAT_SAY_NOTHING


def test_there_are_files_to_look_at() -> None:
    assert "core/message.py" in map(where, FILES)
