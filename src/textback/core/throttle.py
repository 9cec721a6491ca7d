"""When a user's text is kept without an answer (PolyAI's SMS page; wire-compat 1.6, D14)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from textback.core.frozen import frozen
from textback.core.gcra import Rate
from textback.core.ids import ProjectId
from textback.core.policy import InboundLimits

Verdict = Literal["abuse_block", "rate_limit", "project_limit"]


@frozen(kw_only=False)
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
    text: str,
    earlier: Sequence[Heard],
    limits: InboundLimits,
    *,
    now: datetime,
    cut_at: datetime | None = None,
) -> Verdict | None:
    """`earlier` is oldest first and does not hold the text itself.

    `cut_at`: there were more before that, which nobody looked at.
    """
    if _blocked([*earlier, Heard(now, text, answered=True)], limits, now=now):
        return "abuse_block"
    since = now - _span(limits.per_sender)
    # Of a flood it is not known which ones were answered: as long as it lasts, none more is.
    is_flood = cut_at is not None and cut_at > since
    said = sum(1 for h in earlier if (h.answered or is_flood) and h.at > since)
    return "rate_limit" if said >= limits.per_sender.amount else None


def of_project(answered: int, limits: InboundLimits) -> Verdict | None:
    """`answered`: texts of all senders within the project's window, this one not counted."""
    return "project_limit" if answered >= limits.per_project.amount else None


class Lately:
    """What projects heard lately, as far as one process knows without counting it for each text.

    What was counted once bounds what there is now, together with what was let through since: time
    only takes away. Other processes let through too, so each uses no more than a share of what was
    left before it counts again: that is by how much it can exceed a limit, at worst. A count that
    is small costs next to nothing and is made each time, so a limit of up to 128 is kept exactly.
    """

    def __init__(self) -> None:
        self._counts: dict[ProjectId, _Count] = {}

    def known(self, project_id: ProjectId, limit: Rate, *, at: datetime) -> int | None:
        """The count to go by for one text more; None: it is to be counted."""
        count = self._counts.get(project_id)
        if count is None or count.limit != limit or at < count.at:
            return None
        if count.answered >= limit.amount:
            return count.answered if at - count.at < _span(limit) / _SHARE else None
        if not count.left:
            return None
        count.left -= 1
        return count.answered

    def counted(self, project_id: ProjectId, limit: Rate, answered: int, *, at: datetime) -> None:
        """`answered`: as `of_project` wants it, of which the text that is heard is no part."""
        if answered < _SHARE:
            self._counts.pop(project_id, None)
            return
        left = max(int(limit.amount) - answered, 0) // _SHARE
        self._counts[project_id] = _Count(limit, answered, at, left)


_SHARE = 64


@dataclass(slots=True)
class _Count:
    limit: Rate
    answered: int
    at: datetime
    left: int
    """Texts that need no count."""


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
