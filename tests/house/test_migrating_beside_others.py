"""A migration wants tables that whoever works meanwhile holds."""

import asyncio

import asyncpg
from alembic import command

from textback.db import migrate

_WAITS = "select count(*) from pg_locks where not granted and relation = 'events'::regclass"


async def _waited_for(watch: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with asyncio.timeout(30):
        while True:
            if await watch.fetchval(_WAITS):
                return
            await asyncio.sleep(0.01)


async def test_one_that_is_ended_by_a_deadlock_starts_over(empty_database_url: str) -> None:
    config = migrate.config(empty_database_url)
    await asyncio.to_thread(command.upgrade, config, "0005")
    other, watch = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    try:
        await other.execute("set deadlock_timeout = '20s'; begin; lock events in row share mode")
        migrating = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_database_url))
        await _waited_for(watch)
        await other.execute("lock messages in row share mode")  # which the migration has by now
        await other.execute("commit")
        await migrating
        assert await watch.fetchval("select version_num from alembic_version") == migrate.head()
    finally:
        await other.close()
        await watch.close()
