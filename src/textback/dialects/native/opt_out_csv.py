"""Opt-outs as CSV (RFC 4180): what is exported can be imported again. No HTTP."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Final

from textback.core import optout, phone
from textback.core.errors import BadRequest
from textback.core.frozen import frozen
from textback.core.phone import Phone
from textback.db.opt_out_reads import OptOutRecord
from textback.dialects.native.opt_out_wire import MAX_CSV, MAX_REASON, MOST_ROWS, Import

COLUMNS: Final = (
    "user_number",
    "agent_number",
    "project",
    "reason",
    "source",
    "opted_out_at",
    "opted_in_at",
    "opted_in_source",
    "opted_in_reason",
    "id",
)


@frozen
class Row:
    """Whom not to text, and from where; or why the row cannot be read."""

    given: str
    """The user's number as it was written."""
    user_number: Phone | None = None
    agent_number: Phone | None = None
    project: str | None = None
    reason: str | None = None
    wrong: str | None = None


def header() -> str:
    return _line(COLUMNS)


def line(of: OptOutRecord) -> str:
    whole = optout.project_of(of.agent_number) is not None
    ended = of.opted_in_at
    return _line(
        (
            of.user_number,
            "" if whole else of.agent_number,
            of.project_id if whole else "",
            of.reason or "",
            of.source,
            of.opted_out_at.isoformat(),
            "" if ended is None else ended.isoformat(),
            of.opted_in_source or "",
            of.opted_in_reason or "",
            of.id,
        )
    )


def read(content: bytes, default: Import) -> list[Row]:
    """The first line names the columns; of those that are not ours no notice is taken.

    Raises BadRequest for what is no table with a column user_number.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest("The file is not UTF-8; save it as UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        names = [name.strip().lower() for name in next(reader, list[str]())]
        if names.count("user_number") != 1 or len(set(names)) != len(names):
            raise BadRequest("The first line must name each column once, user_number among them.")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) == MOST_ROWS:
                raise BadRequest(f"The file has more than {MOST_ROWS} rows; make several of it.")
            given = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
            rows.append(_row(given, default))
    except csv.Error as error:
        raise BadRequest(f"Line {reader.line_num} of the file is no CSV: {error}.") from None
    return rows


def too_large() -> str:
    return f"The file may have {MAX_CSV // 1024} KB at most."


def _row(given: Mapping[str, str], default: Import) -> Row:
    shown = given.get("user_number", "")[:100].replace("\0", "?")
    user = phone.user_address(given.get("user_number", ""))
    agent, project = given.get("agent_number") or None, given.get("project") or None
    if agent is None and project is None:
        agent, project = default.agent_number, default.project
    ours = None if agent is None else phone.agent_address(agent)
    reason = given.get("reason") or None
    wrong: str | None = None
    if user is None or phone.channel(user) == "chat":
        wrong = "user_number must be a phone number in E.164 format, such as +14155550123."
    elif agent is not None and ours is None:
        wrong = "agent_number must be one of your numbers in E.164 format, or a short code."
    elif "\0" in "".join(given.values()):
        wrong = "The row holds a character that no text can hold (NUL)."
    elif reason is not None and len(reason) > MAX_REASON:
        wrong = f"reason may have {MAX_REASON} characters at most."
    elif given.get("opted_in_at"):
        wrong = "It has ended (opted_in_at), and is not begun again."
    if wrong is not None:
        return Row(given=shown, wrong=wrong)
    return Row(given=shown, user_number=user, agent_number=ours, project=project, reason=reason)


def _line(cells: Sequence[str]) -> str:
    to = io.StringIO(newline="")
    csv.writer(to).writerow(cells)
    return to.getvalue()
