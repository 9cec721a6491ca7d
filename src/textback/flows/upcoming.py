"""Nothing yet is due -> when to look again."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db import horizon
from textback.db.session import transaction


async def upcoming(db: AsyncEngine) -> Mapping[str, datetime]:
    """By queue, when its first row is or was due. Raises Unavailable."""
    async with transaction(db) as c:
        return await horizon.upcoming(c)
