"""What is not YAML, or not YAML one should be given; and that no message tells a secret."""

import time
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.provisioning_file import problems
from textback.engine_kinds import KINDS as ENGINES
from textback.provisioning_file import FileRefused, read

TAG = "has a tag; put quotes around text that starts with !"


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("accounts:\n  - id: a: b", "2: : this is not YAML: mapping values are not allowed"),
        ("accounts:\n  - [\n", "3: : this is not YAML: "),
        ("accounts:\n\t- id: a", "2: : this is not YAML: found character"),
        (
            "accounts:\n- id: *a",
            "2: : an alias that nothing defines; quote text that starts with *",
        ),
        (
            "accounts:\n- id: !a!b c",
            "2: : a tag that nothing defines; quote text that starts with !",
        ),
        ("accounts:\n- id: a\n---\naccounts: []", "3: : more than one document"),
        ("accounts:\n- id: !a b", f"2: accounts[0].id: {TAG}"),
        ("accounts:\n- id: !!python/name:os.system", f"2: accounts[0].id: {TAG}"),
        ("accounts: !!set {a}", f"1: accounts: {TAG}"),
        ("accounts:\n- {id: a, id: b}", "2: accounts[0].id: is there twice; first in line 2"),
        (f"accounts:\n- id: {'9' * 5000}", "2: accounts[0].id: cannot be read"),
        ("accounts:\n- {id: a, <<: b}", "2: accounts[0]: << takes fields from a mapping"),
        ("accounts:\n- id: \x07", "2: : there is a control character"),
        (b"accounts:\n- id: \xff", "2: : the file is not UTF-8 text"),
        ("a" * 1_000_001, "1: : the file is over 1000000 bytes"),
        ("[" * 51, "1: : nested more than 50 deep"),
        ("accounts:\n- &a [*a]", "2: : nested more than 50 deep, or an alias in itself"),
        ("accounts:\n- &a {<<: *a}", "2: : a << takes over itself"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(file: str | bytes, problem: str) -> None:
    (found,) = problems(file)
    assert found.startswith(problem)


def bomb() -> str:
    """Each line stands for nine of the line before; in all for 9 to the power of 9 values."""
    lines = ["- &a [x, x, x, x, x, x, x, x, x]"]
    for this, before in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"- &{this} [{', '.join(['*' + before] * 9)}]")
    return "accounts:\n" + "\n".join(lines)


def merging_bomb() -> str:
    """The same with mappings that take each other over."""
    lines = ["- &a {x: y}"]
    for this, before in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"- &{this} {{<<: [{', '.join(['*' + before] * 9)}]}}")
    return "accounts:\n" + "\n".join(lines)


@pytest.mark.parametrize("file", [bomb(), merging_bomb(), "[" * 1_000_000])
def test_a_small_file_cannot_stand_for_a_huge_one(file: str) -> None:
    began = time.monotonic()
    (found,) = problems(file)
    assert "more than" in found
    assert time.monotonic() - began < 5


# --- Secrets --------------------------------------------------------------------------------------

# What a careless paste puts around a secret, or YAML could take for its own.
_AROUND = st.sampled_from(
    [*" !*&%@`|>#,:?-{}[]'\"\\$~", "!!", "${", "${X}", "<<", ": ", ", ", " #", "&a ", "*a ", "!x "]
)
_FORM = st.sampled_from(["{}", "'{}'", '"{}"', "[{}]", "{{}: 1}", "{{}, {}}", "|\n          {}"])
_FILE = """\
accounts:
  - id: acme
    api_keys:
      - {}name: ci, key: {}{}
    carriers:
      - {}id: c, kind: twilio, account_sid: ACx, auth_token: {}{}
    agents:
      - {}id: a, engine: {}kind: http, url: "http://x", secret: {}{}{}
"""
_BLOCK = """\
accounts:
  - id: acme
    api_keys:
      - name: ci
        key: {}
    carriers:
      - id: c
        kind: twilio
        account_sid: ACx
        auth_token: {}
    agents:
      - id: a
        engine:
          kind: http
          url: "http://x"
          secret: {}
"""
_INNOCENT = ("a-key-of-some-length", "a-token", "whsec_" + "QUJD" * 10)
MARKER = "S3CR3T"


def in_flow(values: tuple[str, ...]) -> str:
    key, token, secret = values
    return _FILE.format("{", key, "}", "{", token, "}", "{", "{", secret, "}", "}")


def in_block(values: tuple[str, ...]) -> str:
    return _BLOCK.format(*values)


def said(text: str, env: dict[str, str]) -> str:
    """All that may end up in a terminal or a log."""
    try:
        file = read(text, env, engines=ENGINES)
    except FileRefused as refused:
        return f"{refused!r} {refused.problems}"
    return f"{file.warnings} {file.plan}"


@settings(deadline=None)
@given(
    place=st.integers(0, 2),
    around=st.lists(_AROUND, max_size=3),
    behind=st.lists(_AROUND.filter(lambda mark: ":" not in mark), max_size=2),
    form=_FORM,
    write=st.sampled_from([in_flow, in_block]),
)
def test_no_message_tells_a_secret_however_badly_it_was_written(
    place: int,
    around: list[str],
    behind: list[str],
    form: str,
    write: Callable[[tuple[str, ...]], str],
) -> None:
    planted = form.replace("{}", "".join(around) + MARKER + "".join(behind))
    assume(f"${{{MARKER}}}" not in planted)  # the name of a variable, which is no secret
    values = tuple(planted if i == place else value for i, value in enumerate(_INNOCENT))
    assert MARKER not in said(write(values), {"X": MARKER})


@settings(deadline=None)
@given(place=st.integers(0, 2), value=st.text(max_size=40))
def test_no_message_tells_a_secret_from_the_environment(place: int, value: str) -> None:
    names = ("KEY", "TOKEN", "SECRET")
    env = dict(zip(names, _INNOCENT, strict=True)) | {names[place]: MARKER + value}
    text = in_block(("${KEY}", "${TOKEN}", "${SECRET}"))
    assert MARKER not in said(text, env)
