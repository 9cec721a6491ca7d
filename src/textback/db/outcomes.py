"""What came of texts that a worker held, saved for many of them at once, in one round trip.

As `messages.save` does it for one. Nobody waits here for a lock, because all the others would wait
too: what somebody else has locked is not done, and its worker saves it alone.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics
from textback.core import events as facts
from textback.core.ids import MessageId
from textback.core.message import Message, Sending, Sent, accepted, hear
from textback.core.ports import Receipt
from textback.db import events, parts
from textback.db.driver import Statement
from textback.db.message_rows import word_of

# A claim is known by its lease. What is behind a text of the same answer: as `db/parts.py`. Each is
# found by itself, and in words that no partial index is seen to fit: see `db/reported.py`.
SAVE: Final = Statement(f"""
    with n as materialized (
        select * from jsonb_to_recordset(cast(:rows as jsonb)) as n(
            id text, lease timestamptz, state text, attempts int, due_at timestamptz,
            claimed_at timestamptz, uncertain_at timestamptz, look_up_at timestamptz,
            carrier_message_id text, sent_at timestamptz, failed_at timestamptz, error_code text,
            error text, next_at_once bool)
    ),
    held as materialized (
        select m.id from n cross join lateral (
            select id from messages
            where id = n.id and state || '' = 'sending'
                and coalesce(lease_until, '-infinity') = n.lease
            for no key update skip locked
        ) m
    ),
    done as (
        update messages m set
            state = n.state, lease_until = null, attempts = n.attempts, due_at = n.due_at,
            claimed_at = n.claimed_at, uncertain_at = n.uncertain_at, look_up_at = n.look_up_at,
            look_ups = 0, carrier_message_id = n.carrier_message_id, sent_at = n.sent_at,
            failed_at = n.failed_at, error_code = n.error_code, error = n.error
        from held join n on n.id = held.id
        where m.id = held.id and held.id || '' = held.id  -- seems to be few: so each by itself
        returning m.id, m.state, n.next_at_once
    ),
    known as (  -- a receipt was faster, and said no less
        select n.id, m.sent_at, m.delivered_at from n cross join lateral (
            select sent_at, delivered_at from messages
            where id = n.id and state || '' in ('sent', 'delivered')
                and coalesce(carrier_message_id, '') = n.carrier_message_id
            order by id limit 1
        ) m
        where n.state = 'sent'
    ),
    behind as materialized (
        select m.id, done.next_at_once
        from done cross join lateral (
            select id from messages
            where follows = done.id and state || '' = 'queued' and part_wait is not null
                and done.next_at_once is not null
            for no key update skip locked
        ) m
    ),
    moved as (
        update messages m set
            due_at = case when behind.next_at_once then m.created_at
                else cast(:at as timestamptz) + m.part_wait end,
            part_wait = case when behind.next_at_once then null else m.part_wait end
        from behind
        where m.id = behind.id and behind.id || '' = behind.id
        returning behind.next_at_once
    ),
    {events.telling("e.message_id in (select id from done)")}
    select array(select id from done) as done, {events.WAKES},
        (select jsonb_object_agg(id, jsonb_build_array(sent_at, delivered_at)) from known) as known,
        case when exists (select from moved where next_at_once)
                or exists (select from done where state = 'queued')
            then pg_notify(:channel, 'messages') end
""")  # noqa: S608 - our own words
_OWN: Final = (
    "due_at", "claimed_at", "uncertain_at", "look_up_at", "carrier_message_id", "sent_at",
    "failed_at", "error_code", "error",
)  # fmt: skip


async def save_all(
    db: AsyncEngine, moves: Sequence[tuple[Sending, Message]], *, now: datetime
) -> dict[MessageId, Message]:
    """Compare and set each, before and after, with its event, and commit; gives what they are then.

    Without those that have moved meanwhile, or are locked by somebody; but with one that is known
    to be sent as that, or also delivered: what is saved again is not done again. Raises
    Unavailable, asyncpg's errors.
    """
    [saved] = await SAVE.committed(db, **given(moves, now=now))
    done: set[MessageId] = set(saved["done"])
    metrics.told([facts.of_message(after) for _, after in moves if after.id in done])
    return {after.id: after for _, after in moves if after.id in done} | {
        before.id: _known(before, after, *saved["known"][before.id])
        for before, after in moves
        if before.id in (saved["known"] or ())
    }


def given(moves: Sequence[tuple[Sending, Message]], *, now: datetime) -> dict[str, object]:
    """What `SAVE` is asked with."""
    return {
        "rows": to_json([_row(before, after) for before, after in moves]).decode(),
        "at": now,
        "events": events.rows([facts.of_message(after) for _, after in moves]),
        "channel": events.CHANNEL,
    }


def _known(before: Sending, after: Message, sent_at: str, delivered_at: str | None) -> Message:
    assert isinstance(after, Sent)  # noqa: S101 - as it was asked
    sid = after.carrier_message_id
    sent = accepted(before, carrier_message_id=sid, now=datetime.fromisoformat(sent_at))
    if delivered_at is None:
        return sent
    receipt = Receipt(carrier_message_id=sid, message_id=after.id, status="delivered")
    return hear(sent, receipt, now=datetime.fromisoformat(delivered_at))


def _row(before: Sending, after: Message) -> dict[str, Any]:
    own = {name: getattr(after, name, None) for name in _OWN}
    row = {"id": after.id, "lease": before.lease_until, "state": word_of(after)}
    row |= {"attempts": after.attempts, "next_at_once": parts.goes_at_once(before, after)}
    return row | own
