"""A project's send limit is hit: its account is told, once a minute at most."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.commands import Caller
from textback.core.events import Event
from textback.db import events, locks
from textback.db.session import transaction

AT_MOST_EVERY: Final = timedelta(minutes=1)


async def reached(db: AsyncEngine, caller: Caller, *, now: datetime) -> bool:
    """Write `limit.reached`, unless that was done within the last minute, by whichever process.

    Raises Unavailable.
    """
    async with transaction(db) as c:
        if not await locks.try_limit(c, caller.project_id):
            return False  # somebody else is at it
        since = now - AT_MOST_EVERY
        if await events.was_told(
            c, "limit.reached", caller.account_id, caller.project_id, since=since
        ):
            return False
        rate = caller.rate_limit
        event = Event(
            kind="limit.reached",
            account_id=caller.account_id,
            project_id=caller.project_id,
            data={
                "limit": "sends",
                "requests": _plain(rate.amount),
                "per_seconds": _plain(rate.seconds),
                "connector_id": caller.connector_id,
            },
        )
        await events.append(c, [event], now=now)
    return True


def _plain(value: float) -> float:
    """A whole number without a fraction, which receivers may not read as one."""
    return int(value) if value == int(value) else value
