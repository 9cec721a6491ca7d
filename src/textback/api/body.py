"""The body of a request, read as JSON by every dialect in the same way."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pydantic_core import from_json
from starlette.requests import Request

from textback.api import deps
from textback.core.errors import BadRequest, TooLarge

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF: Final = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
"""Of a pair of surrogates, without the other."""
_NEVER: Final = b"\xff"
"""In no UTF-8."""


def parse_json(
    request: Request,
    body: bytes | None,
    *,
    at_most: int,
    empty: Mapping[str, Any] | None = None,
    storable: bool = True,
    apart: str | None = None,
) -> dict[str, Any]:
    """As `parse`, of the request's content type. `body`: from `deps.body`."""
    content_type = deps.header(request, b"content-type")
    return parse(content_type, body, at_most=at_most, empty=empty, storable=storable, apart=apart)


def parse(
    content_type: str | None,
    body: bytes | None,
    *,
    at_most: int,
    empty: Mapping[str, Any] | None = None,
    storable: bool = True,
    apart: str | None = None,
) -> dict[str, Any]:
    """The body as an object. `empty`: what no body at all stands for.

    Raises BadRequest, TooLarge. Postgres can hold it whole, without a NUL or half of a pair of
    surrogates; not `storable`: where most of it is ignored, and what is not is looked at by itself.
    `apart`: the field of which each entry is looked at by itself (`unstorable`), so that one that
    is wrong stops no other; half of a pair is a NUL there.
    """
    if body is None:
        raise TooLarge(f"The body may have {at_most // 1024} KB at most.")
    if not body and empty is not None:
        return dict(empty)
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise BadRequest("Send the body as JSON, with Content-Type: application/json.")
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise BadRequest("Send the body in UTF-8.")
    try:
        parsed = _parsed(body, halves=apart is not None)
        if storable:
            json.dumps(parsed, allow_nan=False)  # no number is too long to be written again
    except ValueError:
        raise BadRequest(
            "The body is not valid JSON; check quotes, commas, numbers and UTF-8."
        ) from None
    if not isinstance(parsed, dict):
        raise BadRequest("The body must be a JSON object.")
    found = cast("dict[str, Any]", parsed)
    looked_at = {name: each for name, each in found.items() if name != apart}
    if storable and (held := _holds_nul(looked_at)) is not None:
        raise BadRequest(f"{held} holds a character that no text can hold (NUL).")
    return found


def unstorable(entry: object) -> str | None:
    """What is wrong with an entry of what was `apart`, in a sentence."""
    held = _holds_nul(entry, "The row")
    if held is None:
        return None
    return (
        f"{held[:60]} holds a character that no text can hold (NUL, or half of a surrogate pair)."
    )


def _parsed(body: bytes, *, halves: bool) -> object:
    """Raises ValueError. `halves`: half of a pair of surrogates is read, as a NUL."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        if not halves or _NEVER in body:
            raise
        # A backslash that is written as two begins no escape.
        single = body.replace(rb"\\", _NEVER)
        whole = _HALF.sub(rb"\\u0000", single).replace(_NEVER, rb"\\")
        return from_json(whole, allow_inf_nan=False)


def _holds_nul(value: object, where: str = "The body") -> str | None:
    match value:
        case str():
            return where if "\0" in value else None
        case dict():
            for name, each in cast("Mapping[str, object]", value).items():
                found = _holds_nul(name, where) or _holds_nul(each, name)
                if found is not None:
                    return found
        case list():
            for each in cast("Sequence[object]", value):
                if (found := _holds_nul(each, where)) is not None:
                    return found
        case _:
            pass
    return None
