"""What the carrier has approved beforehand, and sends instead of free text."""

from collections.abc import Mapping
from dataclasses import field

from textback.core.frozen import frozen


@frozen
class Template:
    """Of Twilio's Content API (https://www.twilio.com/docs/content)."""

    content_sid: str
    """`HX` and 32 hexadecimal digits."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """By their places, from "1"."""
