"""Conversations: row <-> state, and the queries that flows lock them with."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    case,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import events as facts
from textback.core.conversation import (
    NAMES,
    Closed,
    Conversation,
    Engaged,
    HandedOff,
    Live,
    Opened,
    Paused,
)
from textback.core.errors import StaleError
from textback.core.ids import AccountId, ConversationId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.db import briefs, events
from textback.db.conversation_rows import LOCK_LIVE, Brief, columns_of, row_of, state_of
from textback.db.driver import Statement
from textback.db.metadata import WHEN
from textback.db.tables import agent_versions
from textback.db.tables import conversations as t
from textback.db.tables import events as event_table

_LIVE: Final = Statement(LOCK_LIVE)


async def add(
    c: AsyncConnection,
    new: Conversation,
    *,
    policy: IdlePolicy,
    now: datetime,
    brief: Brief | None = None,
) -> None:
    """Insert, with its events. A conversation that is over from the start says so twice."""
    told = brief or Brief()
    await c.execute(insert(t).values(**row_of(new, policy), **columns_of(told)))
    if told.notify is not None:
        await briefs.notify(c, new, told.notify, now=now)
    opened = facts.Event(kind="conversation.opened", conversation_id=new.id)
    now_it_is = facts.of_conversation(new)
    await events.append(c, [opened] if now_it_is == opened else [opened, now_it_is], now=now)


async def lock_all(c: AsyncConnection, ids: Sequence[ConversationId]) -> dict[ConversationId, Live]:
    """Of those that are live, what nobody else has. Never waits."""
    locked = select(t).where(t.c.id.in_(ids)).with_for_update(key_share=True, skip_locked=True)
    states = [state_of(row) for row in (await c.execute(locked)).mappings()]
    return {each.id: each for each in states if not isinstance(each, Closed)}


async def supersede(c: AsyncConnection, ids: Sequence[ConversationId], *, now: datetime) -> None:
    """Close them, without events. Call with them locked."""
    is_analysed = case((t.c.state != "opened", _analysed_from(now)))
    closed = {"state": "closed", "reason": "superseded", "closed_at": now}
    no_more = ("warned_at", "paused_until", "handed_off_at", "why_handed_off", "deadline_at")
    await c.execute(
        update(t)
        .where(t.c.id.in_(ids))
        .values(**closed, **dict.fromkeys(no_more), analysis_due_at=is_analysed)
    )


async def save(
    c: AsyncConnection,
    before: Live,
    after: Conversation,
    *,
    policy: IdlePolicy,
    now: datetime,
    by: facts.By | None = None,
    more: Mapping[str, object] | None = None,
) -> None:
    """Compare and set. Raises StaleError when the row is no longer in `before`'s state.

    `by` and `more` are for the event: who did it, if it was not time alone, and what they said.
    """
    row = row_of(after, policy)
    if isinstance(after, Closed) and not isinstance(before, Opened):
        row["analysis_due_at"] = _analysed_from(now)
    result = await c.execute(
        update(t).where(t.c.id == before.id, t.c.state == NAMES[type(before)]).values(row)
    )
    if result.rowcount != 1:
        raise StaleError(before.id)
    if type(after) is type(before):
        return
    event = facts.of_conversation(after)
    if isinstance(before, Paused | HandedOff) and isinstance(after, Engaged):
        event = facts.resumed(after)
    await events.append(c, [facts.caused(event, by=by, more=more or {})], now=now)


def _analysed_from(now: datetime) -> ColumnElement[datetime | None]:
    """When it is to be analysed: now, if its version of the agent wants that."""
    wants = (
        select(agent_versions.c.number)
        .where(
            agent_versions.c.agent_id == t.c.agent_id,
            agent_versions.c.number == t.c.agent_version,
            agent_versions.c.analysis.is_not(None),
        )
        .exists()
    )
    return case((wants, literal(now, WHEN)))


async def lock(c: AsyncConnection, conversation_id: ConversationId) -> Conversation | None:
    return await _one(c, t.c.id == conversation_id)


async def lock_live(c: AsyncConnection, agent: Phone, user: Phone) -> Live | None:
    """The pair's live conversation, if it has one. Call with the pair locked."""
    rows = await _LIVE.rows(c, agent=agent, user=user)
    found = state_of(rows[0]) if rows else None
    return None if isinstance(found, Closed) else found


async def latest_of_pair(
    c: AsyncConnection, account: AccountId, agent: Phone, user: Phone
) -> ConversationId | None:
    found = await c.scalar(
        select(t.c.id)
        # Found by the pair alone: an account has any number of conversations.
        .where(t.c.account_id + "" == account, t.c.agent_number == agent, t.c.user_number == user)
        .order_by(t.c.opened_at.desc())
        .limit(1)
    )
    return None if found is None else ConversationId(found)


async def last_number_used(
    c: AsyncConnection, project_id: ProjectId, user: Phone, among: Sequence[Phone]
) -> Phone | None:
    found = await c.scalar(
        select(t.c.agent_number)
        .where(t.c.project_id == project_id, t.c.user_number == user, t.c.agent_number.in_(among))
        .order_by(t.c.opened_at.desc())
        .limit(1)
    )
    return None if found is None else Phone(found)


async def resumed_since(
    c: AsyncConnection, conversation_id: ConversationId, *, since: datetime
) -> datetime | None:
    """When it was last resumed, if that was after `since` and not long ago in events."""
    e = event_table
    latest = (
        select(e.c.kind, e.c.at)
        .where(e.c.conversation_id == conversation_id)
        .order_by(e.c.id.desc())
        .limit(1000)
        .subquery()
    )
    return await c.scalar(
        select(func.max(latest.c.at)).where(
            latest.c.kind == "conversation.resumed", latest.c.at > since
        )
    )


async def heard(c: AsyncConnection, conversation_id: ConversationId, upto_seq: int) -> None:
    """A turn has covered the user's texts up to here."""
    await c.execute(update(t).where(t.c.id == conversation_id).values(heard_seq=upto_seq))


async def keep_state(
    c: AsyncConnection, conversation_id: ConversationId, state: Mapping[str, object]
) -> None:
    """What its engine wants to be told with the next turn."""
    which = t.c.id == conversation_id
    await c.execute(update(t).where(which).values(engine_state=dict(state)))


async def _one(c: AsyncConnection, which: ColumnElement[bool]) -> Conversation | None:
    locked = select(t).where(which).with_for_update(key_share=True)
    row = (await c.execute(locked)).mappings().one_or_none()
    return None if row is None else state_of(row)
