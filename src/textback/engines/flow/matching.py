"""Whether a condition fits that needs no model, and what a pattern finds. Never blocks for long."""

import math
import operator
import re
import time
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, cast

import regex

from textback.engines.flow.graph import (
    AllKnown,
    Called,
    Compared,
    Fixed,
    Keywords,
    Matches,
    Variable,
    VariableType,
)
from textback.engines.flow.templates import at_path
from textback.patterns import Matching

_ORDER: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "more_than": operator.gt,
    "at_least": operator.ge,
    "less_than": operator.lt,
    "at_most": operator.le,
}
_TRUE: Final = {"true", "yes", "y", "1"}
_FALSE: Final = {"false", "no", "n", "0"}
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d+)?")


class TooSlow(Exception):  # noqa: N818 - what became of it
    """A pattern backtracks for ever."""


def compiled(pattern: str) -> regex.Pattern[str]:
    """Compile; raise a ValueError that says what is wrong and where."""
    try:
        return regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error


class Matcher:
    """The patterns of one turn: they share its processor time, and hold up nobody else's turn."""

    def __init__(self, seconds: float, matching: Matching) -> None:
        """`seconds` of processor time; `matching` is the agent's."""
        self._left, self._matching = seconds, matching

    async def search(self, pattern: str, text: str) -> regex.Match[str] | None:
        """Raise TooSlow when the turn's time is used up."""
        # In a thread that lets go of the interpreter while it matches.
        return await self._matching.run(self._search, pattern, text)

    def _search(self, pattern: str, text: str) -> regex.Match[str] | None:
        began = time.thread_time()
        try:
            return compiled(pattern).search(text, concurrent=True, timeout=max(0.001, self._left))
        except TimeoutError:
            raise TooSlow(f"{pattern!r} took too long") from None
        finally:
            self._left -= time.thread_time() - began

    async def fits(
        self, condition: Fixed, heard: str, variables: Mapping[str, object], *, called: bool | None
    ) -> bool:
        """`called`: whether the node's call went well; None: there was none. Raises TooSlow."""
        match condition:
            case Keywords(words):
                return any(has_word(heard, word) for word in words)
            case Matches(pattern):
                return await self.search(pattern, heard) is not None
            case Compared(variable, how, value):
                return compare(at_path(dict(variables), variable), how, value)
            case AllKnown(names):
                return all(is_known(at_path(dict(variables), name)) for name in names)
            case Called(well):
                return called is well

    async def extract(self, variable: Variable, heard: str) -> object:
        """Give the value that the variable's pattern finds, or None. Raises TooSlow."""
        if variable.pattern is None:
            return None
        found = await self.search(variable.pattern, heard)
        if found is None:
            return None
        said = cast("str | None", found[1] if found.re.groups else found[0])
        return None if said is None else as_type(said, variable.type)


def has_word(text: str, word: str) -> bool:
    """Whether `word` is among the words of `text`, or a phrase of it; case does not matter."""
    text, word = _plain(text), _plain(word)
    at = text.find(word)
    while at >= 0:
        ends = at + len(word)
        if not _joined(text[at - 1 : at], word[0]) and not _joined(word[-1], text[ends : ends + 1]):
            return True
        at = text.find(word, at + 1)
    return False


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold().split())


def _joined(left: str, right: str) -> bool:
    """Whether the two letters are of one word. Scripts without blanks have no words to cut."""
    return (
        left.isalnum() and right.isalnum() and not (_without_blanks(left) or _without_blanks(right))
    )


def _without_blanks(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in "WF" or "\u0e00" <= letter <= "\u109f"


def is_known(value: object) -> bool:
    return value is not None and value != ""


def compare(value: object, how: str, other: object) -> bool:
    """Compare as numbers where both are, else as words; order exists between numbers only.

    "3" is the number 3 and "True" the boolean: what other systems answer is often quoted.
    """
    left, right = _normal(value), _normal(other)
    match how:
        case "equals":
            return left == right
        case "differs":
            return left != right
        case "known":
            return is_known(value) is bool(other)
        case "contains" if isinstance(value, list):
            return any(_normal(each) == right for each in cast("list[object]", value))
        case "contains":
            return is_known(value) and _plain(str(other)) in _plain(str(value))
        case _:
            numbers = isinstance(left, float) and isinstance(right, float)
            return numbers and _ORDER[how](cast("float", left), cast("float", right))


def _normal(value: object) -> object:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return float(value)
        case str():
            words = _plain(value)
            return float(words) if _NUMBER.fullmatch(words) else words
        case _:
            return value


def as_type(value: object, wanted: VariableType) -> object:
    """Give the value as that type, or None if it is not one."""
    match wanted:
        case "string":
            return (str(value).strip() or None) if isinstance(value, str | int | float) else None
        case "boolean":
            if isinstance(value, bool):
                return value
            word = _plain(str(value))
            return True if word in _TRUE else False if word in _FALSE else None
        case "integer" | "number":
            return _number(value, wanted)
        case "date":
            try:
                return date.fromisoformat(str(value).strip()).isoformat()
            except ValueError:
                return None


def _number(value: object, wanted: VariableType) -> int | float | None:
    if isinstance(value, bool):
        return None
    text = str(value).replace(",", "").strip()
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    if number.is_integer() and (wanted == "integer" or "." not in text):
        return int(text) if "." not in text else int(number)
    return number if wanted == "number" else None
