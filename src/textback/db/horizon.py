"""What is due next, in all queues at once: one question in place of each queue's own."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Each is the first entry of an index. `epoch`: there is something, and only a look tells when; also
# in the order of an index, as `exists` may read a whole table until it finds one.
_NEXT: Final = text("""
    select
        (select min(due_at) from messages where state = 'queued') as texts,
        (select min(look_up_at) from messages where uncertain_at is not null) as look_ups,
        (select min(due_at) from turns where state = 'waiting') as turns,
        (select min(analysis_due_at) from conversations) as analyses,
        (select min(deadline_at) from conversations) as deadlines,
        (select min(sweep_at) from numbers where removed_at is null) as sweeps,
        (select min(due_at) from webhook_deliveries where state = 'waiting') as webhooks,
        least(
            (select min(lease_until) from messages where state = 'sending'),
            (select min(expires_at) from messages where state = 'queued'),
            (select min(lease_until) from turns where state in ('thinking', 'awaiting')),
            (select min(lease_until) from webhook_deliveries where state = 'delivering')
        ) as leases,
        (select timestamptz 'epoch' from (
            select from planned_sends where state = 'planned' and batch_id is null
            order by account_id, due_at, seq limit 1) one) as plans,
        (select timestamptz 'epoch' from (
            select from batches where state = 'running' order by served_at limit 1) one) as batches
""")


async def upcoming(c: AsyncConnection) -> Mapping[str, datetime]:
    """By queue, when its first row is or was due; queues without any are not in it.

    That it is due does not say that it can be taken: others may hold it back.
    """
    found = (await c.execute(_NEXT)).mappings().one()
    return {queue: at for queue, at in found.items() if at is not None}
