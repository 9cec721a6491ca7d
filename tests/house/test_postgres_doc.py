"""What docs/postgres.md says to do before a migration fits the migration."""

import asyncio
import re
from pathlib import Path

import asyncpg
from alembic import command

from textback.db import migrate

PAGE = (Path(__file__).parents[2] / "docs/postgres.md").read_text()
STATEMENTS = re.findall(r"^create index concurrently .*;$", PAGE, re.MULTILINE)

_INDEXES = """
    select indexname, indexdef from pg_indexes where tablename = any($1::text[])
"""
_TABLES = "select array_agg(tablename::text) from pg_tables where schemaname = 'public'"


async def _ask(database_url: str, tables: list[str] | None = None) -> dict[str, str]:
    c = await asyncpg.connect(database_url)
    try:
        named = tables or await c.fetchval(_TABLES)
        return {row[0]: row[1] for row in await c.fetch(_INDEXES, named)}
    finally:
        await c.close()


async def _prepare(database_url: str) -> list[str]:
    """As an operator does, with the version before at work; gives the tables that there were."""
    c = await asyncpg.connect(database_url)
    try:
        for statement in STATEMENTS:
            await c.execute(statement)
        return await c.fetchval(_TABLES)
    finally:
        await c.close()


def test_the_indexes_of_a_large_database_are_made_beforehand_as_the_migration_makes_them(
    empty_database_url: str,
) -> None:
    config = migrate.config(empty_database_url)
    command.upgrade(config, "0004")
    before = asyncio.run(_ask(empty_database_url))
    tables = asyncio.run(_prepare(empty_database_url))
    command.upgrade(config, "head")
    prepared = asyncio.run(_ask(empty_database_url, tables))
    assert set(prepared) - set(before) == {each.split()[3] for each in STATEMENTS}
    command.downgrade(config, "0004")
    assert asyncio.run(_ask(empty_database_url)) == before
    command.upgrade(config, "head")
    assert asyncio.run(_ask(empty_database_url, tables)) == prepared
