"""Many sends at once: the rows of a batch as they were given, and the words of each.

Pure: files are read here, but nothing is opened.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal, cast

from textback.core.errors import BadRequest
from textback.core.frozen import frozen

MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 5 * 1024 * 1024
MOST_COLUMNS: Final = 100
MOST_VARIABLES: Final = 16 * 1024
"""Bytes of JSON that one row's variables may have."""

TO: Final = ("to", "phone_number", "user_number", "phone")
TEXT: Final = ("text", "message")
"""What the columns of a CSV are called, in any case of letters; every other is a variable."""

Missing = Literal["refused", "empty"]
"""What a `{{name}}` becomes for which a row has no variable: the row is refused, or nothing."""

# Any name: a column is called as its file has it, and no user is to read what was not filled in.
_PLACEHOLDER: Final = re.compile(r"\{\{([^{}\0]+)\}\}")


@frozen
class Row:
    """One recipient as given. Nothing is checked yet: what is wrong with a row is the row's."""

    to: str
    text: str | None = None
    """Instead of the batch's; may hold `{{name}}`, too."""
    variables: Mapping[str, object] = field(default_factory=dict[str, object])
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    """Added to the batch's, and goes before it."""
    wrong: str | None = None
    """The sentence for a row that whoever read it could make nothing of: stored as refused."""


class MissingVariable(Exception):  # noqa: N818 - a fact about a row
    """The message is the variable's name."""


def render(template: str, variables: Mapping[str, object], missing: Missing) -> str:
    """Put values in the place of `{{name}}` or `{{name.part}}`, once: a value's own braces stay.

    Text as it is, everything else as JSON, null as nothing. A name that is unknown becomes nothing
    where `missing` is "empty". Raises MissingVariable.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        if not name:
            return found[0]
        known, value = _looked_up(name, variables)
        if not known and missing == "refused":
            raise MissingVariable(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _PLACEHOLDER.sub(value, template)


def _looked_up(name: str, variables: Mapping[str, object]) -> tuple[bool, object]:
    if name in variables:
        return True, variables[name]
    head, _, rest = name.partition(".")
    inner = variables.get(head)
    if not rest or not isinstance(inner, Mapping):
        return False, None
    return _looked_up(rest, cast("Mapping[str, object]", inner))


def read_csv(content: bytes) -> list[Row]:
    """RFC 4180 in UTF-8, with or without a byte order mark; the first line names the columns.

    Needs one of the columns `TO`; of `TEXT` at most one; all others are variables, by their names
    as written. Lines without any value are passed over; every other is a row, however wrong.
    Raises BadRequest, with the number of the line, for what is no table at all.
    """
    if len(content) > MOST_BYTES:
        raise BadRequest(f"The file may have {MOST_BYTES // 1024 // 1024} MB at most.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadRequest(f"Line {line} of the file is not UTF-8; save the file as UTF-8.") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise BadRequest(f"Line {line} of the file holds a NUL character.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        columns = _columns(next(reader, list[str]()))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) == MOST_ROWS:
                raise BadRequest(f"The file has more than {MOST_ROWS} rows; make several of it.")
            rows.append(_row(columns, cells))
    except csv.Error as error:
        raise BadRequest(f"Line {reader.line_num} of the file is no CSV: {error}.") from None
    return rows


def _columns(header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if not any(names):
        raise BadRequest("The file is empty; its first line names the columns.")
    if len(names) > MOST_COLUMNS:
        raise BadRequest(f"The file has more than {MOST_COLUMNS} columns.")
    if twice := next((n for n in names if n and names.count(n) > 1), None):
        raise BadRequest(f'The file has two columns "{twice[:80]}".')
    for kind in (TO, TEXT):
        found = [name for name in names if name.lower() in kind]
        if len(found) > 1:
            raise BadRequest(f"The file has both a column {found[0]} and a column {found[1]}.")
        if kind is TO and not found:
            raise BadRequest(f"The file's first line names no column {', '.join(TO[:-1])}.")
    return names


def _row(columns: list[str], cells: list[str]) -> Row:
    wrong = None
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
        wrong = f"The row has {len(cells)} values for {len(columns)} columns."
    given = dict(zip(columns, cells, strict=False))
    named = {name.lower(): value for name, value in given.items()}
    to = next((named[name] for name in TO if name in named), "")
    text = next((named[name] for name in TEXT if named.get(name)), None)
    variables = {
        name: value for name, value in given.items() if name and name.lower() not in TO + TEXT
    }
    return Row(to=to.strip(), text=text, variables=variables, wrong=wrong)
