"""Many texts at once, to the rows of a file: what is asked, and how the file is read.

https://docs.bland.ai/api-v1/post/sms-batch. No HTTP, no database.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, cast

from pydantic import Field
from pydantic_core import from_json

from textback.core import storable
from textback.core.batch import MOST_COLUMNS, MOST_ROWS, Row
from textback.core.frozen import frozen
from textback.dialects.bland import form, sending, wire
from textback.dialects.bland.sending import Saying
from textback.dialects.bland.wire import Body, Wrong

ROUTE: Final = "/v1/sms/batch"
KIND: Final = "batches"
PHONE: Final = "phone_number"
DATA: Final = "request_data"


class Batch(Body):
    file_id: Annotated[str, Field(description="Of `/v1/files/attach`.")]
    of_all: Annotated[
        Saying, Field(alias="global", description="What every text has; as of `/v1/sms/send`.")
    ]
    column_mapping: Annotated[
        dict[str, Literal["request_data"]] | None,
        Field(description="Columns that are data for the agent; every column is."),
    ] = None


def read(body: Mapping[str, Any]) -> Batch:
    """Raises Wrong."""
    of_all = body.get("global")
    if isinstance(of_all, dict):
        given = cast("dict[str, Any]", of_all)
        sending.check_words(given)
        body = {**body, "global": wire.present(given)}
    return wire.read(Batch, body, {**sending.CODES, "file_id": "MISSING_FILE_ID"})


# --- The upload ---------------------------------------------------------------------------------


@frozen
class File:
    name: str
    kind: str
    content: str


class Attached(Body):
    """An upload as JSON."""

    file_type: str
    file_name: Annotated[str | None, Field(max_length=200)] = None
    content: Annotated[str, Field(description="The table as text: CSV, or a JSON array.")]


def uploaded(content_type: str, body: bytes) -> File:
    """multipart/form-data with `file` and `file_type`. Raises Wrong."""
    given = form.fields(content_type, body)
    missing = [name for name in ("file", "file_type") if name not in given]
    if missing:
        raise Wrong(
            "MISSING_REQUIRED_FIELDS",
            f"{' and '.join(missing)} of the form: send file and file_type.",
        )
    table = given["file"]
    return file(table.filename, _text(given["file_type"].content), _text(table.content))


def file(name: str, kind: str, content: str) -> File:
    """Raises Wrong."""
    if kind.strip() != KIND:
        raise Wrong("INVALID_FILE_TYPE", f'file_type must be "{KIND}": others have no use here.')
    if not storable.is_text(content + name):
        raise Wrong("INVALID_REQUEST", "The file holds a character that no text can hold (NUL).")
    rows(content, {})  # what is wrong with it is said now, rather than when it is used
    return File(name=name[:200], kind=KIND, content=content)


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Wrong("INVALID_REQUEST", "The file is not UTF-8; save it as UTF-8.") from None


# --- Its rows -----------------------------------------------------------------------------------


def rows(content: str, mapping: Mapping[str, str]) -> Sequence[Row]:
    """CSV, or a JSON array of objects. What is wrong with a row is the row's. Raises Wrong."""
    given = _of_json(content) if content.lstrip().startswith("[") else _of_csv(content)
    if not given:
        raise _bad("The file has no row")
    if len(given) > MOST_ROWS:
        raise _bad(f"The file has more than {MOST_ROWS} rows; make several of it")
    columns = {name for values, _ in given for name in values}
    if PHONE not in columns:
        raise _bad(f"The file has no column {PHONE}")
    if PHONE in mapping:
        raise _bad(f"The column {PHONE} cannot be mapped")
    if unknown := set(mapping) - columns:
        raise _bad(f"column_mapping names a column that the file lacks: {min(unknown)[:80]}")
    return [_row(values, wrong) for values, wrong in given]


Given = tuple[dict[str, Any], str | None]
"""A row by its columns, and what is wrong with it."""


def _row(values: Mapping[str, Any], wrong: str | None) -> Row:
    number = str(values.get(PHONE) or "").strip()
    if number and not number.startswith("+"):
        number = f"+{number}"
    own: object = values.get(DATA)
    variables = dict(cast("dict[str, object]", own)) if isinstance(own, dict) else {}
    for name, value in values.items():
        if name not in {"", PHONE, DATA}:
            variables[name.removeprefix(f"{DATA}.")] = value
    return Row(to=number, variables=variables, wrong=wrong)


def _of_json(content: str) -> list[Given]:
    try:
        parsed: object = from_json(content, allow_inf_nan=False)  # nested as deep as a body may be
        json.dumps(parsed, allow_nan=False)  # no number is too long to be written again
    except ValueError:
        raise _bad("The file is no JSON array") from None
    found: list[Given] = []
    for number, row in enumerate(cast("list[object]", parsed), start=1):
        if not isinstance(row, dict):
            raise _bad(f"Row {number} of the file is no JSON object")
        found.append((cast("dict[str, Any]", row), None))
    return found


def _of_csv(content: str) -> list[Given]:
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    found: list[Given] = []
    try:
        columns = [name.strip() for name in next(reader, list[str]())]
        if len(columns) > MOST_COLUMNS:
            raise _bad(f"The file has more than {MOST_COLUMNS} columns")
        if twice := [name for name in columns if name and columns.count(name) > 1]:
            raise _bad(f"The file has two columns {twice[0][:80]}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            wrong = None
            if any(cell.strip() for cell in cells[len(columns) :]):
                wrong = f"The row has {len(cells)} values for {len(columns)} columns."
            found.append((dict(zip(columns, cells, strict=False)), wrong))
    except csv.Error as error:
        raise _bad(f"Line {reader.line_num} of the file is no CSV ({error})") from None
    return found


def _bad(why: str) -> Wrong:
    return Wrong("INVALID_FILE", f"{why}.")
