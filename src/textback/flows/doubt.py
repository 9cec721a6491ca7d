"""Commits that nobody confirmed: whether they took hold."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.errors import Unavailable
from textback.db.session import transaction

IN_DOUBT_SECONDS = 2.0
"""For how long it is looked for. The caller waits."""


async def took_hold(db: AsyncEngine, look: Callable[[AsyncConnection], Awaitable[bool]]) -> bool:
    """Whether `look` finds it; False also when that cannot be found out.

    `look` takes the lock that the commit holds until it ends: then there is no doubt any more.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(IN_DOUBT_SECONDS):
            while True:
                try:
                    async with transaction(db) as c:
                        return await look(c)
                except Unavailable:
                    await asyncio.sleep(IN_DOUBT_SECONDS / 20)
    return False
