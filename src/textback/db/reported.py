"""Outbound texts that receipts are about: found and moved, many at once, in two round trips.

As `db/messages.py` does it for one. Nothing is locked between the two: what has moved meanwhile, or
is locked by somebody, is not done, and its receipt is taken in alone. What a receipt usually means
takes one round trip, in which nothing but that it is the usual is looked at.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncEngine

from textback import metrics
from textback.core import events as facts
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, MessageId
from textback.core.message import Message
from textback.db import events
from textback.db.driver import Statement
from textback.db.message_rows import COLUMNS, message_of, row_of, word_of

_AS_NAMED: Final = """
    from messages m
    where id = r.id and carrier_id = r.carrier and carrier_message_id = r.sid
        and state || '' = 'sent' and not exists (
            select from messages n
            where n.follows = m.id and n.state || '' = 'queued' and n.part_wait is not null)
"""
# How each is found: see the next statement. What is only looked at is not locked, which writes.
_USUAL: Final = Statement(f"""
    with r as materialized (
        select * from jsonb_to_recordset(cast(:asked as jsonb)) as r(
            place int, id text, carrier text, sid text, delivered_at timestamptz)
    ),
    stays as materialized (
        select m.id from r cross join lateral (select id {_AS_NAMED} limit 1) m
        where r.delivered_at is null
    ),
    held as materialized (
        select m.id, r.place, r.delivered_at from r cross join lateral (
            select id {_AS_NAMED} for no key update of m skip locked
        ) m
        where r.delivered_at is not null
    ),
    done as (
        update messages m set state = 'delivered', delivered_at = held.delivered_at
        from held
        where m.id = held.id and held.id || '' = held.id  -- seems to be few: so each by itself
        returning m.id, m.conversation_id, held.place
    ),
    told as (
        insert into events (at, conversation_id, message_id, kind, data)
        select cast(:at as timestamptz), conversation_id, id, 'message.delivered', '{{}}'
        from done order by place
        returning {events.TOLD}
    ),
    {events.DELIVERED}
    select array(select id from stays) as stays, array(select id from done) as done,
        {events.WAKES}
""")  # noqa: S608 - our own words
_TOLD: Final = Event(kind="message.delivered")
"""Of each, as far as it is counted."""

# One by one, whatever the table held when this was planned.
# What is behind a text of the same answer was written with it: there is never more of it later.
# By value, and with a state that no partial index of queued texts is seen to fit: else Postgres may
# look through all that is queued.
_FIND: Final = Statement(f"""
    select m.*, o.id as owner, coalesce((
            select true from messages n
            where n.follows = m.id and n.state || '' = 'queued' and n.part_wait is not null
            limit 1
        ), false) as has_next
    from jsonb_to_recordset(cast(:asked as jsonb)) as r(place int, id text, carrier text, sid text)
    left join lateral (
        select id from messages where carrier_id = r.carrier and carrier_message_id = r.sid
        order by carrier_id, carrier_message_id limit 1
    ) o on true
    left join lateral (
        select {COLUMNS} from messages where id = coalesce(r.id, o.id) order by id limit 1
    ) m on true
    order by r.place
""")  # noqa: S608 - our own words

# What is compared is all that the rule has looked at (`core/message.hear`). What is behind a text
# of the same answer goes as in `db/parts.py`: at once, or when the carrier has had time to report
# that it sent this one.
_MOVE: Final = Statement(f"""
    with n as materialized (
        select * from jsonb_to_recordset(cast(:rows as jsonb)) as n(
            id text, was text, known text, since timestamptz, state text, due_at timestamptz,
            claimed_at timestamptz, lease_until timestamptz, uncertain_at timestamptz,
            look_up_at timestamptz, look_ups int, carrier_message_id text, sent_at timestamptz,
            delivered_at timestamptz, failed_at timestamptz, error_code text, error text)
    ),
    held as materialized (
        select m.id from n cross join lateral (
            select id from messages
            where id = n.id and state = n.was
                and carrier_message_id is not distinct from n.known
                and sent_at is not distinct from n.since
            for no key update skip locked
        ) m
    ),
    done as (
        update messages m set
            state = n.state, due_at = n.due_at, claimed_at = n.claimed_at,
            lease_until = n.lease_until, uncertain_at = n.uncertain_at, look_up_at = n.look_up_at,
            look_ups = n.look_ups, carrier_message_id = n.carrier_message_id, sent_at = n.sent_at,
            delivered_at = n.delivered_at, failed_at = n.failed_at, error_code = n.error_code,
            error = n.error
        from held join n on n.id = held.id
        where m.id = held.id and held.id || '' = held.id  -- seems to be few: so each by itself
        returning m.id, n.was
    ),
    behind as materialized (
        select m.id, g.at_once
        from jsonb_to_recordset(cast(:goes as jsonb)) as g(id text, at_once bool, moves bool)
        cross join lateral (
            select id from messages
            where follows = g.id and state || '' = 'queued' and part_wait is not null
                and (not g.moves or g.id in (select id from done))
            for no key update skip locked
        ) m
    ),
    gone as (
        update messages m set
            due_at = case when behind.at_once then m.created_at
                else cast(:at as timestamptz) + m.part_wait end,
            part_wait = case when behind.at_once then null else m.part_wait end
        from behind
        where m.id = behind.id and behind.id || '' = behind.id
        returning behind.at_once
    ),
    {events.telling("e.message_id in (select id from done)")}
    select array(select id from done) as done, {events.WAKES},
        case when exists (select from gone where at_once)
                or exists (select from done where was = 'uncertain')  -- what waited behind may go
            then pg_notify(:channel, 'messages') end
