"""What is past its project's retention: found by indexes of its own, removed a piece at a time.

It waits for nobody: what somebody holds is passed over, and comes the next time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Table, delete, func, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import ConversationId, ProjectId
from textback.core.phone import Phone
from textback.db import erasing, locks, past_usage, webhook_tidy
from textback.db.tables import (
    batches,
    conversations,
    events,
    messages,
    planned_sends,
    projects,
    tool_calls,
    turns,
    webhook_deliveries,
    webhook_endpoints,
)
from textback.db.tenants import POLICY


@frozen
class Past:
    """What a project does not keep any longer: all that ended before then."""

    project_id: ProjectId
    before: datetime


# By value, and in the order of an index: `exists` may read a whole table until it finds one.
_ANY: Final = text("""
    select p.id from unnest(cast(:projects as text[]), cast(:moments as timestamptz[]))
        with ordinality as p (id, before, place)
    where (select 1 from conversations c
            where c.project_id = p.id and c.closed_at < p.before
            order by c.closed_at limit 1) is not null
        or (select 1 from batches b where b.project_id = p.id and b.ended_at < p.before
            order by b.ended_at limit 1) is not null
        or (select 1 from planned_sends s
            where s.project_id = p.id and s.ended_at < p.before and s.batch_id is null
            order by s.ended_at limit 1) is not null
        or (select 1 from events e where e.project_id = p.id and e.at < p.before
            order by e.at limit 1) is not null
    order by p.place
""")

# Not while something of it may still happen, or is still being told to somebody who listens. What
# waits for an endpoint that is paused, or that nobody fetches, is not waited for. By value, not as
# `exists`, which may become a join over all that is under way; and of a few at a time, because the
# planner thinks that nearly none of them can go, and would sort them all.
_TOLD: Final = """
    (select 1 from webhook_deliveries d join webhook_endpoints w on w.id = d.endpoint_id
        where {which} and d.state in ('waiting', 'delivering') and w.url is not null
            and (w.state = 'active' or (w.state = 'removed' and w.source = 'send')) limit 1)
"""
_OVER: Final = text(f"""
    select c.id, c.agent_number, c.user_number,
        c.analysis_due_at is null
        and (select 1 from messages m where m.conversation_id = c.id
            and m.state in ('queued', 'sending', 'uncertain') limit 1) is null
        and (select 1 from turns t
            where t.conversation_id = c.id and t.state <> 'ended' limit 1) is null
        and {_TOLD.format(which="d.conversation_id = c.id")} is null as is_settled
    from (select id, agent_number, user_number, analysis_due_at from conversations
        where project_id = :project and closed_at < :before
        order by closed_at limit :limit) c
""")  # noqa: S608 - ours
_FURTHER: Final = 4
_FARTHEST: Final = 50_000
"""Conversations that may stand in the way of those that ended after them."""

_EVENTS: Final = text(f"""
    select e.id from events e
    where e.project_id = :project and e.at < :before
        and {_TOLD.format(which="d.event_id = e.id")} is null
    order by e.at
    limit :limit
    for update of e skip locked
