"""Quiet hours: when it is not too early and not too late to text somebody, by their own clock.

Where somebody is, only their number tells. Many numbers may be in several zones, a mobile number
for one: then it is quiet while it is quiet in any of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers import timezone

from textback.core.phone import Phone, bare
from textback.core.policy import QuietHours

_LONGEST: Final = timedelta(days=2)
"""If there is no open minute in so long, there is none."""

_SECOND: Final = timedelta(seconds=1)


def open_at(user: Phone, now: datetime, quiet: QuietHours, project_zone: str) -> datetime:
    """The first moment from `now` on at which it is not quiet for `user`.

    `project_zone` (IANA) counts where the number tells nothing. Where the zones of a number are so
    far apart that it is always quiet in one of them (a toll-free number may be anywhere from Guam
    to Puerto Rico), one counts: the project's, if it is among them, else the one in the middle.
    """
    now = now.astimezone(UTC)
    zones = zones_of(user) or (_zone(project_zone),)
    found = _first_open(now, quiet, zones)
    if found is None:
        found = _first_open(now, quiet, (_main(zones, project_zone, now),))
    return now if found is None else found


def is_quiet(moment: datetime, quiet: QuietHours, zone: ZoneInfo) -> bool:
    """By what a clock on the wall shows there; the end is not quiet any more."""
    shown = moment.astimezone(zone).time()
    if quiet.start <= quiet.end:  # the same: never
        return quiet.start <= shown < quiet.end
    return shown >= quiet.start or shown < quiet.end


@lru_cache(maxsize=65_536)
def zones_of(user: Phone) -> tuple[ZoneInfo, ...]:
    """Where the number may be; nothing for what is no number, or none of a country."""
    try:
        parsed = phonenumbers.parse(bare(user))
    except phonenumbers.NumberParseException:
        return ()
    names: Sequence[str] = timezone.time_zones_for_number(parsed)
    if timezone.UNKNOWN_TIMEZONE in names:  # not in use, or not known yet: its country's
        names = timezone.time_zones_for_geographical_number(parsed)
    found = (_known(name) for name in names if name != timezone.UNKNOWN_TIMEZONE)
    return tuple(zone for zone in found if zone is not None)


def _first_open(now: datetime, quiet: QuietHours, zones: Sequence[ZoneInfo]) -> datetime | None:
    at = now
    while at - now <= _LONGEST:
        ends = [_end(at, quiet, zone) for zone in zones if is_quiet(at, quiet, zone)]
        if not ends:
            return at
        at = max(ends)  # until then it is quiet there
    return None


def _end(at: datetime, quiet: QuietHours, zone: ZoneInfo) -> datetime:
    """When it stops to be quiet there, as it is at `at`."""
    while True:
        shown = at.astimezone(zone).replace(tzinfo=None)
        wanted = datetime.combine(shown.date(), quiet.end)
        if wanted <= shown:
            wanted += timedelta(days=1)
        end = at + (wanted - shown)
        if _offset(end, zone) == _offset(at, zone):
            return end
        at = _change(at, end, zone)  # a clock that is set jumps, out of the quiet or within it
        if not is_quiet(at, quiet, zone):
            return at


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second at which the clock there is set."""
    ours = _offset(before, zone)
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        if _offset(middle, zone) == ours:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _main(zones: Sequence[ZoneInfo], project_zone: str, now: datetime) -> ZoneInfo:
    ours = _zone(project_zone)
    if ours in zones:
        return ours
    by_offset = sorted(zones, key=lambda zone: _offset(now, zone))
    return by_offset[len(by_offset) // 2]


def _zone(name: str) -> ZoneInfo:
    return _known(name) or ZoneInfo("UTC")


@lru_cache
def _known(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):  # a zone younger than this machine's tables
        return None
