"""How the queues stand, at a cost that does not grow with them, and without false alarms."""

import re
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from textback.db import watch

_GROWING: Final = {
    "messages",
    "conversations",
    "turns",
    "planned_sends",
    "webhook_deliveries",
    "webhook_endpoints",
}

# Of each queue something that is late and nobody's fault, and something that is late indeed.
_ROWS: Final = """
    insert into accounts (id, name) values ('a', 'a');
    insert into batches (id, account_id, project_id, environment, state, total, created_at,
        served_at, dialect, command)
    values ('paused', 'a', 'p', 'live', 'paused', 1, now(), '2026-01-01', 'native', '{}'),
        ('busy', 'a', 'p', 'live', 'running', 1, now(), '2026-01-09', 'native', '{}'),
        ('stuck', 'a', 'p', 'live', 'running', 1, now(), '2026-01-05', 'native', '{}');
    insert into planned_sends (id, conversation_id, account_id, project_id, environment, batch_id,
        "row", user_number, command, state, due_at, created_at)
    select 'msg_' || b.id, 'c', 'a', 'p', 'live', b.id, 1, '+1', '{}', 'planned', '2026-01-02',
        now() from batches b;
    insert into planned_sends (id, conversation_id, account_id, project_id, environment,
        user_number, command, state, due_at, created_at)
    values ('msg_1', 'c', 'a', 'p', 'live', '+1', '{}', 'planned', '2026-01-03', now());
    insert into webhook_endpoints (id, account_id, url, format, state, created_at, failures,
        failing_since, paused_at, why_paused)
    values ('well', 'a', 'https://x', 'native', 'active', now(), 0, null, null, null),
        ('down', 'a', 'https://x', 'native', 'active', now(), 3, now(), null, null),
        ('off', 'a', 'https://x', 'native', 'paused', now(), 9, now(), now(), 'x'),
        ('pull', 'a', null, 'native', 'active', now(), 0, null, null, null);
    insert into webhook_deliveries (endpoint_id, event_id, state, created_at, due_at)
    values ('down', 1, 'waiting', now(), '2026-01-01'), ('off', 1, 'waiting', now(), '2026-01-01'),
        ('pull', 1, 'waiting', now(), '2026-01-01'), ('well', 1, 'waiting', now(), '2026-01-06');
"""


async def test_what_is_paused_or_its_owners_business_is_not_late(engine: AsyncEngine) -> None:
    async with engine.begin() as c:
        await c.execute(text("set local session_replication_role = replica"))  # parts of a whole
        for statement in _ROWS.split(";\n"):
            if statement.strip():
                await c.execute(text(statement))

    found = await watch.queues(engine)

    late = {queue: since.day for queue, since in found.oldest.items() if since is not None}
    assert late == {"plans": 3, "batches": 5, "deliveries": 6}
    assert found.endpoints == {"failing": 1, "paused": 1}


async def test_no_part_of_it_reads_a_table_that_grows_from_end_to_end(engine: AsyncEngine) -> None:
    async with engine.begin() as c:
        # These are empty, for which Postgres would choose no index.
        await c.execute(text("set local enable_seqscan = off"))
        await c.execute(text("set local enable_bitmapscan = off"))
        query = text(f"explain {watch.QUERY}")
        plan = "\n".join(await c.scalars(query, {"most": watch.MOST}))
    used = set(re.findall(r"using (\w+) on (\w+)", plan))
    assert {table for _, table in used} >= _GROWING
    assert _GROWING.isdisjoint(re.findall(r"Seq Scan on (\w+)", plan)), plan
