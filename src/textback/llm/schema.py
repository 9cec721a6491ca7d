"""JSON Schemas of operators: is one sound, and does a value fit it? Nothing is fetched, ever."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from json import dumps, loads
from typing import Any, Final, Protocol, cast

import regex
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

_MATCHING: Final = 0.2
"""Seconds that one pattern may take: it is an operator's, and the value may be a user's words."""
_LONGEST: Final = 300
_NOTHING: Final = Registry[Any]()
"""Other documents that a schema may refer to."""


class _Validator(Protocol):
    def iter_errors(self, instance: object) -> Iterator[ValidationError]: ...


def object_schema(schema: dict[str, object]) -> dict[str, object]:
    """Give it back. Raises ValueError with a sentence when it is no JSON Schema of an object."""
    if schema.get("type") != "object":
        raise ValueError("must be a JSON Schema of an object: type: object")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(step) for step in error.absolute_path) or "the schema"
        raise ValueError(f"is no JSON Schema: {where}: {_short(error.message)}") from error
    for pattern in _words_under("pattern", schema):
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    resource: Resource[Any] = DRAFT202012.create_resource(schema)
    resolver = _NOTHING.with_resource("", resource).resolver()
    for ref in _words_under("$ref", schema):
        try:
            resolver.lookup(ref)
        except Unresolvable as error:
            raise ValueError(f"is no JSON Schema: $ref: {ref!r} leads nowhere") from error
    return schema


def misfit(schema: Mapping[str, object], value: object) -> str | None:
    """Say what about `value` does not fit, for whoever made it; None: it fits."""
    try:
        error = next(_validator(dumps(schema, sort_keys=True)).iter_errors(value), None)
    except (Unresolvable, RecursionError):
        return "its schema cannot be followed"
    if error is None:
        return None
    where = ".".join(str(step) for step in error.absolute_path)
    said = _short(str(error.message))
    return f"{where}: {said}" if where else said


@lru_cache(maxsize=256)
def _validator(schema: str) -> _Validator:
    return _CHECKS(loads(schema), registry=_NOTHING)


def _pattern(
    _: object, pattern: str, value: object, __: Mapping[str, object]
) -> Iterator[ValidationError]:
    if not isinstance(value, str):
        return
    try:
        if regex.search(pattern, value, timeout=_MATCHING):
            return
    except TimeoutError:
        pass
    yield ValidationError(f"does not match {pattern!r}")


_extend = cast("Callable[..., Callable[..., _Validator]]", validators.extend)
_CHECKS: Final = _extend(Draft202012Validator, {"pattern": _pattern})


def _words_under(key: str, schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for name, value in cast("Mapping[str, object]", schema).items():
            if name == key and isinstance(value, str):
                yield value
            yield from _words_under(key, value)
    elif isinstance(schema, list):
        for value in cast("list[object]", schema):
            yield from _words_under(key, value)


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST else message[:_LONGEST] + "…"
