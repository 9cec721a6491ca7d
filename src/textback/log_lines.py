"""One event as one line of JSON, in which no whole number stands."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from pydantic_core import to_json
from structlog.typing import EventDict

from textback.core.phone import masked

# The + of a number in a URL may be escaped.
_NUMBER = re.compile(r"(\+|%2[Bb])([1-9][0-9]{6,14})")


def hide(line: str) -> str:
    """The last guard: whatever a library or a traceback says, no whole number leaves."""
    if "+" not in line and "%2" not in line:
        return line
    return _NUMBER.sub(lambda m: m[1] + masked("+" + m[2])[1:], line)


def as_json(_logger: object, method: str, event: EventDict) -> str:
    return written(method, event.pop("event"), event)


def written(level: str, event: object, facts: Mapping[str, object]) -> str:
    line = {"timestamp": _moment(), "level": level, "event": event, **facts}
    try:
        if _PLAIN.issuperset(map(type, line.values())):
            quick = to_json(line).decode()
            if quick.isascii():  # whatever reads it may not know UTF-8
                return hide(quick)
        return hide(_ENCODER.encode(line))
    except (TypeError, ValueError):  # a key that JSON has not, or a value that holds itself
        return hide(_ENCODER.encode({str(name): _shown(value) for name, value in line.items()}))


def _moment() -> str:
    """By the machine's own clock, as all that writes into the same place."""
    second, rest = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(second)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=2)
def _second(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat()[:19]


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the log goes on
        return f"({type(value).__name__}, which cannot be written down)"


_ENCODER: Final = json.JSONEncoder(default=_shown, separators=(",", ":"))

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""Of these a line is written at a fifth of the cost; what is in others is for `_shown` to say."""
