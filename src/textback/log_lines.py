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

OUR_ID: Final = "(?:batch|conv|file|key|msg|opt|turn|whe)_[0-9a-hjkmnp-tv-z]{26}"
_KEY = "(?:tb|nxfs|whsec)_[A-Za-z0-9_+/=-]{8,}"
_DIGITS = "[0-9]{7,}"
# What holds digits as well: ids of ours, of Twilio's and of whoever has UUIDs.
_UUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_ID = f"{OUR_ID}|{_UUID}|[A-Z]{{2}}[0-9a-f]{{32}}"

_IN_WORDS = re.compile(rf"(?<![A-Za-z0-9])({_ID})(?![A-Za-z0-9])|{_KEY}|{_DIGITS}")
_IN_PATHS = re.compile(rf"(?<![^/])({OUR_ID})(?![^/])|{_KEY}|([A-Za-z0-9_-]{{20,}})|{_DIGITS}")
# Whatever else is long may be somebody's key: a UUID too.
_NAME = re.compile("[a-z_-]+|[A-Z_-]+")

TURNS: Final = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""What turns the direction of the words around it, so that they read as what they are not."""
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | TURNS
_CONTROLS_IN_LINES = {code: as_ for code, as_ in _CONTROLS.items() if code not in {0x09, 0x0A}}


def hide(line: str) -> str:
    """The last guard: whatever a library or a traceback says, no whole number leaves."""
    if "+" not in line and "%2" not in line:
        return line
    return _NUMBER.sub(lambda m: m[1] + masked("+" + m[2])[1:], line)


def hide_in_words(words: str) -> str:
    """Of others: numbers have no + there. Ids stay, and whatever else has fewer digits."""
    return _IN_WORDS.sub(_hidden, words)


def hide_in_path(path: str) -> str:
    """Of a request to nowhere, in which anything may stand."""
    return _IN_PATHS.sub(_hidden_in_path, path)


def _hidden_in_path(found: re.Match[str]) -> str:
    return found[0] if found[2] and _NAME.fullmatch(found[2]) else _hidden(found)


def _hidden(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    return masked("+" + found[0])[1:] if found[0].isdecimal() else "[hidden]"


def escaped(words: str) -> str:
    """For a terminal: with its lines, but nothing in it moves the cursor, or turns what is read."""
    return words.translate(_CONTROLS_IN_LINES)


class _Verbatim:
    """What the renderer asks for its `repr`, and gets this."""

    def __init__(self, words: str) -> None:
        self._words = words

    def __repr__(self) -> str:
        return self._words


def for_terminal(event: EventDict) -> EventDict:
    """To be rendered for a person."""
    seen: EventDict = {}
    for name, value in event.items():
        if type(value) is not str:
            seen[name] = (
                value if type(value) in _PLAIN else _Verbatim(_shown(value).translate(_CONTROLS))
            )
        elif name == "exception":
            seen[name] = escaped(value)
        elif name in _BARE:
            seen[name] = value.translate(_CONTROLS)
        else:
            said = hide_in_words(value) if name == "why" else value
            seen[name] = said if said.isprintable() else _Verbatim(repr(said))
    return seen


def as_json(_logger: object, method: str, event: EventDict) -> str:
    return written(method, event.pop("event"), event)


def written(level: str, event: object, facts: Mapping[str, object]) -> str:
    line = {"timestamp": _moment(), "level": level, "event": event, **facts}
    if type(why := line.get("why")) is str:
        line["why"] = hide_in_words(why)
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

_BARE: Final = frozenset({"timestamp", "level", "event", "logger"})
"""Rendered without quotes."""

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""Of these a line is written at a fifth of the cost; what is in others is for `_shown` to say."""
