"""A request's parts -> what it asks, or why that cannot be read. No HTTP."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from textback.core import errors
from textback.core.commands import Idempotency
from textback.core.ids import ConversationId
from textback.dialects.native.wire import ID, MAX_BODY, MAX_KEY, TooLarge

Asked = TypeVar("Asked", bound=BaseModel)


def conversation_id(raw: str) -> ConversationId:
    """Raises UnknownConversation for what no conversation is called."""
    if not re.fullmatch(ID.strip("^$"), raw):
        raise errors.UnknownConversation("There is no conversation with that id.")
    return ConversationId(raw)


def parse(content_type: str | None, body: bytes | None) -> dict[str, Any]:
    """The body as an object; none is an empty one. Raises BadRequest, TooLarge."""
    if body is None:
        raise TooLarge(f"The body may have {MAX_BODY // 1024} KB at most.")
    if not body:
        return {}
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise errors.BadRequest("Send the body as JSON, with Content-Type: application/json.")
    if "charset" in parameters.lower() and "utf-8" not in parameters.lower():
        raise errors.BadRequest("Send the body in UTF-8.")
    try:
        parsed: object = from_json(body, allow_inf_nan=False)
        json.dumps(parsed, allow_nan=False)  # no number is too long to be written again
    except ValueError:
        raise errors.BadRequest(
            "The body is not valid JSON; check quotes, commas, numbers and UTF-8."
        ) from None
    if not isinstance(parsed, dict):
        raise errors.BadRequest("The body must be a JSON object.")
    if _holds_nul(cast("object", parsed)):
        raise errors.BadRequest("The body holds a character that no text can hold (NUL).")
    return cast("dict[str, Any]", parsed)


def read(model: type[Asked], body: Mapping[str, Any]) -> Asked:
    """Raises BadRequest, naming the first field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise errors.BadRequest(_sentence(error, model)) from None


def idempotency(
    key: str | None, about: ConversationId, body: Mapping[str, Any]
) -> Idempotency | None:
    """The same parsed JSON for the same conversation is the same request. Raises BadRequest."""
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY or "\0" in key:
        raise errors.BadRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Idempotency(
        route=f"/v1/conversations/{about}/messages",
        key=key,
        fingerprint=hashlib.sha256(canonical.encode()).digest(),
    )


def _holds_nul(value: object) -> bool:
    match value:
        case str():
            return "\0" in value
        case dict():
            some = cast("Mapping[str, object]", value)
            return any(_holds_nul(each) for pair in some.items() for each in pair)
        case list():
            return any(_holds_nul(each) for each in cast("Sequence[object]", value))
        case _:
            return False


_WRONG: Mapping[str, str] = {
    "missing": "{field} is missing.",
    "extra_forbidden": "There is no such field here; there are {fields}.",
    "string_type": "{field} must be a string.",
    "string_too_long": "{field} is too long; it may have {max_length} characters at most.",
    "string_too_short": "{field} is empty; leave it out, or say something.",
    "bool_type": "{field} must be true or false.",
    "literal_error": "{field} must be {expected}.",
    "dict_type": "{field} must be an object.",
}


def _sentence(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    given: dict[str, Any] = {"field": first["loc"][0], "fields": ", ".join(model.model_fields)}
    return _WRONG[first["type"]].format_map(given | first.get("ctx", {}))
