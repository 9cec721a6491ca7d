"""What the documents name as their proof is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROOF = re.compile(r"`((?:tests|src|docs|migrations)/[\w./-]*[\w/])`")
DOCUMENTS = ["docs/guarantees.md", *(f"docs/adr/{p.name}" for p in (ROOT / "docs/adr").glob("0*"))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_is_named_as_proof_exists(name: str) -> None:
    named = PROOF.findall((ROOT / name).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_each_promise_names_its_proof() -> None:
    promises = (ROOT / "docs/guarantees.md").read_text().split("\n## ")[1:]
    without = [p.partition("\n")[0] for p in promises if "`tests/" not in p]
    assert without == ["Where it ends"]
