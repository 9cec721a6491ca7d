"""What is put before a model, in words of our own: who said what, and which tools were used when.

Pure. A talk begins with the user and ends with the user or a tool, as every API and every local
chat template takes it; nobody speaks twice in a row, and nothing in it is empty.
"""

import json
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final, Literal, TypeAlias, cast

from textback.core import rich
from textback.core.engine import Said, ToolCall, ToolResult, Usage
from textback.core.frozen import frozen

BEGIN: Final = "[The conversation begins. Write your first text.]"
BEGUN: Final = "[You began the conversation.]"
GO_ON: Final = "[The user has not written again. Go on.]"
EMPTY: Final = "[The user sent an empty message.]"
COLLEAGUE: Final = "[A colleague of yours wrote:"
UNKNOWN_RESULT: Final = "How this ended is not known. It may or may not have been done."

LONGEST_RESULT: Final = 16_000
"""Characters of a result that the model reads in the turn that asked for it."""
LONGEST_EARLIER_RESULT: Final = 1_000


@frozen(kw_only=False)
class Line:
    by: Literal["user", "agent"]
    text: str


@frozen(kw_only=False)
class Asked:
    """A call that a model asks for. `arguments` None: it wrote none that can be read."""

    call_id: str
    name: str
    arguments: Mapping[str, object] | None


@frozen
class Step:
    """The model asked for calls, and got results in the same order."""

    text: str = ""
    calls: Sequence[Asked]
    results: Sequence[ToolResult]
    raw: object = None
    """The library's own form of what the model said, with all that only it can read."""


Entry: TypeAlias = Line | Step


@frozen(kw_only=False)
class Tool:
    name: str
    description: str
    parameters: Mapping[str, object] = field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )


Choice = Literal["auto", "none", "required"]
"""Whether a model may, must not or must ask for calls."""


@frozen
class Answer:
    """What came back of one request."""

    text: str
    calls: Sequence[Asked]
    cut: bool
    """It reached the limit of tokens."""
    refused: bool
    """By the API: a refusal, or a filter of content."""
    usage: Usage
    raw: object


class NoAnswerError(Exception):
    """Nothing usable came back. Says why in words that quote nothing."""

    def __init__(
        self, reason: str, *, may_pass: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason, self.may_pass, self.retry_after = reason, may_pass, retry_after


def talk(
    transcript: Iterable[Said], calls: Iterable[ToolCall] = (), *, tools: Iterable[str] = ()
) -> list[Entry]:
    """Put texts and calls in the order of time. Calls of what is not among `tools` are left out."""
    known = set(tools)
    steps = deque(
        (call.at, _step(call, number)) for number, call in enumerate(calls, 1) if call.name in known
    )
    found: list[Entry] = []
    for said in transcript:
        # At the same moment: first what was heard, then what was done, then what was said.
        while steps and (steps[0][0] < said.at or (steps[0][0] == said.at and said.role != "user")):
            found.append(steps.popleft()[1])
        line = _line(said)
        if line is not None:
            found.append(line)
    found += [step for _, step in steps]
    return _taking_turns(found)


def _line(said: Said) -> Line | None:
    words = [said.text] if said.text.strip() else []
    words += [rich.told(medium) for medium in said.media]
    text = "\n".join(words)
    if said.role == "user":
        return Line("user", text or EMPTY)
    if not text:
        return None
    return Line("agent", f"{COLLEAGUE} {text}]" if said.role == "person" else text)


def _step(call: ToolCall, number: int) -> Step:
    result = call.result or ToolResult(UNKNOWN_RESULT, failed=True)
    # Nine letters and digits: what the strictest API takes for an id.
    asked = Asked(f"call{number:05d}", call.name, call.arguments)
    return Step(calls=(asked,), results=(shortened(result, LONGEST_EARLIER_RESULT),))


def shortened(result: ToolResult, longest: int) -> ToolResult:
    if len(result.text) <= longest:
        return result
    return ToolResult(result.text[:longest] + " [the rest is left out]", failed=result.failed)


def _taking_turns(entries: Iterable[Entry]) -> list[Entry]:
    found: list[Entry] = []
    for entry in entries:
        last = found[-1] if found else None
        if isinstance(entry, Line) and isinstance(last, Line) and entry.by == last.by:
            found[-1] = Line(entry.by, f"{last.text}\n{entry.text}")
        else:
            found.append(entry)
    if not found:
        return [Line("user", BEGIN)]
    if not _is_heard(found[0]):
        spoken = any(isinstance(entry, Line) for entry in found)
        found.insert(0, Line("user", BEGUN if spoken else BEGIN))
    if isinstance(found[-1], Line) and found[-1].by == "agent":
        found.append(Line("user", GO_ON))
    return found


def _is_heard(entry: Entry) -> bool:
    return isinstance(entry, Line) and entry.by == "user"


def quoted(transcript: Iterable[Said]) -> str:
    """What was said as data, a JSON object a line, for judging rather than for taking part."""
    lines = (_line(said) for said in transcript)
    return "\n".join(
        json.dumps({"by": line.by, "text": line.text}, ensure_ascii=False)
        for line in lines
        if line is not None
    )


def tokens(text: str) -> int:
    """Estimate how many tokens a model makes of it; rather too many than too few.

    Four bytes a token is the rule of thumb for English; three is nearer for other languages.
    """
    return len(text.encode(errors="replace")) // 3 + 4


def storable(value: object) -> object:
    """Make JSON of anybody's fit for the database: no NUL, no lone surrogates.

    Raises ValueError for numbers that JSON does not have.
    """
    if isinstance(value, str):
        return value.replace("\x00", "").encode(errors="replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is no number of JSON")
    if isinstance(value, dict):
        found = cast("dict[str, object]", value)
        return {str(storable(key)): storable(each) for key, each in found.items()}
    if isinstance(value, list):
        return [storable(each) for each in cast("list[object]", value)]
    return value


def read_object(written: str) -> dict[str, object] | None:
    """The JSON object that somebody wrote, storable; None: it is none."""
    try:
        read = storable(json.loads(written))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", read) if isinstance(read, dict) else None
