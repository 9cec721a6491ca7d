"""Texts of one answer follow each other.

Each but the first is queued `Behind` the one before. That pair of numbers' order keeps it there
until the carrier has the one before. Then it waits for the carrier's report that this was sent, at
most `part_wait`: it is put off for as long, and a report puts it back. `part_wait` is in its row as
long as it has not been claimed and nothing was reported, so that what it is put off for later, like
its number's pace, stays as it is.
"""

from datetime import datetime, timedelta

from sqlalchemy import Update, exists, func, literal, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import MessageId
from textback.core.message import Delivered, Failed, Message, Sent, Suppressed, Uncertain
from textback.db import events
from textback.db.metadata import WHEN
from textback.db.tables import messages as t

_AT_ONCE = {"due_at": t.c.created_at, "part_wait": None}


@frozen(kw_only=False)
class Behind:
    message_id: MessageId
    """The text before."""
    wait: timedelta
    """For the report that it was sent."""


async def move_on(
    c: AsyncConnection, change: Update, before: Message, after: Message, *, now: datetime
) -> tuple[bool, bool]:
    """Make the change to one text, and let what is behind it go, or wait for the carrier's report.

    Both in one statement, as nearly every text has nothing behind it. Gives whether the change was
    made, and whether something may go at once.
    """
    at_once = goes_at_once(before, after)
    if at_once is None:
        return (await c.execute(change)).rowcount == 1, False
    done = change.returning(t.c.id).cte("done")
    behind = _next(after.id).where(exists(select(done.c.id))).scalar_subquery()
    values = _AT_ONCE if at_once else {"due_at": literal(now, WHEN) + t.c.part_wait}
    moved = update(t).where(t.c.id == behind).values(values).returning(t.c.id).cte("moved")
    changes = select(func.count()).select_from(done).scalar_subquery()
    moves = select(func.count()).select_from(moved).scalar_subquery()
    changed, next_ones = (await c.execute(select(changes, moves))).one()
    return changed == 1, next_ones == 1 and at_once


async def release(c: AsyncConnection, message_id: MessageId) -> None:
    """The carrier reported that this text was sent: the one behind it may go."""
    behind = _next(message_id).scalar_subquery()
    result = await c.execute(update(t).where(t.c.id == behind).values(_AT_ONCE))
    if result.rowcount:
        await events.wake(c, "messages")


def goes_at_once(before: Message, after: Message) -> bool | None:
    """Whether what is behind it may go, or begins to wait for the report; None: neither."""
    match after:
        case Sent() if not isinstance(before, Sent):
            return False
        case Delivered() | Failed() | Suppressed() | Uncertain(look_up_at=None):
            return True
        case _:
            return None


def _next(message_id: MessageId):  # noqa: ANN202 - SQLAlchemy's
    """The text behind it. Whoever holds that now has claimed or dropped it: then there is none."""
    return (
        select(t.c.id)
        .where(
            t.c.follows == message_id,
            t.c.state + "" == literal_column("'queued'"),  # see db/reported.py
            t.c.part_wait.is_not(None),
        )
        .with_for_update(skip_locked=True)
    )
