"""Housekeeping: what has run out is removed, a little at a time."""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db import erasing, idempotency, jwt_apps, uploads
from textback.db.session import transaction

BATCH = 1000

ERASED_KEPT = timedelta(days=90)
"""For so long a carrier's list, or a webhook, might bring an erased text back."""

UPLOADS_LIVE = timedelta(days=30)
"""A batch keeps what it needs of a file when it is made."""


async def tidy(db: AsyncEngine, *, now: datetime) -> int:
    """Forget idempotency keys, used tokens and uploaded files past their time; gives how many."""
    forgotten = 0
    while True:
        async with transaction(db) as c:
            some = await idempotency.forget_expired(c, now=now, limit=BATCH)
            some += await jwt_apps.forget_expired(c, now=now, limit=BATCH)
            some += await erasing.forget_old(c, before=now - ERASED_KEPT, limit=BATCH)
            some += await uploads.forget_old(c, before=now - UPLOADS_LIVE, limit=BATCH)
        forgotten += some
        if some < BATCH:
            return forgotten
