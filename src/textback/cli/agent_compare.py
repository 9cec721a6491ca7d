"""What a version said beside what was recorded: the same, or what is different, in words."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import field
from difflib import SequenceMatcher
from typing import Literal

from textback.cli.agent_recording import Expect, Turn
from textback.cli.agent_subject import Answer
from textback.core import segments
from textback.core.frozen import frozen

Verdict = Literal["same", "changed", "failed", "new"]
"""`new`: there is nothing recorded to compare with."""


@frozen
class Made:
    """A call of a tool in the replay."""

    name: str
    arguments: str
    """As JSON with sorted keys."""
    how: Literal["recorded", "made", "refused"]


@frozen
class Compared:
    verdict: Verdict
    differences: Sequence[str] = ()
    """Each a line to be read."""
    unmet: Sequence[str] = ()
    """Of what was expected."""
    expected: int = 0
    segments_before: int | None = None
    segments: int = 0
    said: Sequence[str] = field(default_factory=list[str])


def compared(
    turn: Turn, recorded: Sequence[Made], answer: Answer, made: Sequence[Made]
) -> Compared:
    said = [part.text for part in answer.parts]
    differences = list(_differences(turn, recorded, answer, made))
    if answer.failed is not None and not turn.failed:
        verdict: Verdict = "failed"
    elif turn.said is None:
        verdict = "new"
    else:
        verdict = "changed" if differences else "same"
    unmet = list(_unmet(turn.expect, answer, said, made)) if turn.expect else []
    return Compared(
        verdict=verdict,
        differences=differences,
        unmet=unmet,
        expected=_count(turn.expect) if turn.expect else 0,
        segments_before=None if turn.said is None else sum(map(segments.count, turn.said)),
        segments=sum(map(segments.count, said)),
        said=said,
    )


def _differences(
    turn: Turn, recorded: Sequence[Made], answer: Answer, made: Sequence[Made]
) -> Iterator[str]:
    if answer.failed is not None and not turn.failed:
        yield f"failed: {answer.failed}"
    if turn.said is None:
        return
    if turn.failed and answer.failed is None:
        yield "had failed, and does not now"
    before, now = _words(turn.said), _words([part.text for part in answer.parts])
    if before != now:
        yield difference(before, now)
    if turn.ended != answer.ends:
        yield f"{'ends' if answer.ends else 'does not end'} the conversation now"
    if (turn.handed_off is None) != (answer.hands_off is None):
        hands = "does not hand" if answer.hands_off is None else "hands"
        yield f"{hands} over to a person now" + (
            f": {answer.hands_off}" if hands == "hands" else ""
        )
    yield from _calls(recorded, made)


def _calls(recorded: Sequence[Made], made: Sequence[Made]) -> Iterator[str]:
    before = [(call.name, call.arguments) for call in recorded]
    now = [(call.name, call.arguments) for call in made]
    for name, arguments in _without(before, now):
        yield f"does not call {name} {arguments} now"
    for name, arguments in _without(now, before):
        how = next(c.how for c in made if (c.name, c.arguments) == (name, arguments))
        yield f"calls {name} {arguments} now ({_HOW[how]})"
    if before != now and sorted(before) == sorted(now):
        yield "makes its calls in another order now"


_HOW = {
    "recorded": "recorded elsewhere in this conversation",
    "made": "made",
    "refused": "not recorded, so not made",
}


def _without(these: list[tuple[str, str]], those: list[tuple[str, str]]) -> list[tuple[str, str]]:
    left = list(those)
    return [each for each in these if each not in left or left.remove(each)]


def _words(texts: Sequence[str]) -> list[str]:
    """How it was split, and with which kind of quotes, is not what was said."""
    return " ".join(segments.fold(text) for text in texts).split()


def difference(before: Sequence[str], now: Sequence[str]) -> str:
    """`the [-old-] {+new+} words`."""
    parts: list[str] = []
    for what, a, b, c, d in SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if what == "equal":
            parts += before[a:b]
            continue
        parts += [f"[-{' '.join(before[a:b])}-]"] if b > a else []
        parts += [f"{{+{' '.join(now[c:d])}+}}"] if d > c else []
    return " ".join(parts)


def _unmet(
    expect: Expect, answer: Answer, said: Sequence[str], made: Sequence[Made]
) -> Iterator[str]:
    if answer.failed is not None:
        yield "an answer: it failed"
    yield from _unsaid(expect, "\n".join(said))
    if expect.ends not in {None, answer.ends}:
        yield "ends the conversation" if expect.ends else "does not end the conversation"
    if expect.hands_off not in {None, answer.hands_off is not None}:
        yield "hands over to a person" if expect.hands_off else "does not hand over to a person"
    if expect.calls is not None and [call.name for call in made] != list(expect.calls):
        names = ", ".join(call.name for call in made) or "none"
        yield f"calls {', '.join(expect.calls) or 'no tool'}, and not {names}"


def _unsaid(expect: Expect, said: str) -> Iterator[str]:
    for words in expect.contains:
        if words.casefold() not in said.casefold():
            yield f'contains "{words}"'
    for words in expect.not_contains:
        if words.casefold() in said.casefold():
            yield f'does not contain "{words}"'
    for pattern in expect.matches:
        if not re.search(pattern, said):
            yield f'matches "{pattern}"'


def _count(expect: Expect) -> int:
    flags = [expect.ends, expect.hands_off, expect.calls]
    texts = len(expect.contains) + len(expect.not_contains) + len(expect.matches)
    return texts + sum(flag is not None for flag in flags)