""")  # noqa: S608 - ours


async def patience(c: AsyncConnection) -> None:
    """In this transaction no lock is waited for any longer than a moment."""
    await c.execute(text("set local lock_timeout = '200ms'"))


async def overdue(c: AsyncConnection, *, now: datetime) -> list[Past]:
    """Of the projects that do not keep for ever, those with something past its time."""
    rows = await c.execute(
        select(projects.c.id, projects.c.policy)
        .where(projects.c.policy["retention"].astext.is_not(None))
        .order_by(projects.c.id)
    )
    kept = {row.id: POLICY.validate_python(row.policy).retention for row in rows}
    past = {each: now - span for each, span in kept.items() if span is not None}
    given = {"projects": list(past), "moments": list(past.values())}
    found = await c.scalars(_ANY, given)
    return [Past(project_id=ProjectId(each), before=past[each]) for each in found]


async def over(c: AsyncConnection, past: Past, *, limit: int) -> tuple[list[ConversationId], bool]:
    """Up to `limit` conversations that can go, locked, of the longest over; whether as many can.

    Their pairs are locked too, so that nobody hears, accepts or goes on there meanwhile.
    """
    look, settled, is_all = 0, list[Row[Any]](), False
    while len(settled) < limit and not is_all and look < _FARTHEST:
        look = min(look * _FURTHER or limit, _FARTHEST)
        asked = {"project": past.project_id, "before": past.before, "limit": look}
        rows = (await c.execute(_OVER, asked)).all()
        settled, is_all = [row for row in rows if row.is_settled][:limit], len(rows) < look
    named = {
        row.id: locks.name_of_pair(Phone(row.agent_number), Phone(row.user_number))
        for row in settled
    }
    ours = await locks.try_all(c, sorted(set(named.values())))
    t = conversations.c
    mine = (
        select(t.id)
        .where(t.id.in_([each for each, name in named.items() if name in ours]))
        .where(t.closed_at < past.before)
        .order_by(t.id)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return [ConversationId(each) for each in await c.scalars(mine)], len(settled) >= limit


async def remove(
    c: AsyncConnection, ids: Sequence[ConversationId], *, limit: int, now: datetime
) -> tuple[bool, int]:
    """Of locked ones, up to `limit` rows of each table: whether that was all, and how many texts.

    The conversations themselves go last: until then the rest of them is found again.
    """
    if not ids:
        return True, 0
    d, w = webhook_deliveries.c, webhook_endpoints.c
    own = list(
        await c.scalars(
            select(w.id).where(w.conversation_id.in_(ids)).order_by(w.id).with_for_update()
        )
    )
    for which in (d.conversation_id.in_(ids), d.endpoint_id.in_(own)):
        if await _deliveries(c, which, limit) >= limit:
            return False, 0
    for table in (events, tool_calls, turns):
        if await _some(c, table, table.c.conversation_id.in_(ids), limit) >= limit:
            return False, 0
    mine = select(messages.c.id).where(messages.c.conversation_id.in_(ids)).limit(limit)
    texts = list(await c.scalars(mine.with_for_update()))
    is_all = len(texts) < limit
    if is_all:
        # Who told of a text, a call or a turn meanwhile held it, and is done: nobody else can.
        if await _deliveries(c, d.conversation_id.in_(ids), limit) >= limit:
            return False, 0
        if await _some(c, events, events.c.conversation_id.in_(ids), limit) >= limit:
            return False, 0
        await c.execute(delete(webhook_endpoints).where(w.id.in_(own)))
        p = planned_sends.c
        theirs, is_single = p.conversation_id.in_(ids), p.batch_id.is_(None)
        await c.execute(delete(planned_sends).where(theirs, p.state != "planned", is_single))
        await erasing.blank_plans(c, theirs)
    # Lock order: the day's rows of what was used come after everything else.
    await past_usage.remove_texts(c, texts, now=now)
    if is_all:
        await past_usage.remove_conversations(c, ids)
    return is_all, len(texts)


async def remove_events(c: AsyncConnection, past: Past, *, limit: int) -> int:
    """Of the project as a whole, such as what was said of its batches; gives how many."""
    asked = {"project": past.project_id, "before": past.before, "limit": limit}
    ids = list(await c.scalars(_EVENTS, asked))
    if await _deliveries(c, webhook_deliveries.c.event_id.in_(ids), limit) >= limit:
        return limit
    await c.execute(delete(events).where(events.c.id.in_(ids)))
    return len(ids)


async def remove_sends(c: AsyncConnection, past: Past, *, limit: int) -> int:
    """Single ones that were planned; gives how many."""
    p = planned_sends.c
    which = (p.project_id == past.project_id, p.ended_at < past.before, p.batch_id.is_(None))
    some = select(p.id).where(*which).order_by(p.ended_at).limit(limit)
    ids = list(await c.scalars(some.with_for_update(skip_locked=True)))
    await c.execute(delete(planned_sends).where(p.id.in_(ids)))
    return len(ids)


async def remove_batch_rows(c: AsyncConnection, past: Past, *, limit: int) -> tuple[int, int]:
    """Of the batch that has been over the longest; itself with the last ones. Batches, rows."""
    b, p = batches.c, planned_sends.c
    oldest = (
        select(b.id)
        .where(b.project_id == past.project_id, b.ended_at < past.before)
        .order_by(b.ended_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    batch_id = await c.scalar(oldest)
    if batch_id is None:
        return 0, 0
    some = select(p.batch_id, p.row).where(p.batch_id == batch_id).limit(limit)
    gone = delete(planned_sends).where(tuple_(p.batch_id, p.row).in_(some))
    rows = (await c.execute(gone)).rowcount
    if rows >= limit:
        return 0, rows
    await c.execute(delete(batches).where(b.id == batch_id))
    return 1, rows


async def _deliveries(c: AsyncConnection, which: ColumnElement[bool], limit: int) -> int:
    d = webhook_deliveries.c
    ids = list(await c.scalars(select(d.id).where(which).limit(limit)))
    await webhook_tidy.forget_these(c, ids)
    return len(ids)


async def _some(c: AsyncConnection, table: Table, which: ColumnElement[bool], limit: int) -> int:
    some = select(table.c.id).where(which).limit(limit)
    counted = delete(table).where(table.c.id.in_(some)).returning(table.c.id).cte("gone")
    return await c.scalar(select(func.count()).select_from(counted)) or 0
