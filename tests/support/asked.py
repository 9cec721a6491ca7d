"""What is sent to Postgres."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool


@asynccontextmanager
async def asked_of(db: AsyncEngine) -> AsyncGenerator[list[str]]:
    """The statements that `db` sends within, in order."""
    asked = list[str]()

    def log(query: Any) -> None:
        asked.append(query.query)

    def watch(connection: Any, _: object) -> None:
        connection.driver_connection.add_query_logger(log)

    async with AsyncExitStack() as stack:  # all that are there, which is to say idle
        for _ in range(cast("QueuePool", db.pool).checkedout()):
            connection = await stack.enter_async_context(db.connect())
            watch(await connection.get_raw_connection(), None)
    event.listen(db.sync_engine, "connect", watch)
    yield asked
    await asyncio.sleep(0)  # the driver tells of a statement a moment after its end
    event.remove(db.sync_engine, "connect", watch)
