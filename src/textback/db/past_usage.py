"""Texts and conversations go, and what they used stays: counted by day as they are removed."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Counted in the order of the key, so that two who count do not wait for each other in a circle.
_COUNTED = """
    group by 1, 2, 3, 4, 5, 6
    order by 1, 2, 3, 4, 5, 6
    on conflict (project_id, day, agent_number, kind, state, error_code) do update set
        times = past_usage.times + excluded.times,
        segments = past_usage.segments + excluded.segments,
        segments_saved = past_usage.segments_saved + excluded.segments_saved
"""

_INTO = """
    insert into past_usage (project_id, day, agent_number, kind, state, error_code, times,
        segments, segments_saved)
"""

# Of the user's own it stays known that they were here, so that neither the carrier's list nor a
# webhook that comes again brings them back.
_TEXTS = text(f"""
    with gone as (
        delete from messages where id = any(:ids)
        returning project_id, created_at, agent_number, direction, error_code, segments,
            segments_saved, carrier_id, carrier_message_id,
            case when state = 'queued' then 'suppressed' else state end as state
    ),
    remembered as (
        insert into erased_texts (carrier_id, carrier_message_id, erased_at)
        select carrier_id, carrier_message_id, :now from gone
        where direction = 'inbound' and carrier_message_id is not null
        on conflict do nothing
    )
    {_INTO}
    select g.project_id, timezone(coalesce(p.policy ->> 'timezone', 'UTC'), g.created_at)::date,
        g.agent_number, g.direction, g.state, coalesce(g.error_code, ''), count(*),
        coalesce(sum(g.segments) filter (where g.state <> 'suppressed'), 0),
        coalesce(sum(g.segments_saved) filter (where g.state <> 'suppressed'), 0)
    from gone g join projects p on p.id = g.project_id
    {_COUNTED}
""")  # noqa: S608 - ours

_CONVERSATIONS = text(f"""
    with gone as (
        delete from conversations where id = any(:ids)
        returning project_id, opened_at, agent_number, reason
    )
    {_INTO}
    select g.project_id, timezone(coalesce(p.policy ->> 'timezone', 'UTC'), g.opened_at)::date,
        g.agent_number, 'conversation', coalesce(g.reason, ''), '', count(*), 0, 0
    from gone g join projects p on p.id = g.project_id
    {_COUNTED}
""")  # noqa: S608 - ours


async def remove_texts(c: AsyncConnection, ids: Collection[str], *, now: datetime) -> None:
    """Locked, and settled but for what is queued, which counts as dropped."""
    if ids:
        await c.execute(_TEXTS, {"ids": list(ids), "now": now})


async def remove_conversations(c: AsyncConnection, ids: Collection[str]) -> None:
    """Locked and closed, of which nothing else is left."""
    if ids:
        await c.execute(_CONVERSATIONS, {"ids": list(ids)})
