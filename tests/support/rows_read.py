"""How much Postgres reads for what is asked: what it planned shows there, at any size."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_READ = text("""
    select seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_user_tables
    where relname = :table
""")


async def rows_read(c: AsyncConnection, table: str) -> int:
    """Of a table, by all that was asked over this connection and is committed. Commits."""
    await c.execute(text("select pg_stat_force_next_flush()"))
    await c.commit()
    found = await c.scalar(_READ, {"table": table})
    await c.commit()
    return found or 0
