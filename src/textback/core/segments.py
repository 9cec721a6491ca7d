"""How many segments a text is: what carriers bill and pace by.

Sources: 3GPP TS 23.038 (GSM 7-bit alphabet and its extension table), TS 23.040 (concatenation).
"""

from typing import Final

_GSM: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_LAST_SINGLE_UNIT: Final = "\uffff"  # UTF-16 writes what comes after as a surrogate pair


def count(text: str) -> int:
    """Segments of `text`: 160 or 153 GSM-7 septets each, else 70 or 67 UTF-16 units; at least 1."""
    if all(c in _GSM or c in _GSM_EXTENSION for c in text):
        return _split([2 if c in _GSM_EXTENSION else 1 for c in text], alone=160, joined=153)
    return _split([2 if c > _LAST_SINGLE_UNIT else 1 for c in text], alone=70, joined=67)


def _split(widths: list[int], *, alone: int, joined: int) -> int:
    if sum(widths) <= alone:
        return 1
    segments, room = 1, joined
    for width in widths:  # a pair (escape + letter, or a surrogate pair) is never cut in two
        if width > room:
            segments, room = segments + 1, joined
        room -= width
    return segments
