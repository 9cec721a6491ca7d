"""Files that callers upload to use them later."""

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.db.tables import uploads as t


@frozen
class Upload:
    id: str
    name: str
    kind: str
    content: str


async def add(c: AsyncConnection, account_id: AccountId, new: Upload, *, now: datetime) -> None:
    await c.execute(
        insert(t).values(
            id=new.id,
            account_id=account_id,
            name=new.name,
            kind=new.kind,
            content=new.content,
            created_at=now,
        )
    )


async def find(c: AsyncConnection, account_id: AccountId, upload_id: str) -> Upload | None:
    row = (
        await c.execute(
            select(t.c.id, t.c.name, t.c.kind, t.c.content).where(
                t.c.id == upload_id, t.c.account_id == account_id
            )
        )
    ).one_or_none()
    if row is None:
        return None
    return Upload(id=row.id, name=row.name, kind=row.kind, content=row.content)


async def forget_old(c: AsyncConnection, *, before: datetime, limit: int) -> int:
    some = select(t.c.id).where(t.c.created_at < before).limit(limit)
    return (await c.execute(delete(t).where(t.c.id.in_(some)))).rowcount
