"""What is sent to Postgres."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def asked_of(db: AsyncEngine) -> AsyncGenerator[list[str]]:
    """The statements that `db` sends within, in order."""
    asked = list[str]()

    def log(query: Any) -> None:
        asked.append(query.query)

    def watch(connection: Any, *_: object) -> None:
        # It is one logger, however often it is added.
        connection.driver_connection.add_query_logger(log)

    event.listen(db.sync_engine, "checkout", watch)
    yield asked
    await asyncio.sleep(0)  # the driver tells of a statement a moment after its end
    event.remove(db.sync_engine, "checkout", watch)
