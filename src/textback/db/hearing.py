"""What is asked and written for each text of a user's, in few statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from textback import tracing
from textback.core import events as facts
from textback.core.conversation import NAMES, Closed, Engaged, Live, deadline
from textback.core.errors import StaleError
from textback.core.ids import (
    AccountId,
    CarrierId,
    ConversationId,
    MessageId,
    ProjectId,
    new_turn_id,
    on_record,
)
from textback.core.optout import every_number_of
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy, InboundLimits
from textback.core.throttle import Heard, look_back
from textback.core.turn import Landing
from textback.db import events, inbound, locks, under_way
from textback.db.conversation_rows import state_of
from textback.db.hearing_queries import LOCK, MET, TAKE_IN
from textback.db.session import count_at_commit
from textback.db.turns import Standing, Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What the locks of the pair and of its live conversation guard."""

    is_known: bool
    """The text is stored already, or on record, or was erased."""
    opted_out: bool
    is_live: bool
    """There is a live conversation, locked or not."""
    knows: bool
    """There was more between the two than texts of the user's that were ignored."""
    stays_over: bool
    """Their latest came to its own end, and its caller wants no other one after it."""
    earlier: Sequence[Heard]
    """What the user texted lately, the oldest first: for the sender's limits."""
    answered: int
    """Texts of all its users that the project answered lately, at most as many as its limit."""
    replies: Sequence[datetime]
    """When the latest replies and notices to the user were written, the oldest first."""
    standing: Standing
    """The turns of the conversation that is locked."""


async def lock(c: AsyncConnection, agent: Phone, user: Phone) -> Live | None:
    """Lock the pair, then its live conversation, if it had one before that: `meet` tells."""
    pair = locks.number_of_pair(agent, user)
    [row] = await LOCK.rows(c, pair=pair, agent=agent, user=user)
    found = None if row["id"] is None else state_of(row)
    return None if isinstance(found, Closed) else found


async def meet(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    live: ConversationId | None,
    *,
    account_id: AccountId,
    project_id: ProjectId,
    carrier_id: CarrierId,
    carrier_message_id: str,
    limits: InboundLimits,
    replies_since: datetime,
    most_replies: int,
    answered: int | None,
    at: datetime,
) -> Met:
    """Call with the pair and `live` locked; locks its turns. `at`: when the text was said.

    `answered`: as in `Met`, if it is known; else it is counted, which may be much.
    """
    window = timedelta(seconds=limits.per_project.seconds)
    given = {
        "talk": live,
        "carrier": carrier_id,
        "sid": carrier_message_id,
        "on_record": on_record(carrier_message_id),
        "agent": agent,
        "user": user,
        "every_number": every_number_of(project_id),
        "account": account_id,
        "project": project_id,
        "counts": answered is None,
        "window": at - window,
        "most": int(limits.per_project.amount),
        "since": at - look_back(limits),
        "replies_since": replies_since,
        "at": at,
        "rows": inbound.latest(max(2 * int(limits.per_sender.amount), 4 * most_replies)),
    }
    rows = await MET.rows(c, **given)
    row = rows[0]
    earlier = zip(row["at"] or (), row["texts"] or (), row["were_answered"] or (), strict=True)
    written: list[datetime] = row["replies"] or []
    return Met(
        is_known=row["is_known"],
        opted_out=row["opted_out"],
        is_live=row["is_live"],
        knows=row["knows"],
        stays_over=bool(row["stays_over"]),
        earlier=[Heard(when, words, answered=was) for when, words, was in earlier],
        answered=row["answered"] if answered is None else answered,
        replies=written[-most_replies:],
        standing=_standing(rows),
    )


def _standing(rows: Sequence[asyncpg.Record]) -> Standing:
    waiting, busy = None, None
    for row in rows:
        if row["state"] == "waiting":
            waiting = Waiting(row["id"], row["first_text_at"])
        elif row["state"] is not None:
            busy = under_way.held_of(row)
    return Standing(waiting=waiting, under_way=busy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A text for the agent."""

    id: MessageId
    project_id: ProjectId
    carrier_id: CarrierId
    carrier_message_id: str
    agent_number: Phone
    user_number: Phone
    text: str
    media: Sequence[Mapping[str, str]]
    note: str | None
    at: datetime


async def take_in(
    c: AsyncConnection,
    said: Said,
    before: Live,
    after: Engaged,
    *,
    policy: IdlePolicy,
    standing: Standing,
    landing: Landing,
    due_at: datetime,
    now: datetime,
) -> int:
    """Store it and engage its conversation, with their events, and let it land.

    Except for `restart`, which is the caller's. Gives its place in the order of texts. Raises
    StaleError.
    """
    waiting, busy = standing.waiting, standing.under_way
    told = [inbound.received(before.id, said.id, note=said.note)]
    if not isinstance(before, Engaged):
        told = [facts.of_conversation(after), *told]
    given = {
        "conversation": before.id,
        "was": NAMES[type(before)],
        "deadline": deadline(after, policy),
        "id": said.id,
        "project": said.project_id,
        "carrier": said.carrier_id,
        "sid": said.carrier_message_id,
        "agent": said.agent_number,
        "user": said.user_number,
        "text": said.text,
        "media": to_json(said.media).decode(),
        "note": said.note,
        "said_at": said.at,
        "traceparent": tracing.current(),
        "new": new_turn_id(now) if landing == "new" else None,
        "waiting": waiting.id if waiting is not None and landing == "put off" else None,
        "thinking": busy.id if busy is not None and landing == "again" else None,
        "due_at": due_at,
        "events": events.rows(told),
        "channel": events.CHANNEL,
        "at": now,
    }
    rows = await TAKE_IN.rows(c, **given)
    if not rows:
        raise StaleError(before.id)
    count_at_commit(told)
    return int(rows[0]["seq"])
