"""How many segments a text is: what carriers bill and pace by; and the same text, written cheaper.

Sources: 3GPP TS 23.038 (GSM 7-bit alphabet and its extension table), TS 23.040 (concatenation).
What is folded follows Twilio's Smart Encoding, but for what would change the meaning, like
fractions (2½ is not 21/2): https://www.twilio.com/docs/messaging/services#smart-encoding.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final, Literal

from textback.core.frozen import frozen
from textback.core.phone import Phone, channel
from textback.core.template import Template

_EXTENSION: Final = "\f^{}\\[~]|€"
_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà" + _EXTENSION
)
_LAST_SINGLE_UNIT: Final = "\uffff"  # UTF-16 writes what comes after as a surrogate pair


@frozen(kw_only=False)
class Size:
    encoding: Literal["GSM-7", "UCS-2"]
    units: int
    """Septets (an extension letter is two), or UTF-16 units (an emoji is two or more)."""
    segments: int
    """160 or 153 septets each, else 70 or 67 UTF-16 units; at least 1."""


def size(text: str) -> Size:
    if _GSM.issuperset(text):
        units = len(text) + sum(text.count(letter) for letter in _EXTENSION)
        return Size("GSM-7", units, _segments(text, units, alone=160, joined=153, wide=_EXTENSION))
    units = len(text) + sum(letter > _LAST_SINGLE_UNIT for letter in text)
    return Size("UCS-2", units, _segments(text, units, alone=70, joined=67, wide=None))


@lru_cache(maxsize=256)  # a text is counted where it is written, and told of
def count(text: str) -> int:
    """Segments of `text`."""
    return size(text).segments


def of_ours(text: str, agent: Phone, template: Template | None) -> int:
    """What a text from `agent` counts as: one, where nobody counts segments, or knows the words.

    RCS counts as SMS does: any text may fall back to it.
    """
    return 1 if template or channel(agent) in {"whatsapp", "chat"} else count(text)


def _segments(text: str, units: int, *, alone: int, joined: int, wide: str | None) -> int:
    if units <= alone:
        return 1
    segments, room = 1, joined
    for letter in text:  # a pair (escape + letter, or a surrogate pair) is never cut in two
        width = 2 if (letter > _LAST_SINGLE_UNIT if wide is None else letter in wide) else 1
        if width > room:
            segments, room = segments + 1, joined
        room -= width
    return segments


_PLAIN: Final = str.maketrans(
    # Double quotes: curly, low, angle, heavy; double primes.
    dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u02ba\u02ee\u2033\u2036", '"')
    | dict.fromkeys("\u275d\u275e\u301d\u301e", '"')
    # Single quotes likewise, apostrophes, accents that stand alone.
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u2032\u2035\u02b9\u02bb\u02bc\u02bd", "'")
    | dict.fromkeys("\u02c8\u02ca\u02cb\u275b\u275c\u00b4\u0060", "'")
    # Hyphens, dashes, the minus sign, bullets.
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63", "-")
    | dict.fromkeys("\u2022\u2023\u25aa\u25cf\u25e6", "-")
    # Spaces of every width, the tab; lines and paragraphs.
    | dict.fromkeys("\t\u00a0\u1680\u202f\u205f\u3000", " ")
    | {chr(code): " " for code in range(0x2000, 0x200B)}
    | {"\u2028": "\n", "\u2029": "\n", "\u0085": "\n", "\u000b": "\n"}
    # What cannot be seen: of no width, directions, the soft hyphen.
    | dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad", "")
    # Full-width ASCII and currencies, CJK punctuation among plain letters.
    | {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    | {"\uffe1": "\u00a3", "\uffe5": "\u00a5", "\u3002": ".", "\uff61": ".", "\u3001": ","}
    | {"\u2026": "...", "\u2025": "..", "\u2024": ".", "\u203c": "!!", "\u2034": "'''"}
    | {"\u2044": "/", "\u2215": "/", "\u2217": "*", "\u204e": "*", "\u223c": "~", "\u02dc": "~"}
    # Ligatures and arrows.
    | {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
    | {"\ufb05": "st", "\ufb06": "st"}
    | {"\u2190": "<-", "\u2192": "->", "\u2194": "<->", "\u21d0": "<=", "\u21d2": "=>"}
)
_DASH_IN_A_SENTENCE: Final = re.compile(r"(?<=\w)[\u2014\u2015](?=\w)")


def fold(text: str) -> str:
    """`text` with its smart punctuation written plainly, if that makes it GSM-7 and cheaper.

    Cheaper is: fewer segments, or as many and fewer units. A letter stays what it is, though an
    accent that combines may join it. Whatever else is outside the alphabet, like an emoji, leaves
    the text as it was.
    """
    if _GSM.issuperset(text):
        return text
    folded = plain(text)
    if not _GSM.issuperset(folded) or not folded.strip():
        return text
    before, after = size(text), size(folded)
    cheaper = (after.segments, after.units) < (before.segments, before.units)
    return folded if cheaper else text


def plain(text: str) -> str:
    """`text` with its smart punctuation written plainly, whatever that is good for."""
    dashed = _DASH_IN_A_SENTENCE.sub(" - ", unicodedata.normalize("NFC", text))
    return dashed.translate(_PLAIN)
