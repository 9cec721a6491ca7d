"""Shapes as an OpenAPI document holds them, for every dialect."""

from typing import Any, Literal, cast

from pydantic import BaseModel


def in_one_piece(
    model: type[BaseModel], mode: Literal["validation", "serialization"] = "validation"
) -> dict[str, Any]:
    """JSON Schema without references: within a larger document its own would lead nowhere."""
    whole = model.model_json_schema(mode=mode)
    parts: dict[str, Any] = whole.pop("$defs", {})

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
