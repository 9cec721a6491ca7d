"""Texts that are due, taken by a worker: the row is the queue.

How they are found is in `claim_queries.py`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from asyncpg import Record
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import events as facts
from textback.core.frozen import frozen
from textback.core.ids import CarrierId
from textback.core.message import DropReason, Queued, Sending, Suppressed, claim, dropped
from textback.core.optout import every_number_of
from textback.core.phone import Phone
from textback.db import events, messages
from textback.db.claim_queries import LINE_BY_LINE, LONG_WAY
from textback.db.driver import Statement
from textback.db.message_rows import state_of
from textback.db.session import count_at_commit
from textback.db.tenants import Sender

# Planning these costs as much as answering them, and what they are asked for makes no difference.
# But a plan outlives what it was made for: while nothing is queued, it seems cheap to sort all that
# is, where an index would give the first ones.
_PLANNED: Final = Statement("""
    select set_config('plan_cache_mode', 'force_generic_plan', true),
        set_config('enable_sort', 'off', true),
        set_config('jit', 'off', true)  -- what must be sorted counts as costly
""")

PRIORITIES: Final = (0, 1)


@dataclass(slots=True)
class Round:
    """Where a worker's claims go on, when there is more than they look at at once."""

    lines: dict[int, tuple[str, str]] = field(default_factory=dict[int, tuple[str, str]])
    """By priority: behind which carrier and number."""
    pair: tuple[str, str] = ("", "")


@frozen
class Scope:
    """What one worker may take."""

    limit: int
    except_numbers: Sequence[Phone] = ()
    except_carriers: Sequence[CarrierId] = ()
    room: Mapping[CarrierId, int] = field(default_factory=dict[CarrierId, int])
    """Of these carriers no more than that."""
    held: Mapping[CarrierId, int] = field(default_factory=dict[CarrierId, int])
    """What it has under way already."""
    units: Mapping[Phone, int] = field(default_factory=dict[Phone, int])
    """Segments that these numbers may send right now; others, as much as in a second."""


@frozen
class Claimed:
    sending: Sequence[tuple[Sending, Sender | None]]
    """With how their numbers send; None: of one that is no longer provisioned."""
    late: Sequence[Suppressed]
    """Those that must not be sent any more."""
    more: bool
    """More may be due that was not looked at."""
    next_due: datetime | None
    """When nothing was found: when the next text that is not yet due will be."""


async def claim_due(
    c: AsyncConnection, scope: Scope, round_: Round, *, now: datetime, lease: timedelta
) -> Claimed:
    """Take up to `limit` due texts: those to send, and those that must not be any more.

    Replies before openers; accounts in turn, and numbers in turn within an account; of one number
    the oldest first: `due_at` only says not before when, so that a text which was put off keeps its
    place. And of a number no more than its pace allows: what was claimed in vain has to be put off.

    A text that a worker held at the time of the opt-out is queued again, and dropped here.

    Per number pair only the oldest can be due, and only while none before it is under way or being
    settled: texts reach the carrier in the order they were accepted.
    """
    await _PLANNED.rows(c)
    rows, crowded, more = await _line_by_line(c, scope, round_, now=now, lease=lease)
    found = _texts(rows)
    if crowded and len(found) < scope.limit:
        behind = _behind(scope, [row for row in found if _why_late(row, now) is None])
        given = _given(behind, now=now, lease=lease) | {"limit": scope.limit - len(found)}
        given |= {"pair_agent": round_.pair[0], "pair_user": round_.pair[1]}
        rows = await LONG_WAY.rows(c, **given)
        agent, user = rows[0]["last"] or ("", "")
        round_.pair = agent, user
        more = more or bool(agent)
        found += _texts(rows)
    sending: list[tuple[Sending, Sender | None]] = []
    late: list[Suppressed] = []
    for row in found:
        queued = state_of(row)
        assert isinstance(queued, Queued)  # noqa: S101 - as it was asked for
        if (reason := _why_late(row, now)) is not None:
            late.append(dropped(queued, reason=reason, now=now))
            await messages.save(c, queued, late[-1], now=now)
        else:
            sending.append((claim(queued, now=now, lease=lease), _sender(row)))
    count_at_commit([facts.of_message(m) for m, _ in sending])
    return Claimed(sending=sending, late=late, more=more, next_due=rows[0]["next_due"])


async def _line_by_line(
    c: AsyncConnection, scope: Scope, round_: Round, *, now: datetime, lease: timedelta
) -> tuple[list[Record], bool, bool]:
    """What it took; whether a line is too crowded to be seen through; whether there may be more.

    It goes on until it finds something, or has seen the last line of each priority. So there is no
    more only if it began with the first ones, and whoever is woken meanwhile looks again.
    """
    crowded, more, ended = False, bool(round_.lines), set[int]()
    while True:
        given = _given(scope, now=now, lease=lease)
        for priority in PRIORITIES:
            carrier, number = round_.lines.get(priority, ("", ""))
            given |= {f"carrier_{priority}": carrier, f"number_{priority}": number}
        rows = await LINE_BY_LINE.rows(c, **given)
        told = rows[0]
        round_.lines = {p: tuple(last) for p in PRIORITIES if (last := told[f"last_{p}"])}
        crowded, more = crowded or told["crowded"], more or told["more"]
        if _texts(rows):
            return rows, crowded, more or bool(round_.lines)
        ended |= {*PRIORITIES} - {*round_.lines}
        if len(ended) == len(PRIORITIES):
            round_.lines = {}  # the shorter one had begun again
            return rows, crowded, more


def _texts(rows: Sequence[Record]) -> list[Record]:
    return [row for row in rows if row["id"] is not None]


def _behind(scope: Scope, taken: Sequence[Record]) -> Scope:
    """What is left of it."""
    count = Counter(CarrierId(row["carrier_id"]) for row in taken)
    return replace(
        scope,
        room={each: room - count[each] for each, room in scope.room.items()},
        held=Counter(scope.held) + count,
    )


def _why_late(row: Record, now: datetime) -> DropReason | None:
    if row["opted_out"]:
        return "opted_out"
    return "expired" if row["expires_at"] <= now else None


def _given(scope: Scope, *, now: datetime, lease: timedelta) -> dict[str, object]:
    known = list({*scope.room, *scope.held})
    return {
        "limit": scope.limit,
        "except_numbers": list(scope.except_numbers),
        "except_carriers": list(scope.except_carriers),
        "carriers": known,
        "held": [scope.held.get(each, 0) for each in known],
        "room": [scope.room.get(each) for each in known],
        "numbers": list(scope.units),
        "units": list(scope.units.values()),
        "every_number": every_number_of(""),
        "at": now,
        "channel": events.CHANNEL,
        "lease_until": now + lease,
    }


def _sender(row: Record) -> Sender | None:
    if row["number"] is None:
        return None
    return Sender(row["segments_per_second"], row["service"])
