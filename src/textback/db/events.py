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


DELIVERED: Final = """
    delivered as (
        insert into webhook_deliveries (endpoint_id, event_id, conversation_id, state, created_at,
            due_at)
        select w.id, told.id, told.conversation_id, 'waiting', cast(:at as timestamptz), :at
        from told
        left join lateral (
            select account_id, project_id from conversations where id = told.conversation_id
            order by id limit 1  -- one by one, whatever the table held when this was planned
        ) c on true
        join webhook_endpoints w on w.account_id = coalesce(told.account_id, c.account_id)
            and w.state <> 'removed'
            and (w.project_id is null or w.project_id = coalesce(told.project_id, c.project_id))
            and (w.conversation_id is null or w.conversation_id = told.conversation_id)
            and (w.kinds = '[]' or w.kinds ? told.kind)
        order by told.id, w.id
        returning 1
    )
"""
"""A CTE for a statement with a `told` of its own, which returns what `TOLD` says."""

TOLD: Final = "id, conversation_id, kind, account_id, project_id"


def telling(only: str = "true") -> str:
    """CTEs for a statement that tells of what it does: `told`, and `delivered` if anybody wants it.

    Of the rows `e` of `:events` (`rows`) those for which `only` holds are appended, at `:at`. That
    there is something to deliver is to be said with `WAKES`.
    """
    # In one statement, because most events are nobody's: then it costs one look into an index.
    return f"""
    told as (
        insert into events (at, conversation_id, message_id, kind, data, account_id, project_id)
        select cast(:at as timestamptz), e.conversation_id, e.message_id, e.kind, e.data,
            e.account_id, e.project_id
        from jsonb_to_recordset(cast(:events as jsonb)) as e(
            place int, conversation_id text, message_id text, kind text, data jsonb,
            account_id text, project_id text)
        where {only}
        order by e.place
        returning {TOLD}
    ),
    {DELIVERED}
"""  # noqa: S608 - our own words


WAKES: Final = "case when exists (select from delivered) then pg_notify(:channel, 'webhooks') end"
"""Of a statement with `delivered`: an expression that its `select` has to have."""

_APPEND: Final = Statement(f"""
    with {telling()}
    select {WAKES}, case when cast(:queue as text) is not null
        then pg_notify(:channel, cast(:queue as text)) end
""")

_WAKE: Final = Statement("select pg_notify(:channel, :queue)")


async def append(
    c: AsyncConnection, new: Sequence[Event], *, now: datetime, wake: Queue | None = None
) -> None:
    """`wake`: also do that."""
    if new:
        given = {"at": now, "events": rows(new), "channel": CHANNEL, "queue": wake}
        await _APPEND.rows(c, **given)
        count_at_commit(new)
    elif wake is not None:
        await _wake(c, wake)


def rows(new: Sequence[Event]) -> str:
    """What `telling` is given as `:events`."""
    return json.dumps(
        [
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
        ],
        allow_nan=False,
    )


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
    await _wake(c, queue)


async def _wake(c: AsyncConnection, queue: Queue) -> None:
    await _WAKE.rows(c, channel=CHANNEL, queue=queue)
