"""A request's parts -> what it asks, or Nixflex' code for what is wrong with it. No HTTP."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from textback.core import phone
from textback.core.commands import Idempotency
from textback.dialects.nixflex.wire import MAX_KEY, Refused

E164: Final = r"^\+[1-9][0-9]{1,14}$"

MOST_JSON: Final = 16 * 1024
"""Bytes of an object that the caller's own, written as JSON."""

LONGEST_CONTEXT: Final = 20_000

_FIRST_YEAR, _LAST_YEAR = 1970, 9000


class Body(BaseModel):
    """A JSON body. Fields it does not know are ignored (D16); null is as good as left out."""

    model_config = ConfigDict(strict=True)

    ALIASES: ClassVar[Mapping[str, str]] = {}
    """Other names for fields: other generations' of the API."""
    NULLABLE: ClassVar[frozenset[str]] = frozenset()
    """Where null says something: clear it."""
    TOO_LONG: ClassVar[Mapping[str, str]] = {}
    """Codes for fields that are too long."""


Asked = TypeVar("Asked", bound=Body)


def _number(value: str) -> str:
    if phone.user_number(value) is None:
        raise PydanticCustomError("phone", "is no number")
    return value


def _our_number(value: str) -> str:
    if phone.agent_number(value) is None:
        raise PydanticCustomError("phone", "is no number")
    return value


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False).encode()) > MOST_JSON:
        raise PydanticCustomError("too_large", "is too large")
    return value


def _moment(value: str) -> str:
    if moment(value) is None:
        raise PydanticCustomError("moment", "is no time")
    return value


_E164_SCHEMA: Final = {"type": "string", "pattern": E164, "examples": ["+447386172392"]}
Number = Annotated[str, AfterValidator(_number), WithJsonSchema(_E164_SCHEMA)]
OurNumber = Annotated[str, AfterValidator(_our_number), WithJsonSchema(_E164_SCHEMA)]
Json = Annotated[dict[str, Any], AfterValidator(_bounded)]
Moment = Annotated[
    str,
    AfterValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def moment(value: str) -> datetime | None:
    """An ISO 8601 time; without a zone it is UTC. None: it is none, or not of this age."""
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", value):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not _FIRST_YEAR < found.year < _LAST_YEAR:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def read(model: type[Asked], body: Mapping[str, Any]) -> Asked:
    """Raises Refused, naming the first field that is wrong."""
    given = _named(model, body)
    for name, field in model.model_fields.items():
        value = given.get(name)
        blank = value is None or (isinstance(value, str) and not value.strip())
        if field.is_required() and blank:
            raise missing(name)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _refused(error, model) from None


def missing(field: str) -> Refused:
    return Refused("missing_field", f"{field} is missing.", field=field)


def invalid(field: str, rule: str) -> Refused:
    return Refused("invalid_field", f"{field} {rule}.", field=field)


def not_a_number(field: str) -> Refused:
    return Refused(
        "invalid_phone_format",
        f"{field} is not a phone number. Use international format like +447446466847.",
        field=field,
    )


def idempotency(key: str | None, route: str, body: Mapping[str, Any]) -> Idempotency | None:
    """The same parsed JSON to the same route is the same request. Raises Refused."""
    if key is None:
        return None
    if not key.strip() or len(key) > MAX_KEY or "\0" in key:
        raise invalid("Idempotency-Key", f"must have 1 to {MAX_KEY} characters")
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return Idempotency(
        route=f"nixflex {route}", key=key, fingerprint=hashlib.sha256(canonical.encode()).digest()
    )


def page(given: Mapping[str, str], *, usual: int, most: int) -> tuple[int, int]:
    """`limit` and `offset` of a list; a limit over `most` is reduced. Raises Refused."""
    return min(_whole(given, "limit", usual, least=1), most), _whole(given, "offset", 0, least=0)


def _whole(given: Mapping[str, str], name: str, usual: int, *, least: int) -> int:
    if name not in given:
        return usual
    if not re.fullmatch(r"[0-9]{1,9}", given[name]) or int(given[name]) < least:
        raise invalid(name, f"must be a whole number, at least {least}")
    return int(given[name])


def _named(model: type[Body], body: Mapping[str, Any]) -> dict[str, Any]:
    """By the names that the model has."""
    given = dict(body)
    for alias, name in model.ALIASES.items():
        if alias in given and given.get(name) in (None, ""):
            given[name] = given[alias]
    known = {name: given[name] for name in model.model_fields if name in given}
    return {n: v for n, v in known.items() if v is not None or n in model.NULLABLE}


_RULES: Final[Mapping[str, str]] = {
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_too_short": "is empty",
    "string_too_long": "may have {max_length} characters at most",
    "too_long": "may have {max_length} items at most",
    "too_large": f"may have {MOST_JSON // 1024} KB as JSON at most",
    "moment": "must be a time in ISO 8601, such as 2026-05-20T09:00:00Z",
    "string_pattern_mismatch": "does not have the form it must have: {pattern}",
}


def _refused(error: ValidationError, model: type[Body]) -> Refused:
    first = error.errors(include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    field, kind = ".".join(path), first["type"]
    if kind == "missing":
        return missing(field)
    if kind == "phone":
        return not_a_number(field)
    bounds: dict[str, Any] = first.get("ctx", {})
    rule = _RULES.get(kind, "is not as it must be").format(**bounds)
    if kind in {"string_too_long", "too_long"} and path[0] in model.TOO_LONG:
        return Refused(
            model.TOO_LONG[path[0]], f"{field} {rule}.", field=field, max=bounds["max_length"]
        )
    return invalid(field, rule)
