"""Idempotency keys live in the transaction of what they protect."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Accepted, Idempotency
from textback.core.errors import KeyReused
from textback.core.ids import AccountId, ConversationId, MessageId
from textback.core.policy import IDEMPOTENCY_TTL
from textback.db.tables import idempotency_keys as t


async def find(
    c: AsyncConnection, account_id: AccountId, key: Idempotency, *, now: datetime
) -> Accepted | None:
    """The first answer, if this request came before. Raises KeyReused when another one did."""
    row = (
        await c.execute(
            select(t).where(
                t.c.account_id == account_id,
                t.c.route == key.route,
                t.c.key == key.key,
                t.c.expires_at > now,
            )
        )
    ).one_or_none()
    if row is None:
        return None
    if row.fingerprint != key.fingerprint:
        msg = "This Idempotency-Key was used for a different request; use a new key for a new one."
        raise KeyReused(msg)
    return Accepted(
        conversation_id=ConversationId(row.conversation_id),
        message_id=MessageId(row.message_id),
        replayed=True,
    )


async def claim(
    c: AsyncConnection,
    account_id: AccountId,
    key: Idempotency,
    answer: Accepted,
    *,
    now: datetime,
) -> bool:
    """Remember `answer` under `key`; False when the key is taken.

    A concurrent request with the same key waits here until the first one commits.
    """
    values = {
        "fingerprint": key.fingerprint,
        "conversation_id": answer.conversation_id,
        "message_id": answer.message_id,
        "expires_at": now + IDEMPOTENCY_TTL,
    }
    result = await c.execute(
        insert(t)
        .values(account_id=account_id, route=key.route, key=key.key, **values)
        .on_conflict_do_update(
            index_elements=["account_id", "route", "key"], set_=values, where=t.c.expires_at <= now
        )
    )
    return result.rowcount == 1


async def forget_expired(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    some = select(t.c.account_id, t.c.route, t.c.key).where(t.c.expires_at <= now).limit(limit)
    keys = (await c.execute(some)).all()
    for row in keys:
        await c.execute(
            delete(t).where(
                t.c.account_id == row.account_id,
                t.c.route == row.route,
                t.c.key == row.key,
                t.c.expires_at <= now,
            )
        )
    return len(keys)
