"""Housekeeping: what has run out is removed, a little at a time."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db import idempotency
from textback.db.session import transaction

BATCH = 1000


async def tidy(db: AsyncEngine, *, now: datetime) -> int:
    """Forget idempotency keys past their 24 hours; gives how many."""
    forgotten = 0
    while True:
        async with transaction(db) as c:
            some = await idempotency.forget_expired(c, now=now, limit=BATCH)
        forgotten += some
        if some < BATCH:
            return forgotten
