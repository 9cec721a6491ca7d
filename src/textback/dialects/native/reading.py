"""A request's parts -> what it asks, or why that cannot be read. No HTTP."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from textback.core import errors
from textback.core.commands import Idempotency
from textback.core.ids import ConversationId
from textback.dialects.native.wire import ID, MAX_KEY

Asked = TypeVar("Asked", bound=BaseModel)


def conversation_id(raw: str) -> ConversationId:
    """Raises UnknownConversation for what no conversation is called."""
    if not re.fullmatch(ID, raw):
        raise errors.UnknownConversation("There is no conversation with that id.")
    return ConversationId(raw)


def an_id(raw: str, form: str, what: str) -> str:
    """`form`: the regular expression that is described. Raises UnknownResource."""
    if not re.fullmatch(form, raw):
        raise errors.UnknownResource(f"There is no {what} with that id.")
    return raw


def read(model: type[Asked], body: Mapping[str, Any]) -> Asked:
    """Raises BadRequest, naming the first field that is wrong."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise errors.BadRequest(sentence(error, model, "field")) from None


def query(model: type[Asked], given: Sequence[tuple[str, str]]) -> Asked:
    """A URL's `?name=value`s. Raises BadRequest, naming the first that is wrong."""
    found: dict[str, str] = {}
    for name, value in given:
        if name in found:
            raise errors.BadRequest(f"{_shown(name)} is given twice; give it once.")
        if "\0" in name or "\0" in value:
            raise errors.BadRequest(f"{_shown(name)} holds a NUL, which nothing can hold.")
        found[name] = value
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise errors.BadRequest(sentence(error, model, "query parameter")) from None


def idempotency(key: str | None, route: str, body: Mapping[str, Any]) -> Idempotency | None:
    """The same parsed JSON to the same route is the same request. Raises BadRequest."""
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY or "\0" in key:
        raise errors.BadRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters.")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Idempotency(
        route=route, key=key, fingerprint=hashlib.sha256(canonical.encode()).digest()
    )


_WRONG: Mapping[str, str] = {
    "missing": "{field} is missing.",
    "extra_forbidden": "There is no such {kind} here; there are {fields}.",
    "string_type": "{field} must be a string.",
    "string_too_long": "{field} is too long; it may have {max_length} characters at most.",
    "string_too_short": "{field} is empty; leave it out, or say something.",
    "string_pattern_mismatch": "{field} does not have the form it must have: {pattern}.",
    "bool_type": "{field} must be true or false.",
    "bool_parsing": "{field} must be true or false.",
    "literal_error": "{field} must be {expected}.",
    "dict_type": "{field} must be an object.",
    "model_type": "{field} must be an object.",
    "model_attributes_type": "{field} must be an object.",
    "list_type": "{field} must be a list.",
    "too_long": "{field} has too many entries; it may have {max_length} at most.",
    "too_short": "{field} must have {min_length} entries at least.",
    "int_type": "{field} must be a whole number.",
    "int_parsing": "{field} must be a whole number.",
    "int_parsing_size": "{field} must be a whole number, and not so large.",
    "int_from_float": "{field} must be a whole number.",
    "float_type": "{field} must be a number.",
    "finite_number": "{field} must be a number.",
    "greater_than_equal": "{field} must be {ge} or more.",
    "greater_than": "{field} must be more than {gt}.",
    "less_than_equal": "{field} must be {le} or less.",
    "value_error": "{field} {error}.",
}


def sentence(error: ValidationError, model: type[BaseModel], kind: str) -> str:
    """What is wrong with the first field that is wrong. `kind`: what a field is called there."""
    first = error.errors(include_input=False, include_url=False)[0]
    at = first["loc"]
    given: dict[str, Any] = {
        "field": _shown(".".join(str(each) for each in at)) if at else "The body",
        "fields": ", ".join(f.alias or name for name, f in model.model_fields.items()),
        "kind": kind,
    }
    if first["type"] == "extra_forbidden" and len(at) > 1:
        return f"There is no such {kind} as {given['field']}."
    wrong = _WRONG.get(first["type"], "{field} is not as it must be.")
    return wrong.format_map(given | first.get("ctx", {}))


def _shown(name: str) -> str:
    """A name that somebody else gave, in a sentence of ours."""
    return "".join(c if c.isprintable() else "?" for c in name[:60])
