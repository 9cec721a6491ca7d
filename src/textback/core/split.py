"""What an agent says -> texts that are short enough, cut where a reader would pause.

Cuts are made at the end of a paragraph, of a line or sentence, at a comma or the like, at a space,
and only then within a word; never within what is seen as one character (UAX 29) nor within a web or
mail address, unless it is longer than a text may be.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import regex

from textback.core import segments
from textback.core.frozen import frozen
from textback.core.policy import MAX_TEXT, Replies

MOST_PARTS = 10
"""That one answer may be sent as."""


@frozen(kw_only=False)
class Part:
    """One text to be sent."""

    text: str
    saved: int = 0
    """Segments that writing smart punctuation plainly has saved."""


def say(texts: Sequence[str], replies: Replies) -> list[Part]:
    """What goes out for the `texts` of an answer, in order; blank ones say nothing.

    Raises ValueError when that is over MOST_PARTS.
    """
    longest = min(replies.longest, MAX_TEXT)
    # Before the work of cutting: an engine may answer with a book.
    least = sum(-(-sum(map(len, text.split())) // longest) for text in texts)
    said = [] if least > MOST_PARTS else [p for text in texts for p in _said(text, replies)]
    if max(least, len(said)) > MOST_PARTS:
        msg = f"is longer than {MOST_PARTS} texts of {longest} characters"
        raise ValueError(msg)
    return said


def _said(text: str, replies: Replies) -> list[Part]:
    longest = min(replies.longest, MAX_TEXT)
    cut = parts(text, longest=longest)
    return [_folded(part, longest) if replies.fold else Part(part) for part in cut]


def _folded(text: str, longest: int) -> Part:
    plain = segments.fold(text).strip()
    if len(plain) > longest:  # three dots are more than an ellipsis
        return Part(text)
    return Part(plain, segments.count(text) - segments.count(plain))


def parts(text: str, *, longest: int) -> list[str]:
    """`text` in parts of 1 to `longest` characters, none blank; [] when it is blank itself.

    Joined they are `text` again, but for the white space at the cuts and ends.
    """
    text = text.strip()
    if len(text) <= longest:
        return [text] if text else []
    return list(_Cutter(text, longest).parts())


# `regex` and `str.strip` do not agree on what is white: this is what `str` strips.
_WHITE = r"[\s\x1c-\x1f]"
_SPACES: Final = regex.compile(_WHITE + "+")
_GRAPHEME: Final = regex.compile(r"\X")
_TIES = frozenset("\u00a0\u2007\u202f")
"""Spaces that are there so that no line ends at them."""

_CLOSERS = "\"'”’»›)\\]}」』】）〉》*_"  # noqa: RUF001 - the quotes and brackets themselves
_ENDS = ".!?…؟۔।॥။።"  # noqa: RUF001
_CJK_ENDS = "。！？｡"  # noqa: RUF001
_PAUSES = ";:,—–،؛፣"  # noqa: RUF001
_CJK_PAUSES = "、，；："  # noqa: RUF001
_AFTER_SENTENCE: Final = regex.compile(f"[{_ENDS}{_CJK_ENDS}][{_CLOSERS}]{{0,4}}$")
_UNSPACED: Final = regex.compile(
    f"(?P<end>[{_CJK_ENDS}…][{_CJK_ENDS}…]{{0,9}}+[{_CLOSERS}]{{0,4}}+)|[{_CJK_PAUSES}]"
)
"""In scripts that write no space after them."""

_LAST_WORD: Final = regex.compile(rf"[^\s({_CLOSERS}]{{1,20}}$")
_NEVER_LAST = frozenset(
    regex.findall(
        r"\S+",
        "adj adm ala apt approx assn ave blvd brig bzw ca capt cf cia cmdr col comdr dept dipl "
        "dist dn dott dr dra drs esp est evtl exc fig figs ft gen ggf gov gral hon hr hrsg ing "
        "inkl insp lic lt maj messrs mgr mlle mme mons mr mrs ms msgr mt núm pág prof ps rd ref "
        "rep rev sen sgt sig sr sra srta st ste str supt tel univ vgl vol vs zzgl avv av bd jan "
        "feb mar apr jun jul aug sep sept oct okt nov dec dez e.g i.e z.b d.h u.a p.ej u.u z.t",
    )
)
"""After these a full stop ends no sentence."""
_BEFORE_NUMBERS = frozenset(("no", "nos", "nr", "nro", "num", "p", "pp", "s", "art"))
_INITIALS: Final = regex.compile(r"(?:\p{Lu}\.)*\p{Lu}")
_ORDINAL: Final = regex.compile(r"\d{1,3}|[ivxlc]{1,5}|[a-z]")

_ADDRESS_RUN: Final = regex.compile(
    r"(?V1)[[!-~\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}]]++"
)
_ADDRESS: Final = regex.compile(
    r"://|@|www\.|[\p{L}\p{N}]\.\p{L}{2,24}+(?![\p{L}\p{N}@])", regex.IGNORECASE
)
"""A web or mail address, or the name of a host: within one nothing is cut."""

_SHARE: Final = 3
"""A cut at a pause leaves at least a third of the length behind it."""
_TAIL: Final = 5
"""A fifth of the length: if it can be, no less is left for the last part."""


class _Cutter:
    """One long text. All places to cut are found first, so that the work grows with its length."""

    def __init__(self, text: str, longest: int) -> None:
        self._text, self._longest = text, longest
        self._spaces: dict[int, int] = {}  # where a part may end -> where the next one begins
        self._paragraphs = list[int]()
        self._sentences = list[int]()
        self._pauses = list[int]()
        self._words = list[int]()  # not after "Dr." and the like
        self._seams = [m.start() for m in _GRAPHEME.finditer(text)]
        seams = set(self._seams)
        self._find_spaces(seams)
        self._find_unspaced(seams)
        self._gaps = sorted(self._spaces)
        self._hard = self._outside_addresses()

    def parts(self) -> Iterator[str]:
        at, end = 0, len(self._text)
        while end - at > self._longest:
            cut = self._cut(at)
            part = self._text[at:cut].rstrip()
            if part:
                yield part
            at = self._spaces.get(cut, cut)
        if at < end:
            yield self._text[at:]

    def _cut(self, at: int) -> int:
        left = len(self._text) - at
        share = at + max(1, self._longest // _SHARE)
        # A cut that makes no more parts than there must be is the better one.
        as_few = max(share, at + left - (-(-left // self._longest) - 1) * self._longest)
        for places, least in (
            (self._paragraphs, as_few),
            (self._sentences, as_few),
            (self._paragraphs, share),
            (self._sentences, share),
            (self._pauses, share),
            (self._words, at + 1),
            (self._gaps, at + 1),
            (self._hard, at + 1),
        ):
            if (found := self._last(places, least, at)) is not None:
                return found
        return at + self._longest  # one character, as a reader sees it, longer than a text may be

    def _last(self, places: Sequence[int], least: int, at: int) -> int | None:
        """The last of the places to cut at, or an earlier one, if little would be left after it."""
        first = bisect_left(places, least)
        most = at + self._longest
        stop = bisect_right(places, most)
        if first >= stop:
            return None
        most = min(most, len(self._text) - max(1, self._longest // _TAIL))
        return places[max(first, bisect_right(places, most) - 1)]

    def _find_spaces(self, seams: set[int]) -> None:
        for gap in _SPACES.finditer(self._text):
            start, end = gap.span()
            white = gap.group()
            if start not in seams or end not in seams or white in _TIES:
                continue
            self._spaces[start] = end
            breaks = len((white + "|").splitlines()) - 1
            if breaks > 1:
                self._paragraphs.append(start)
            if breaks or self._ends_sentence(start, end):
                self._sentences.append(start)
            elif self._text[start - 1] in _PAUSES:
                self._pauses.append(start)
            if self._text[start - 1] != "." or start in self._sentences[-1:]:
                self._words.append(start)

    def _find_unspaced(self, seams: set[int]) -> None:
        found = False
        for mark in _UNSPACED.finditer(self._text):
            end = mark.end()
            if end in self._spaces or end not in seams:
                continue
            found = True
            (self._sentences if mark["end"] else self._pauses).append(end)
        if found:
            self._sentences.sort()
            self._pauses.sort()

    def _ends_sentence(self, start: int, end: int) -> bool:
        """Whether the text before the white space from `start` to `end` is a finished sentence."""
        before = self._text[max(0, start - 32) : start]
        mark = _AFTER_SENTENCE.search(before)
        if mark is None:
            return False
        if mark.group()[0] not in ".…":
            return True
        following = self._text[end]
        if following.islower():
            return False
        if mark.group()[0] == "…" or before[: mark.start()].endswith(".."):
            return True
        found = _LAST_WORD.search(before[: mark.start()])
        return found is None or not self._is_short(found.group(), following)

    def _is_short(self, word: str, following: str) -> bool:
        """Whether the full stop after it is more likely part of the word than a sentence's end."""
        small = word.lower()
        return (
            small in _NEVER_LAST
            or (small in _BEFORE_NUMBERS and following.isdecimal())
            or _INITIALS.fullmatch(word) is not None
            or _ORDINAL.fullmatch(word) is not None
        )

    def _outside_addresses(self) -> list[int]:
        """Where to cut when there is no pause for as long as a text: between characters."""
        kept = list[int]()
        upto = 0
        for run in _ADDRESS_RUN.finditer(self._text):
            start, end = run.span()
            if end - start > self._longest or not _ADDRESS.search(run.group()):
                continue
            kept += self._seams[bisect_left(self._seams, upto) : bisect_right(self._seams, start)]
            upto = end
        return kept + self._seams[bisect_left(self._seams, upto) :]
