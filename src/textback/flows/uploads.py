"""A file that a caller uploads, and names later by its id."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import UnknownResource
from textback.core.ids import AccountId, new_file_id
from textback.db import uploads
from textback.db.session import transaction
from textback.db.uploads import Upload


async def keep(
    db: AsyncEngine, account_id: AccountId, *, name: str, kind: str, content: str, now: datetime
) -> Upload:
    """Raises Unavailable."""
    new = Upload(id=new_file_id(now), name=name, kind=kind, content=content)
    async with transaction(db) as c:
        await uploads.add(c, account_id, new, now=now)
    return new


async def get(db: AsyncEngine, account_id: AccountId, upload_id: str) -> Upload:
    """Raises UnknownResource, Unavailable."""
    async with transaction(db) as c:
        found = await uploads.find(c, account_id, upload_id)
    if found is None:
        raise UnknownResource("There is no such file.")
    return found
