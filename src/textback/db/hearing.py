"""What is asked and written for each text of a user's, in few statements.

A statement costs this process more than what Postgres does for most of them (ADR 34). What decides
is asked under the lock that guards it: of the pair first, then of its live conversation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from textback import tracing
from textback.core.conversation import NAMES, Engaged, Live, deadline
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
from textback.db import events, inbound, under_way
from textback.db.driver import Statement
from textback.db.turns import Standing, Waiting

_MET: Final = Statement("""
    select
        exists (
            select from messages where carrier_id = :carrier and carrier_message_id = any(:named)
        ) or exists (
            select from erased_texts
            where carrier_id = :carrier and carrier_message_id = any(:named)
        ) as is_known,
        exists (
            select from opt_outs where user_number = :user and agent_number = any(:agents)
                and opted_in_at is null
        ) as opted_out,
        exists (
            select from conversations
            where agent_number = :agent and user_number = :user and state <> 'closed'
        ) as is_live,
        exists (
            select from conversations
            where account_id = :account and agent_number = :agent and user_number = :user
                and reason is distinct from 'ignored'
        ) as knows,
        (
            select reason in ('idle', 'agent_ended') and not reopens from conversations
            where account_id = :account and agent_number = :agent and user_number = :user
            order by opened_at desc limit 1
        ) as stays_over,
        (
            select count(*) from (
                select from messages
                where project_id = :project and direction = 'inbound' and kind = 'text'
                    and created_at > :window and created_at <= :at
                limit :most
            ) as counted
        ) as answered,
        earlier.*
    from (
        select array_agg(created_at order by seq) as at, array_agg(text order by seq) as texts,
            array_agg(kind = 'text' order by seq) as were_answered
        from (
            select seq, direction, kind, created_at, text from messages
            where agent_number = :agent and user_number = :user
            order by seq desc limit :rows
        ) as latest
        where direction = 'inbound' and kind <> 'keyword'
            and created_at > :since and created_at <= :at
    ) as earlier
""")

_OWED: Final = Statement("""
    with owed as materialized (
        select t.id, t.run, t.state, t.conversation_id, t.opener_id, t.first_text_at,
            t.lease_until, t.upto_seq, t.attempts, t.restarts, t.again_at,
            t.upto_seq > c.heard_seq as is_asked
        from turns t join conversations c on c.id = t.conversation_id
        where t.conversation_id = :conversation and t.state <> 'ended'
        for update of t
    )
    select owed.*, said.at
    from (
        select array_agg(created_at order by seq) as at from (
            select seq, kind, state, created_at from messages
            where agent_number = :agent and user_number = :user
            order by seq desc limit :rows
        ) as latest
        where kind in ('reply', 'notice') and state not in ('suppressed', 'failed')
            and created_at > :since
    ) as said
    left join owed on true
""")

_TAKE_IN: Final = Statement("""
    with talk as (
        update conversations set state = 'engaged', active_at = :now, warned_at = null,
            deadline_at = :deadline
        where id = :conversation and state = :was
        returning id
    ), said as (
        insert into messages (id, conversation_id, project_id, carrier_id, carrier_message_id,
            agent_number, user_number, direction, state, kind, text, media, note, created_at,
            traceparent)
        select :id, talk.id, :project, :carrier, :sid,
            :agent, :user, 'inbound', 'received', 'text', :text, cast(:media as jsonb), :note,
            cast(:at as timestamptz), :traceparent
        from talk
        returning seq
    ), turn as (
        insert into turns (id, conversation_id, state, first_text_at, due_at)
        select cast(:turn as text), talk.id, 'waiting', cast(:now as timestamptz),
            cast(:turn_due_at as timestamptz)
        from talk
        where cast(:turn as text) is not null
        returning id
    )
    select said.seq, (select pg_notify(:channel, 'turns') from turn) from said
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What the pair's lock guards."""

    is_known: bool
    """The text is stored already, or on record, or was erased."""
    opted_out: bool
    is_live: bool
    """There is a live conversation; it may end before it is locked."""
    knows: bool
    """There was more between the two than texts of the user's that were ignored."""
    stays_over: bool
    """Their latest came to its own end, and its caller wants no other one after it."""
    earlier: Sequence[Heard]
    """What the user texted lately, the oldest first: for the sender's limits."""
    answered: int
    """Texts of all its users that the project answered lately, at most as many as its limit."""


async def meet(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    *,
    account_id: AccountId,
    project_id: ProjectId,
    carrier_id: CarrierId,
    carrier_message_id: str,
    limits: InboundLimits,
    at: datetime,
) -> Met:
    """Call with the pair locked. `at`: when the text was said."""
    window = timedelta(seconds=limits.per_project.seconds)
    given = {
        "carrier": carrier_id,
        "named": [carrier_message_id, on_record(carrier_message_id)],
        "agent": agent,
        "user": user,
        "agents": [agent, every_number_of(project_id)],
        "account": account_id,
        "project": project_id,
        "window": at - window,
        "most": int(limits.per_project.amount),
        "since": at - look_back(limits),
        "at": at,
        "rows": inbound.latest(2 * int(limits.per_sender.amount)),
    }
    [row] = await _MET.rows(c, **given)
    earlier = zip(row["at"] or (), row["texts"] or (), row["were_answered"] or (), strict=True)
    return Met(
        is_known=row["is_known"],
        opted_out=row["opted_out"],
        is_live=row["is_live"],
        knows=row["knows"],
        stays_over=bool(row["stays_over"]),
        earlier=[Heard(when, words, answered=answered) for when, words, answered in earlier],
        answered=row["answered"],
    )


async def owed(
    c: AsyncConnection,
    agent: Phone,
    user: Phone,
    conversation_id: ConversationId,
    *,
    since: datetime,
    at_most: int,
) -> tuple[list[datetime], Standing]:
    """When the latest replies were written, as `inbound.replies`, and the turns, locked.

    Call with the conversation locked.
    """
    given = {
        "conversation": conversation_id,
        "agent": agent,
        "user": user,
        "since": since,
        "rows": inbound.latest(4 * at_most),
    }
    rows = await _OWED.rows(c, **given)
    written: list[datetime] = rows[0]["at"] or []
    waiting, busy = None, None
    for row in rows:
        if row["state"] == "waiting":
            waiting = Waiting(row["id"], row["first_text_at"])
        elif row["state"] is not None:
            busy = under_way.held_of(row)
    return written[-at_most:], Standing(waiting=waiting, under_way=busy)


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
    turn_due_at: datetime | None,
    now: datetime,
) -> int:
    """Store it without events, engage its conversation, and let a new turn wait if one is to.

    Gives its place in the order of texts. Raises StaleError.
    """
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
        "at": said.at,
        "traceparent": tracing.current(),
        "turn": None if turn_due_at is None else new_turn_id(now),
        "turn_due_at": turn_due_at,
        "channel": events.CHANNEL,
        "now": now,
    }
    rows = await _TAKE_IN.rows(c, **given)
    if not rows:
        raise StaleError(before.id)
    return int(rows[0]["seq"])
