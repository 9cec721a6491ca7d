"""Events are appended by whoever saves a state, in the same transaction.

So are their deliveries: one row for each webhook endpoint that wants the event, and the row is the
queue.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.events import Event, Kind
from textback.core.ids import AccountId, ProjectId
from textback.db.driver import Statement
from textback.db.session import count_at_commit

CHANNEL = "textback"

Queue = Literal["messages", "turns", "webhooks", "plans"]

# In one statement, because most events are nobody's: then it costs one look into an index.
_APPEND: Final = Statement("""
    with new as (
        insert into events (at, conversation_id, message_id, kind, data, account_id, project_id)
        select cast(:at as timestamptz), e.conversation_id, e.message_id, e.kind, e.data,
            e.account_id, e.project_id
        from jsonb_to_recordset(cast(:events as jsonb)) as e(
            place int, conversation_id text, message_id text, kind text, data jsonb,
            account_id text, project_id text)
        order by e.place
        returning id, conversation_id, kind, account_id, project_id
    )
    insert into webhook_deliveries (endpoint_id, event_id, conversation_id, state, created_at,
        due_at)
    select w.id, new.id, new.conversation_id, 'waiting', cast(:at as timestamptz), :at
    from new
    left join lateral (
        select account_id, project_id from conversations where id = new.conversation_id
        order by id limit 1  -- one by one, whatever the table held when this was planned
    ) c on true
    join webhook_endpoints w on w.account_id = coalesce(new.account_id, c.account_id)
        and w.state <> 'removed'
        and (w.project_id is null or w.project_id = coalesce(new.project_id, c.project_id))
        and (w.conversation_id is null or w.conversation_id = new.conversation_id)
        and (w.kinds = '[]' or w.kinds ? new.kind)
    order by new.id, w.id
    returning 1
""")

_WAKE: Final = Statement("select pg_notify(:channel, :queue)")


async def append(c: AsyncConnection, new: Sequence[Event], *, now: datetime) -> None:
    if not new:
        return
    rows = [
        {
            "place": place,
            "conversation_id": e.conversation_id,
            "message_id": e.message_id,
            "kind": e.kind,
            "data": dict(e.data),
            "account_id": e.account_id,
            "project_id": e.project_id,
        }
        for place, e in enumerate(new)
    ]
    told = await _APPEND.rows(c, at=now, events=json.dumps(rows, allow_nan=False))
    count_at_commit(new)
    if told:
        await wake(c, "webhooks")


async def was_told(
    c: AsyncConnection,
    kind: Kind,
    account_id: AccountId,
    project_id: ProjectId,
    *,
    since: datetime,
) -> bool:
    """Whether there was one after that, of no conversation."""
    query = text("""
        select exists (select from events where account_id = :account and project_id = :project
            and kind = :kind and at > :since)
    """)
    given = {"account": account_id, "project": project_id, "kind": kind, "since": since}
    return bool(await c.scalar(query, given))


async def wake(c: AsyncConnection, queue: Queue) -> None:
    """Tell workers, at the commit, that a row may be due. Only a hint: they also poll."""
    await _WAKE.rows(c, channel=CHANNEL, queue=queue)
