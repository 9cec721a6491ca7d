"""How much Postgres reads for what is asked: what it planned shows there, at any size."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_READ = text("""
    select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables
    where relname = :table
""")


async def forget_counts(c: AsyncConnection) -> None:
    """Of what conversations consist of, Postgres expects what it does of new tables.

    So what an earlier test had it count does not show in plans. Leaves no conversation. Commits.
    """
    await c.execute(text("truncate conversations cascade"))
    await c.execute(
        text("delete from pg_statistic where starelid = any(cast(:tables as regclass[]))"),
        {"tables": ["conversations", "messages", "turns", "events", "tool_calls"]},
    )
    await c.commit()


async def rows_read(c: AsyncConnection, table: str) -> int:
    """Of a table, by all that was asked over this connection and is committed. Commits."""
    await c.execute(text("select pg_stat_force_next_flush()"))
    await c.commit()
    found = await c.scalar(_READ, {"table": table})
    await c.commit()
    return found or 0
