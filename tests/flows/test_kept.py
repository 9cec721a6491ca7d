"""What conversations and texts lead to, without a foreign key, stays."""

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import IntegrityError

from tests.support.world import World

KEPT = ("accounts", "agent_versions", "carriers", "projects")
WRITTEN_WITH_EACH_SEND = ("conversations", "messages", "idempotency_keys", "planned_sends")

_LEADS = """
    select conrelid::regclass::text as from_table, confrelid::regclass::text as to_table
    from pg_constraint where contype = 'f' and conrelid::regclass::text = any(:tables)
"""


@pytest.mark.parametrize("table", KEPT)
async def test_no_row_of_it_can_be_deleted(world: World, table: str) -> None:
    with pytest.raises(IntegrityError, match=f"{table} keeps its rows"):
        async with world.transaction() as c:
            await c.execute(sql(f"delete from {table}"))  # noqa: S608 - ours


async def test_what_is_written_with_each_send_has_keys_only_to_what_is_deleted(
    world: World,
) -> None:
    async with world.transaction() as c:
        found = await c.execute(sql(_LEADS), {"tables": list(WRITTEN_WITH_EACH_SEND)})
        leads = {(row.from_table, row.to_table) for row in found}
    assert leads == {("messages", "conversations"), ("planned_sends", "batches")}
