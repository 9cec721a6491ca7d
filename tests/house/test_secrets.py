"""Secrets are compared in constant time: `==` stops at the first letter that differs, and tells."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "textback"

SECRET = re.compile(
    r"(?i)(^|_)(secrets?|passwords?|tokens?|signatures?|digests?|hmac|hash(ed)?|api_?key)(_|$)"
)

ALLOWED = {
    ("flows/provision_access.py", "hashed != there['hash']"): "an account's own key, hashed",
    ("flows/provision_entries.py", "there['auth_token'] != sealed"): "sealed, both of them",
    ("flows/provision_entries.py", "sealed != there['webhook_secret']"): "sealed, both of them",
    ("flows/provision_agents.py", "version.opened == dict(wanted.secrets)"): (
        "an agent's own secrets, by who may read the agent anyway, within a transaction"
    ),
    ("flows/provision_agents.py", "version.opened.get(path) == secret"): "as the one before",
}
"""Each is compared for whoever has both sides already."""

COLUMN = re.compile(r"\b(c|k)\.(previous_)?hash")
"""Keys are looked up by their hashes, by Postgres."""


def names(node: ast.expr) -> Iterator[str]:
    """What a side of a comparison is called: the last word of a path, a key, a call."""
    match node:
        case ast.Name():
            yield node.id
        case ast.Attribute():
            yield node.attr
        case ast.Subscript(slice=ast.Constant(value=str(key))):
            yield key
        case ast.Call():
            yield from names(node.func)
            for each in node.args:
                yield from names(each)
        case ast.Await() | ast.Subscript():
            yield from names(node.value)
        case _:
            pass


def compared(source: str) -> Iterator[str]:
    """Comparisons, by `==` and its like, of what is called like a secret with what varies."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        constant = any(isinstance(side, ast.Constant) for side in sides)
        equal = any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
        if equal and not constant and any(SECRET.search(n) for s in sides for n in names(s)):
            code = ast.unparse(node)
            if not COLUMN.search(code):
                yield code


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("given == secret", True),
        ("row.auth_token != given", True),
        ("headers['x-signature'] == f(body)", False),  # no name of ours
        ("headers['webhook_signature'] == x", True),
        ("vault.open(known.auth_token) == given", True),
        ("sign(secret) == given", True),
        ("hmac.compare_digest(secret, given)", False),
        ("secret == ''", False),
        ("key is None", False),
        ("tokenizer == other", False),
        ("api_keys.c.hash == hashed", False),
    ],
)
def test_the_search_finds_what_it_should(code: str, *, found: bool) -> None:
    assert bool(list(compared(code))) is found


def test_no_secret_is_compared_by_equality() -> None:
    there = {
        (path.relative_to(SRC).as_posix(), code)
        for path in SRC.rglob("*.py")
        for code in compared(path.read_text())
    }
    assert there == set(ALLOWED)


def test_every_secret_that_comes_over_the_wire_is_compared_in_constant_time() -> None:
    users = {
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        if "compare_digest(" in path.read_text()
    }
    assert users == {
        "api/scraping.py",
        "carriers/sandbox/hooks.py",
        "carriers/twilio/hooks.py",
        "core/signing.py",
    }
