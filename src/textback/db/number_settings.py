"""What dialects keep of numbers, and what they let callers change."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.defaults import Defaults
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.phone import Phone
from textback.db.tables import conversations, numbers, projects
from textback.db.tenants import DEFAULTS


@frozen
class Settings:
    number: Phone
    config: Mapping[str, Any]
    """Under each dialect's name what it keeps, and under "defaults" what all go by."""
    conversations: int | None = None
    """How many there were; None: not asked for."""


async def of(
    c: AsyncConnection, account_id: AccountId, number: Phone, *, lock: bool = False
) -> Settings | None:
    """None: the account has no such number."""
    query = (
        select(numbers.c.number, numbers.c.config)
        .join(projects, projects.c.id == numbers.c.project_id)
        .where(
            numbers.c.number == number,
            numbers.c.removed_at.is_(None),
            projects.c.account_id == account_id,
        )
    )
    if lock:
        query = query.with_for_update(of=numbers, key_share=True)
    row = (await c.execute(query)).one_or_none()
    return None if row is None else Settings(number=Phone(row.number), config=row.config)


async def of_account(c: AsyncConnection, account_id: AccountId) -> Sequence[Settings]:
    """In the order of their numbers."""
    count = (
        select(func.count())
        .where(
            conversations.c.agent_number == numbers.c.number,
            conversations.c.account_id == account_id,
        )
        .scalar_subquery()
    )
    rows = await c.execute(
        select(numbers.c.number, numbers.c.config, count.label("conversations"))
        .join(projects, projects.c.id == numbers.c.project_id)
        .where(numbers.c.removed_at.is_(None), projects.c.account_id == account_id)
        .order_by(numbers.c.number)
    )
    return [
        Settings(number=Phone(row.number), config=row.config, conversations=row.conversations)
        for row in rows
    ]


async def save(
    c: AsyncConnection,
    number: Phone,
    config: Mapping[str, Any],
    *,
    dialect: str,
    own: Mapping[str, Any],
    defaults: Defaults,
) -> None:
    """`config`: as it is; what other dialects keep of it stays."""
    kept = {**config, dialect: own, "defaults": DEFAULTS.dump_python(defaults, mode="json")}
    await c.execute(update(numbers).where(numbers.c.number == number).values(config=kept))
