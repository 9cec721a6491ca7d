"""Questions that edges ask about an account itself."""

from datetime import datetime

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.db.session import transaction
from textback.db.tables import accounts, api_keys, projects


@frozen
class KeyRecord:
    account_name: str
    key_name: str | None
    """None: it is no API key of ours, but a token."""
    expires_at: datetime | None


async def key_of(db: AsyncEngine, account_id: AccountId, key_id: str) -> KeyRecord | None:
    """`key_id`: of a key of the account that was found good. None: no such account."""
    k = api_keys.c
    is_it = and_(k.account_id == accounts.c.id, or_(k.id == key_id, k.public_id == key_id))
    query = (
        select(accounts.c.name, k.name.label("key_name"), k.expires_at)
        .outerjoin(api_keys, is_it)
        .where(accounts.c.id == account_id)
        .limit(1)
    )
    async with transaction(db) as c:
        row = (await c.execute(query)).one_or_none()
    if row is None:
        return None
    return KeyRecord(account_name=row.name, key_name=row.key_name, expires_at=row.expires_at)


async def projects_of(
    db: AsyncEngine, account_id: AccountId, *, after: str | None, limit: int
) -> list[tuple[str, str]]:
    """Ids and names, by id, from behind `after`."""
    query = (
        select(projects.c.id, projects.c.name)
        .where(projects.c.account_id == account_id, projects.c.removed_at.is_(None))
        .order_by(projects.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(projects.c.id > after)
    async with transaction(db) as c:
        return [(row.id, row.name) for row in await c.execute(query)]
