"""When a user's text is kept without an answer (PolyAI's SMS page; wire-compat 1.6, D14)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from textback.core.gcra import Rate
from textback.core.policy import InboundLimits

Verdict = Literal["abuse_block", "rate_limit", "project_limit"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One earlier text of the same sender; keywords are not among them."""

    at: datetime
    text: str
    answered: bool
    """False: it was itself kept without an answer, and counts only as a repetition."""


def look_back(limits: InboundLimits) -> timedelta:
    """How far back `Heard` texts matter."""
    return max(_span(limits.per_sender), limits.repeats.within + limits.repeats.block)


def of_sender(
    text: str, earlier: Sequence[Heard], limits: InboundLimits, *, now: datetime
) -> Verdict | None:
    """`earlier` is oldest first and does not hold the text itself."""
    if _blocked([*earlier, Heard(now, text, answered=True)], limits, now=now):
        return "abuse_block"
    since = now - _span(limits.per_sender)
    if sum(1 for h in earlier if h.answered and h.at > since) >= limits.per_sender.amount:
        return "rate_limit"
    return None


def of_project(answered: int, limits: InboundLimits) -> Verdict | None:
    """`answered`: texts of all senders within the project's window, this one not counted."""
    return "project_limit" if answered >= limits.per_project.amount else None


def _blocked(texts: Sequence[Heard], limits: InboundLimits, *, now: datetime) -> bool:
    rule = limits.repeats
    times: dict[str, list[datetime]] = {}
    for heard in texts:
        words = heard.text.strip().casefold()
        if not words:  # pictures alone: one photo after the other is no repetition
            continue
        same = times.setdefault(words, [])
        same.append(heard.at)
        if (
            len(same) >= rule.count
            and heard.at - same[-rule.count] <= rule.within
            and now - heard.at < rule.block
        ):
            return True
    return False


def _span(rate: Rate) -> timedelta:
    return timedelta(seconds=rate.seconds)
