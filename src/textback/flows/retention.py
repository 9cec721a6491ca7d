"""What a project does not keep any longer -> gone, a little at a time, while everything goes on.

Opt-outs stay, and what was used (`past_usage`).
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import Unavailable
from textback.db import retention
from textback.db.retention import Past
from textback.db.session import transaction, was_held

CONVERSATIONS = 50
"""At once; the longest that anybody waits for one of their pairs is the time that takes."""

ROWS = 2000
"""Of one table at once: what is larger goes in several pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What went. `more`: there is more that can go."""

    conversations: int = 0
    texts: int = 0
    batches: int = 0
    sends: int = 0
    """That were planned, with those of batches."""
    events: int = 0
    """Of the project as a whole."""
    more: bool = False


async def overdue(db: AsyncEngine, *, now: datetime) -> list[Past]:
    """Whose turn it is. Raises Unavailable."""
    async with transaction(db) as c:
        return await retention.overdue(c, now=now)


async def forget(
    db: AsyncEngine, past: Past, *, limit: int = CONVERSATIONS, rows: int = ROWS, now: datetime
) -> Forgotten:
    """One piece of one project. A piece that somebody stands in the way of goes the next time.

    Raises Unavailable.
    """
    try:
        async with transaction(db) as c:
            await retention.patience(c)
            ids, is_full = await retention.over(c, past, limit=limit)
            is_all, texts = await retention.remove(c, ids, limit=rows, now=now)
        async with transaction(db) as c:
            await retention.patience(c)
            batches, of_batches = await retention.remove_batch_rows(c, past, limit=rows)
            sends = await retention.remove_sends(c, past, limit=rows)
            told = await retention.remove_events(c, past, limit=rows)
    except Unavailable as error:
        if was_held(error):
            return Forgotten()
        raise
    return Forgotten(
        conversations=len(ids) if is_all else 0,
        texts=texts,
        batches=batches,
        sends=sends + of_batches,
        events=told,
        more=not is_all or is_full or batches > 0 or max(of_batches, sends, told) >= rows,
    )
