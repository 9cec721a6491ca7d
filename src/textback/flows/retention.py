"""What a project does not keep any longer -> gone, a little at a time, while everything goes on.

Opt-outs stay, and what was used (`past_usage`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.errors import Unavailable
from textback.core.frozen import frozen
from textback.db import retention
from textback.db.retention import Past
from textback.db.session import transaction, was_held

CONVERSATIONS = 50
"""At once; the longest that anybody waits for one of their pairs is the time that takes."""

ROWS = 2000
"""Of one table at once: what is larger goes in several pieces."""


@frozen
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
    said = await _unless_held(
        db, lambda c: _conversations(c, past, limit=limit, rows=rows, now=now)
    )
    others = await _unless_held(db, lambda c: _others(c, past, rows=rows))
    return replace(
        others,
        conversations=said.conversations,
        texts=said.texts,
        more=said.more or others.more,
    )


async def _unless_held(
    db: AsyncEngine, forget: Callable[[AsyncConnection], Awaitable[Forgotten]]
) -> Forgotten:
    """Nothing, if somebody's lock is in the way."""
    try:
        async with transaction(db) as c:
            await retention.patience(c)
            return await forget(c)
    except Unavailable as error:
        if was_held(error):
            return Forgotten()
        raise


async def _conversations(
    c: AsyncConnection, past: Past, *, limit: int, rows: int, now: datetime
) -> Forgotten:
    ids, is_full = await retention.over(c, past, limit=limit)
    is_all, texts = await retention.remove(c, ids, limit=rows, now=now)
    gone = len(ids) if is_all else 0
    return Forgotten(conversations=gone, texts=texts, more=not is_all or is_full)


async def _others(c: AsyncConnection, past: Past, *, rows: int) -> Forgotten:
    batches, of_batches = await retention.remove_batch_rows(c, past, limit=rows)
    sends = await retention.remove_sends(c, past, limit=rows)
    told = await retention.remove_events(c, past, limit=rows)
    return Forgotten(
        batches=batches,
        sends=sends + of_batches,
        events=told,
        more=batches > 0 or max(of_batches, sends, told) >= rows,
    )
