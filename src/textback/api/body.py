"""The body of a request, read as JSON by every dialect in the same way."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic_core import from_json
from starlette.requests import Request

from textback.api import deps
from textback.core.errors import BadRequest, TooLarge


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
    is wrong stops no other.
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
        parsed: object = from_json(body, allow_inf_nan=False)
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
    return f"{held[:60]} holds a character that no text can hold (NUL)."


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
