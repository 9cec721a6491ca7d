"""Which of a project's numbers texts a user when the caller names none (D11)."""

from collections.abc import Sequence
from datetime import datetime

from textback.core.frozen import frozen
from textback.core.phone import Phone, channel, region


@frozen
class Candidate:
    number: Phone
    queue_seconds: float
    """How long its waiting texts will take to leave at its pace."""
    used_at: datetime | None
    """When it last opened a conversation with anybody."""


def pick(candidates: Sequence[Candidate], *, user: Phone, last: Phone | None) -> Phone | None:
    """Sticky per user (`last`), then the user's country, then the shortest queue, then rotation.

    Only among the numbers of the user's channel.
    """
    usable = [c for c in candidates if channel(c.number) == channel(user)]
    if not usable:
        return None
    if last is not None and any(c.number == last for c in usable):
        return last
    home = region(user)
    near = [c for c in usable if region(c.number) == home]
    return min(near or usable, key=_load).number


def _load(c: Candidate) -> tuple[float, float, str]:
    return (c.queue_seconds, c.used_at.timestamp() if c.used_at else 0.0, c.number)
