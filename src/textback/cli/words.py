"""JSON that a person reads too: its letters as they are, and nothing that a terminal would obey."""

import json
from collections.abc import Callable

from textback.log_lines import TURNS

# The others are escaped by `json` itself.
_CONTROLS = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)} | TURNS


def in_json(
    value: object, *, indent: int | None = None, default: Callable[[object], object] | None = None
) -> str:
    said = json.dumps(value, default=default, indent=indent, ensure_ascii=False)
    return said.translate(_CONTROLS)
