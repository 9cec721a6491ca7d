"""Filling `{{name}}` where words are not enough: in JSON, in addresses; and paths into answers."""

import json
import math
import re
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import quote

from textback.llm.prompt import fill

UNQUOTED: Final = "\ue000"
"""Stands before a placeholder that was no text where it was written: it keeps its type."""

_WHOLE: Final = re.compile(r"\{\{\s*([^\W\d][\w-]*(?:\.[\w-]+)*)\s*\}\}")
_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[[\"']([^\"']+)[\"']\]")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

MAX_VALUE: Final = 10_000
"""Characters of JSON that a variable may hold: all of them are kept with the conversation."""


def filled(template: object, variables: Mapping[str, object], *, typed: bool) -> object:
    """Fill every text within. `typed`: a text that is one placeholder becomes the value itself."""
    match template:
        case str():
            marked = template.startswith(UNQUOTED)
            words = template.removeprefix(UNQUOTED)
            if (typed or marked) and (whole := _WHOLE.fullmatch(words)):
                return at_path(dict(variables), whole[1])
            return fill(words, variables)
        case list():
            items = cast("list[object]", template)
            return [filled(item, variables, typed=typed) for item in items]
        case dict():
            fields = cast("dict[str, object]", template)
            return {key: filled(value, variables, typed=typed) for key, value in fields.items()}
        case _:
            return template


def filled_url(template: str, variables: Mapping[str, object]) -> str:
    """Fill an address; whatever a value holds, it stays within its part of the path or query."""

    def value(found: re.Match[str]) -> str:
        return quote(fill(found[0], variables), safe="", errors="replace")

    return _WHOLE.sub(value, template)


def at_path(value: object, path: str) -> object:
    """Give what is at `$.slots[0].start`, or at `slots.0.start`; None: nothing is."""
    whole = _part(value, path)
    if whole is not None:
        return whole
    for found in _STEP.finditer(path.removeprefix("$")):
        value = _part(value, found[1] or found[2] or found[3])
    return value


def _part(value: object, step: str) -> object:
    if isinstance(value, list):
        items = cast("list[object]", value)
        return items[int(step)] if step.isdecimal() and int(step) < len(items) else None
    if isinstance(value, dict):
        return cast("dict[str, object]", value).get(step)
    return None


def read_json(text: str) -> object:
    """Raises ValueError on what is no JSON, or is nested beyond measure."""
    try:
        return cast("object", json.loads(text, parse_constant=lambda _: None))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def storable(value: object) -> object:
    """Give the value without what a database cannot hold; None if it is too long to be kept."""
    try:
        cleaned = _clean(value)
        return cleaned if len(json.dumps(cleaned)) <= MAX_VALUE else None
    except RecursionError:
        return None


def _clean(value: object) -> object:
    match value:
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [_clean(item) for item in cast("list[object]", value)]
        case dict():
            fields = cast("dict[object, object]", value)
            return {str(_clean(str(key))): _clean(item) for key, item in fields.items()}
        case _:
            return value
