"""Shapes as an OpenAPI document holds them, for every dialect."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, Literal, TypeAlias, cast

from pydantic import BaseModel

Mode: TypeAlias = Literal["validation", "serialization"]


def in_one_piece(model: type[BaseModel], mode: Mode = "validation") -> dict[str, Any]:
    """JSON Schema without references: within a larger document its own would lead nowhere.

    Whoever asks may change what is given.
    """
    whole, parts = _read(model, mode)

    def put(found: object) -> object:
        if isinstance(found, dict):
            inner = cast("dict[str, object]", found)
            reference = inner.get("$ref")
            if isinstance(reference, str):
                return put(parts[reference.rpartition("/")[2]])
            return {name: put(each) for name, each in inner.items()}
        if isinstance(found, list):
            return [put(each) for each in cast("list[object]", found)]
        return found

    return cast("dict[str, Any]", put(whole))


_LATER: Final[list[tuple[dict[str, Any], Callable[[], dict[str, Any]]]]] = []
"""What is not described yet, and how it will be."""


def later(describe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Empty until `describe_all`: schemas take a fifth of the start, and few documents are read."""
    found: dict[str, Any] = {}
    _LATER.append((found, describe))
    return found


def describe_all() -> None:
    """Before a document is written."""
    while _LATER:
        found, describe = _LATER[-1]
        found.update(describe())  # if it raises, the next document asks again
        _LATER.pop()


@cache
def _read(model: type[BaseModel], mode: Mode) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema, and what it refers to. Some models are in every route; to read one takes long."""
    whole = model.model_json_schema(mode=mode)
    return whole, whole.pop("$defs", {})
