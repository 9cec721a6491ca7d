"""Outbound texts that receipts are about: found, locked and moved, many at once.

As `db/messages.py` does it for one. Written in SQL, because this is most of what Twilio asks of us.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import events as facts
from textback.core.ids import CarrierId, MessageId
from textback.core.message import Message, Uncertain
from textback.db import events
from textback.db.driver import Statement
from textback.db.message_rows import message_of, row_of, word_of
from textback.db.tables import messages

_TEXT: Final = ", ".join(column.name for column in messages.columns)

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
        select {_TEXT} from messages where id = coalesce(r.id, o.id) order by id limit 1
    ) m on true
    order by r.place
""")  # noqa: S608 - our own words

_LOCK: Final = Statement(f"""
    select {_TEXT} from messages where id = any(cast(:ids as text[])) order by id
    for update skip locked
""")  # noqa: S608 - our own words

_MOVE: Final = Statement("""
    update messages m set
        state = n.state, due_at = n.due_at, claimed_at = n.claimed_at, lease_until = n.lease_until,
        uncertain_at = n.uncertain_at, look_up_at = n.look_up_at, look_ups = n.look_ups,
        carrier_message_id = n.carrier_message_id, sent_at = n.sent_at,
        delivered_at = n.delivered_at, failed_at = n.failed_at, error_code = n.error_code,
        error = n.error
    from jsonb_to_recordset(cast(:rows as jsonb)) as n(
        id text, was text, state text, due_at timestamptz, claimed_at timestamptz,
        lease_until timestamptz, uncertain_at timestamptz, look_up_at timestamptz, look_ups int,
        carrier_message_id text, sent_at timestamptz, delivered_at timestamptz,
        failed_at timestamptz, error_code text, error text)
    where m.id = n.id and m.state = n.was
        and n.id || '' = n.id  -- seems to be few: so each is looked up by itself
    returning m.id
""")
_MOVED: Final = (
    "id", "state", "due_at", "claimed_at", "lease_until", "uncertain_at", "look_up_at", "look_ups",
    "carrier_message_id", "sent_at", "delivered_at", "failed_at", "error_code", "error",
)  # fmt: skip

# As `db/parts.py`: at once, or when the carrier has had time to report that it sent this one.
_LET_GO: Final = Statement("""
    update messages set
        due_at = case when behind.at_once then messages.created_at
            else cast(:now as timestamptz) + messages.part_wait end,
        part_wait = case when behind.at_once then null else messages.part_wait end
    from (
        select m.id, f.at_once
        from jsonb_to_recordset(cast(:moves as jsonb)) as f(id text, at_once bool)
        join messages m on m.follows = f.id and m.state || '' = 'queued'
            and m.part_wait is not null
        order by m.id
        for update of m skip locked
    ) as behind
    where messages.id = behind.id
    returning behind.at_once
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a receipt says of which text it is about."""

    message_id: MessageId | None
    carrier_id: CarrierId
    carrier_message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    text: Message | None
    """Not locked: it may have moved on."""
    owner: MessageId | None
    """Whose the carrier's id is known to be."""
    has_next: bool
    """A text of the same answer is behind it."""


async def find(c: AsyncConnection, asked: Sequence[About]) -> list[Found]:
    """For each of them, in order."""
    given = [
        {"place": n, "id": a.message_id, "carrier": a.carrier_id, "sid": a.carrier_message_id}
        for n, a in enumerate(asked)
    ]
    rows = await _FIND.rows(c, asked=to_json(given).decode())
    return [
        Found(
            text=None if row["id"] is None else message_of(row),
            owner=None if row["owner"] is None else MessageId(row["owner"]),
            has_next=row["has_next"],
        )
        for row in rows
    ]


async def lock(c: AsyncConnection, ids: Collection[MessageId]) -> dict[MessageId, Message]:
    """Those that nobody else has locked. Never waits."""
    found = [message_of(row) for row in await _LOCK.rows(c, ids=list(ids))]
    return {m.id: m for m in found if m is not None}


async def save(
    c: AsyncConnection, moves: Sequence[tuple[Message, Message]], *, now: datetime
) -> set[MessageId]:
    """Compare and set each, before and after, with its event; gives those that were done."""
    rows = [_row(before, after) for before, after in moves]
    done = {MessageId(row["id"]) for row in await _MOVE.rows(c, rows=to_json(rows).decode())}
    told = [
        event
        for before, after in moves
        if after.id in done and (event := facts.of_message(after)) != facts.of_message(before)
    ]
    await events.append(c, told, now=now)
    if any(isinstance(before, Uncertain) for before, _ in moves):
        await events.wake(c, "messages")  # what waited behind it may go
    return done


async def let_next_go(
    c: AsyncConnection, at_once: Mapping[MessageId, bool], *, now: datetime
) -> None:
    """What is behind these texts goes at once, or after its wait for the carrier's report."""
    moves = [{"id": text_id, "at_once": each} for text_id, each in at_once.items()]
    gone = await _LET_GO.rows(c, moves=to_json(moves).decode(), now=now)
    if any(row["at_once"] for row in gone):
        await events.wake(c, "messages")


def _row(before: Message, after: Message) -> dict[str, Any]:
    row = row_of(after)
    return {name: row[name] for name in _MOVED} | {"was": word_of(before)}
