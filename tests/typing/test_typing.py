"""The checker is the first lock on the states: it has to name every illegal move, and no other."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
ILLEGAL = Path(__file__).with_name("illegal.py")

EXPECTED = re.compile(r"  # pyright: ignore\[(\w+)\]")


class Found(NamedTuple):
    line: int
    rule: str


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[Found]]:
    """What the checker says of the file, and of a copy without the comments that silence it."""
    folder = tmp_path_factory.mktemp("typing")
    bare = folder / "bare.py"
    bare.write_text(EXPECTED.sub("", ILLEGAL.read_text()))
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "reportUnnecessaryTypeIgnoreComment": "error",
        "extraPaths": [str(ROOT / "src")],
        "include": [str(ILLEGAL), str(bare)],
    }
    project = folder / "pyrightconfig.json"
    project.write_text(json.dumps(config))
    said = subprocess.run(
        [Path(sys.executable).with_name("basedpyright"), "--outputjson", "--project", project],
        capture_output=True,
        check=False,
    )
    report: dict[str, Any] = json.loads(said.stdout)
    assert report["summary"]["filesAnalyzed"] == 2
    found: dict[str, set[Found]] = {"illegal.py": set(), "bare.py": set()}
    for error in report["generalDiagnostics"]:
        line = error["range"]["start"]["line"] + 1
        found[Path(error["file"]).name].add(Found(line, error["rule"]))
    return found


def test_every_illegal_move_is_silenced_and_nothing_else(checked: dict[str, set[Found]]) -> None:
    assert checked["illegal.py"] == set()


def test_every_illegal_move_is_an_error_of_its_kind(checked: dict[str, set[Found]]) -> None:
    expected = {
        Found(line, match[1])
        for line, text in enumerate(ILLEGAL.read_text().splitlines(), start=1)
        if (match := EXPECTED.search(text))
    }
    assert len(expected) > 40
    assert checked["bare.py"] == expected
