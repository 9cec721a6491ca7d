"""What a text on a rich channel has beside its words: media, a place, a button that was tapped."""

from collections.abc import Mapping, Sequence
from typing import Final

from textback.core.phone import Phone, channel

_ORDER: Final = ("media", "location", "button")


def marked(text: str, media: Sequence[Mapping[str, str]], user: Phone) -> str:
    """A user's text as an agent reads it: with a marker for what came beside the words.

    PolyAI's (wire-compat 1.2, https://docs.poly.ai/api-reference/messaging/sms-and-rcs-api/rcs):
    `<metadata>` with any of `<media/>`, `<location/>`, `<button/>` in it. What they hold is in
    `media`. A picture by SMS has none, there as here.
    """
    if not media or channel(user) not in {"rcs", "whatsapp"}:
        return text
    kinds = {_kind(each) for each in media}
    tags = "".join(f"<{kind}/>" for kind in _ORDER if kind in kinds)
    return f"{text} <metadata>{tags}</metadata>".lstrip()


def told(medium: Mapping[str, str]) -> str:
    """One of them in words, for a language model."""
    kind = _kind(medium)
    if kind == "location":
        names = ("latitude", "longitude", "label", "address")
        return f"[location: {', '.join(medium[n] for n in names if medium.get(n))}]"
    if kind == "button":
        return f"[tapped: {medium.get('payload') or medium.get('text', '')}]"
    return f"[attached: {medium.get('content_type') or 'a file'}]"


def _kind(medium: Mapping[str, str]) -> str:
    kind = medium.get("content_type", "")
    return kind if kind in {"location", "button"} else "media"