""")  # noqa: S608 - our own words
_MOVED: Final = (
    "id", "state", "due_at", "claimed_at", "lease_until", "uncertain_at", "look_up_at", "look_ups",
    "carrier_message_id", "sent_at", "delivered_at", "failed_at", "error_code", "error",
)  # fmt: skip


@frozen
class About:
    """What a receipt says of which text it is about."""

    message_id: MessageId | None
    carrier_id: CarrierId
    carrier_message_id: str


@frozen
class Found:
    text: Message | None
    """Not locked: it may have moved on."""
    owner: MessageId | None
    """Whose the carrier's id is known to be."""
    has_next: bool
    """A text of the same answer is behind it."""


@frozen
class Usual:
    about: About
    """Names the text."""
    delivered_at: datetime | None
    """None: it was sent, which is known."""


async def save_usual(db: AsyncEngine, asked: Sequence[Usual], *, now: datetime) -> list[bool]:
    """Whether each text was Sent as what is said of it, with none of its answer behind it.

    Then it is Delivered, or as it was; with its event, and committed. Another, and one that is
    locked, is left alone. Raises Unavailable, asyncpg's errors.
    """
    given = [
        {
            "place": n,
            "id": each.about.message_id,
            "carrier": each.about.carrier_id,
            "sid": each.about.carrier_message_id,
            "delivered_at": each.delivered_at,
        }
        for n, each in enumerate(asked)
    ]
    [row] = await _USUAL.committed(
        db, asked=to_json(given).decode(), at=now, channel=events.CHANNEL
    )
    metrics.told([_TOLD] * len(row["done"]))
    stays, done = {*row["stays"]}, {*row["done"]}
    return [
        each.about.message_id in (stays if each.delivered_at is None else done) for each in asked
    ]


async def find(db: AsyncEngine, asked: Sequence[About]) -> list[Found]:
    """For each of them, in order. Raises Unavailable."""
    given = [
        {"place": n, "id": a.message_id, "carrier": a.carrier_id, "sid": a.carrier_message_id}
        for n, a in enumerate(asked)
    ]
    rows = await _FIND.committed(db, asked=to_json(given).decode())
    return [
        Found(
            text=None if row["id"] is None else message_of(row),
            owner=None if row["owner"] is None else MessageId(row["owner"]),
            has_next=row["has_next"],
        )
        for row in rows
    ]


async def save(
    db: AsyncEngine,
    moves: Sequence[tuple[Message, Message]],
    goes: Mapping[MessageId, bool],
    *,
    now: datetime,
) -> set[MessageId]:
    """Compare and set each, before and after, with its event, and commit; gives what was done.

    `goes`: what is behind these texts goes at once, or after its wait for the carrier's report; of
    one that is to be moved only if it was. Raises Unavailable, asyncpg's errors.
    """
    moved = {after.id for _, after in moves}
    told = [
        event
        for before, after in moves
        if (event := facts.of_message(after)) != facts.of_message(before)
    ]
    let_go = [
        {"id": text_id, "at_once": at_once, "moves": text_id in moved}
        for text_id, at_once in goes.items()
    ]
    [saved] = await _MOVE.committed(
        db,
        rows=to_json([_row(before, after) for before, after in moves]).decode(),
        goes=to_json(let_go).decode(),
        at=now,
        events=events.rows(told),
        channel=events.CHANNEL,
    )
    done: set[MessageId] = set(saved["done"])
    metrics.told([event for event in told if event.message_id in done])
    return done


def _row(before: Message, after: Message) -> dict[str, Any]:
    row = row_of(after)
    seen = {
        "was": word_of(before),
        "known": getattr(before, "carrier_message_id", None),
        "since": getattr(before, "sent_at", None),
    }
    return {name: row[name] for name in _MOVED} | seen
