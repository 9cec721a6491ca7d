"""The rows of a new batch: each checked by itself, so that a wrong one stops no other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from textback.core import phone
from textback.core.batch import MOST_VARIABLES, Missing, MissingVariable, Row, render
from textback.core.commands import SendText
from textback.core.errors import BadRequest, Conflict, NothingToSay, Refusal
from textback.core.ids import new_conversation_id, new_message_id
from textback.core.phone import Phone
from textback.core.policy import MAX_TEXT, ProjectPolicy
from textback.core.storable import is_json, is_text
from textback.db.batch_rows import NewRow
from textback.db.planning import stored
from textback.flows import planning

_LONGEST_SHOWN: Final = 100
"""Characters of what was given for a number, and is none."""


def checked(
    given: Sequence[Row],
    shared: SendText,
    policy: ProjectPolicy,
    *,
    can_open: bool,
    missing: Missing,
    twice: bool,
    now: datetime,
) -> Iterator[NewRow]:
    """One for each, in their order: to be sent, or with the reason why not.

    `can_open`: the agent writes what has no text. Raises BadRequest: `shared.send_at` is too far.
    """
    planning.held(policy, shared, now=now)
    common = stored(shared)
    first: dict[Phone, int] = {}
    for number, row in enumerate(given, start=1):
        try:
            command = _command(row, shared, missing)
            if command.text is None and command.template is None and not can_open:
                raise NothingToSay("There is no text, and the agent has no greeting to open with.")
            before = first.setdefault(command.user_number, number)
            if before != number and not twice:
                raise Conflict(f"Row {before} texts the same user.")
        except Refusal as refusal:
            yield _refused(number, row, refusal, now=now)
        else:
            due, why = planning.held(policy, command, now=now) or (now, "batch")
            own = _own(command, shared, common)
            yield NewRow(
                id=new_message_id(now),
                conversation_id=new_conversation_id(now),
                row=number,
                user_number=command.user_number,
                own=own,
                due_at=due,
                why=why,
                problem=None,
                error=None,
            )


def _command(row: Row, shared: SendText, missing: Missing) -> SendText:
    """Raises BadRequest."""
    if row.wrong is not None:
        raise BadRequest(row.wrong)
    user = user_of(row.to, shared.agent_number)
    variables = {**shared.variables, **row.variables}
    if not is_json(variables, longest=MOST_VARIABLES):
        raise BadRequest(f"The variables are no JSON of {MOST_VARIABLES // 1024} KB at most.")
    metadata = {**shared.metadata, **row.metadata}
    if not is_json(metadata, longest=MOST_VARIABLES):
        raise BadRequest(f"The metadata is no JSON of {MOST_VARIABLES // 1024} KB at most.")
    text, template = shared.text if row.text is None else row.text, shared.template
    try:
        if text is not None:
            text = _said(render(text, variables, missing))
        if template is not None:
            filled = {k: render(v, variables, missing) for k, v in template.variables.items()}
            template = replace(template, variables=filled)
    except MissingVariable as name:
        raise BadRequest(f"The text needs the variable {name}, which the row lacks.") from None
    return replace(
        shared,
        user_number=user,
        text=text,
        template=template,
        variables=variables,
        metadata=metadata,
    )


def user_of(to: str, agent_number: Phone | None) -> Phone:
    """Whom a row is for, on the channel that its batch is sent on. Raises BadRequest."""
    if not to:
        raise BadRequest("The row names no number to text.")
    found = phone.user_address(to)
    if found is None or phone.channel(found) == "chat":
        shown = to[:_LONGEST_SHOWN] if is_text(to) else "?"
        raise BadRequest(
            f'"{shown}" is not a phone number as +, country code and number: +14155550123.'
        )
    wanted = "sms" if agent_number is None else phone.channel(agent_number)
    if wanted != "sms" and phone.channel(found) == "sms":
        return Phone(f"{wanted}:{found}")
    return found


def _said(text: str) -> str:
    if not text.strip():
        raise BadRequest("The text is empty.")
    if len(text) > MAX_TEXT:
        raise BadRequest(f"The text has {len(text)} characters; it may have {MAX_TEXT} at most.")
    if not is_text(text):
        raise BadRequest("The text holds a character that no text can hold.")
    return text


def _own(command: SendText, shared: SendText, common: Mapping[str, Any]) -> dict[str, Any]:
    """What the row has that its batch has not."""
    own: dict[str, Any] = {
        "user_number": command.user_number,
        "text": command.text,
        "variables": command.variables,
        "metadata": command.metadata,
    }
    if shared.template is not None:
        own["template"] = stored(command)["template"]
    return {name: value for name, value in own.items() if value != common[name]}


def _refused(number: int, row: Row, refusal: Refusal, *, now: datetime) -> NewRow:
    to = row.to[:_LONGEST_SHOWN]
    return NewRow(
        id=new_message_id(now),
        conversation_id=new_conversation_id(now),
        row=number,
        user_number=to if is_text(to) else "",
        own={},
        due_at=None,
        why=None,
        problem=type(refusal).__name__,
        error=refusal.sentence,
    )
