"""Apps that sign their requests, and the tokens of theirs that were used."""

from dataclasses import field
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.jwt_claims import Once
from textback.db.tables import accounts, jwt_apps, jwt_ids


@frozen
class AppRow:
    client_id: str
    account_id: AccountId
    secret: str = field(repr=False)
    """Sealed."""
    scopes: frozenset[str] | None
    require_jti: bool


async def find(c: AsyncConnection, client_id: str) -> AppRow | None:
    """None also for one that was revoked, or whose account is gone."""
    a = jwt_apps.c
    row = (
        await c.execute(
            select(a.client_id, a.account_id, a.secret, a.scopes, a.require_jti)
            .join(accounts, accounts.c.id == a.account_id)
            .where(a.client_id == client_id, a.revoked_at.is_(None))
            .where(accounts.c.removed_at.is_(None))
        )
    ).one_or_none()
    if row is None:
        return None
    return AppRow(
        client_id=row.client_id,
        account_id=AccountId(row.account_id),
        secret=row.secret,
        scopes=None if row.scopes is None else frozenset(row.scopes),
        require_jti=row.require_jti,
    )


async def use(c: AsyncConnection, client_id: str, token: Once) -> bool:
    """Whether it is the first time. Who is second waits for the first one's commit."""
    done = await c.execute(
        insert(jwt_ids)
        .values(client_id=client_id, jti=token.jti, expires_at=token.expires_at)
        .on_conflict_do_nothing()
    )
    return done.rowcount == 1


async def forget_expired(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    """Of used tokens those that are refused for their age by now."""
    t = jwt_ids.c
    some = select(t.client_id, t.jti).where(t.expires_at <= now).limit(limit)
    found = (await c.execute(some.with_for_update(skip_locked=True))).all()
    for client_id, jti in found:
        await c.execute(delete(jwt_ids).where(t.client_id == client_id, t.jti == jti))
    return len(found)
