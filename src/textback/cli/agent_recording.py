"""Recorded conversations: one a line, as JSON. What `record` writes, or what a person wrote."""

import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from textback.cli.context import fail
from textback.provisioning_file.words import sentence


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _compiles(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return value


def _as_text(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


Strings = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(_Line):
    """What was said before the agent's turn, and since the one before."""

    role: Literal["user", "agent", "person"] = "user"
    text: str
    at: AwareDatetime | None = None
    heard: bool = True
    """False: a user's text that got no answer, though agents see it."""


class Call(_Line):
    name: str
    arguments: dict[str, object] = {}
    result: str | None = None
    """None: nobody knows how it ended."""
    failed: bool = False


class Expect(_Line):
    """What must be true of the agent's answer, whatever it was when it was recorded."""

    contains: Strings = ()
    """Each of them; case does not matter."""
    not_contains: Strings = ()
    matches: Annotated[Strings, AfterValidator(_compiles)] = ()
    """Regular expressions, each found somewhere."""
    ends: bool | None = None
    hands_off: bool | None = None
    calls: tuple[str, ...] | None = None
    """The names of the tools it calls, in order."""


class Turn(_Line):
    id: str | None = None
    at: AwareDatetime | None = None
    """When the agent was asked."""
    texts: tuple[Annotated[Text, BeforeValidator(_as_text)], ...] = ()
    """A string is a user's text. None, at first: the agent opens."""
    said: Strings | None = None
    """The texts of the answer; None: there is none to compare with."""
    answered_at: AwareDatetime | None = None
    calls: tuple[Call, ...] = ()
    failed: bool = False
    ended: bool = False
    handed_off: str | None = None
    expect: Expect | None = None


class Earlier(_Line):
    """A conversation with the same user that was over."""

    ended_at: AwareDatetime
    summary: str | None = None
    texts: tuple[Text, ...] = ()


class Recording(_Line):
    id: str | None = None
    agent: str | None = None
    agent_version: int | None = None
    objective: str | None = None
    variables: dict[str, object] = {}
    metadata: dict[str, object] = {}
    start_node: str | None = None
    timezone: str | None = None
    earlier: tuple[Earlier, ...] = ()
    turns: Annotated[tuple[Turn, ...], Field(min_length=1)]


def read(file: Path) -> list[Recording]:
    """`-` reads standard input. What is wrong ends the command, by line."""
    name = "stdin" if str(file) == "-" else str(file)
    try:
        whole = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        lines = whole.decode().splitlines()
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise fail(f"{name} is not UTF-8 text.") from None
    found: list[Recording] = []
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(Recording.model_validate_json(line))
        except ValidationError as errors:
            problems += [f"{name}:{number}: {said}" for said in _sentences(errors)]
    if problems:
        raise fail("\n".join(problems))
    if not found:
        raise fail(f"{name} holds no conversation.")
    return found


def _sentences(errors: ValidationError) -> Sequence[str]:
    said: list[str] = []
    for error in errors.errors(include_url=False):
        if error["type"] == "json_invalid":
            return ["is not JSON"]
        where = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in error["loc"])
        said.append(f"{where.removeprefix('.') or 'the line'}: {sentence(error, Recording)}")
    return said


def moment(said: str | None) -> datetime | None:
    """Of an option: a date, which begins in UTC, or a time with its zone."""
    if said is None:
        return None
    from textback.provisioning_file.values import as_moment  # noqa: PLC0415

    try:
        return as_moment(said)
    except ValueError as error:
        raise fail(f"--since {error}.") from None
