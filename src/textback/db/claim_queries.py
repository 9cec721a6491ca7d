"""Which of the queued texts a worker takes next: two questions in SQL, asked for every few texts.

Accounts and numbers take turns. Of each line (a carrier's account and one of its numbers) what is
at its front is looked at, and no line is walked through, so that a claim costs the same however
much waits (ADR 33).
"""

from typing import Final

from textback.db.driver import Statement
from textback.db.events import DELIVERED, TOLD, WAKES

LINES: Final = 250
"""Of each priority, that are looked at at once; what is behind them comes after that."""
WINDOW: Final = 200
"""Texts at the front of a line that are looked at one by one. If they are all kept waiting by
others of their pairs, the long way round finds what is behind them."""
PAIRS: Final = 1000
"""That the long way round looks at in one claim."""

# Which lines there are: from one to the next by the index, whatever stands in them.
_LINES: Final = """
    lines_{p} (priority, carrier_id, agent_number, place) as (
        (select {p}, carrier_id, agent_number, 1 from messages
            where state = 'queued' and priority = {p}
                and (carrier_id, agent_number)
                    > (cast(:carrier_{p} as text), cast(:number_{p} as text))
            order by carrier_id, agent_number limit 1)
        union all
        select {p}, next.carrier_id, next.agent_number, l.place + 1
        from lines_{p} l cross join lateral (
            select m.carrier_id, m.agent_number from messages m
            where m.state = 'queued' and m.priority = {p}
                and (m.carrier_id, m.agent_number) > (l.carrier_id, l.agent_number)
            order by m.carrier_id, m.agent_number limit 1
        ) next
        where l.place < {lines}
    )"""

# Only the oldest of a pair of numbers, and only while none of the pair is under way or in doubt. By
# value, not as `exists`: that may become a join, which is quadratic in what one pair queues. And in
# words that only the index of pairs fits: another one, empty when it is planned, seems as cheap.
_MAY_GO: Final = """
    {m}.seq = (select o.seq from messages o
            where o.agent_number = {m}.agent_number and o.user_number = {m}.user_number
                and o.state = 'queued'
            order by o.seq limit 1)
        and (select o.seq from messages o
            where o.agent_number = {m}.agent_number and o.user_number = {m}.user_number
                and o.state = 'sending'
            limit 1) is null
        and (select o.seq from messages o
            where o.agent_number = {m}.agent_number and o.user_number = {m}.user_number
                and o.state = 'uncertain' and o.look_up_at is not null
            limit 1) is null
"""
# A new one is due at once, even if the clock that wrote it is ahead.
_IS_DUE: Final = "({m}.due_at <= cast(:at as timestamptz) or {m}.due_at = {m}.created_at)"

_BY_LINES: Final = f"""
    with recursive {_LINES.format(p=0, lines=LINES)}, {_LINES.format(p=1, lines=LINES)},
    lines as materialized (
        select * from lines_0 union all select * from lines_1
    ),
    open as materialized (
        select l.priority, l.carrier_id, l.agent_number from lines l
        where l.carrier_id <> all(cast(:except_carriers as text[]))
            and l.agent_number <> all(cast(:except_numbers as text[]))
    ),
    share as materialized (
        select least(wanted, greatest(1, 2 * wanted / greatest(lines, 1))) as most
        from (select cast(:limit as bigint) as wanted, count(*) as lines from open) o
    ),
    heads as materialized (
        select h.id, h.seq, h.segments, l.priority, l.carrier_id, l.agent_number
        from open l cross join lateral (
            select w.id, w.seq, w.segments from (
                select m.id, m.seq, m.segments, m.agent_number, m.user_number from messages m
                where m.state = 'queued' and m.priority = l.priority
                    and m.carrier_id = l.carrier_id and m.agent_number = l.agent_number
                    and {_IS_DUE.format(m="m")}
                order by m.seq limit {WINDOW}
            ) w
            where {_MAY_GO.format(m="w")}
            order by w.seq limit (select most from share)
        ) h
    ),
    looked as (
        select l.priority, l.carrier_id, l.agent_number, count(h.id) as found
        from open l left join heads h using (priority, carrier_id, agent_number)
        group by 1, 2, 3
    ),
    seen as (
        select exists (select from looked where found >= (select most from share)) as more,
            exists (
                select from looked l where found < (select most from share) and exists (
                    select from messages m
                    where m.state = 'queued' and m.priority = l.priority
                        and m.carrier_id = l.carrier_id and m.agent_number = l.agent_number
                        and {_IS_DUE.format(m="m")}
                    order by m.seq offset {WINDOW} limit 1)
            ) as crowded,
            (select array[carrier_id, agent_number] from lines_0 where place = {LINES}) as last_0,
            (select array[carrier_id, agent_number] from lines_1 where place = {LINES}) as last_1
    )
"""  # noqa: S608 - our own words

_BY_PAIRS: Final = f"""
    with recursive pairs (agent_number, user_number, place) as (
        (select agent_number, user_number, 1 from messages
            where state in ('queued', 'sending', 'uncertain') and (agent_number, user_number)
                > (cast(:pair_agent as text), cast(:pair_user as text))
            order by agent_number, user_number limit 1)
        union all
        select next.agent_number, next.user_number, p.place + 1
        from pairs p cross join lateral (
            select m.agent_number, m.user_number from messages m
            where m.state in ('queued', 'sending', 'uncertain')
                and (m.agent_number, m.user_number) > (p.agent_number, p.user_number)
            order by m.agent_number, m.user_number limit 1
        ) next
        where p.place < {PAIRS}
    ),
    heads as materialized (
        select h.id, h.seq, h.segments, h.priority, h.carrier_id, h.agent_number
        from pairs p cross join lateral (
            select m.* from messages m
            where m.agent_number = p.agent_number and m.user_number = p.user_number
                and m.state = 'queued'
            order by m.seq limit 1
        ) h
        where {_IS_DUE.format(m="h")} and {_MAY_GO.format(m="h")}
            and h.carrier_id <> all(cast(:except_carriers as text[]))
            and h.agent_number <> all(cast(:except_numbers as text[]))
    ),
    seen as (
        select (select array[agent_number, user_number] from pairs where place = {PAIRS}) as last
    )
"""  # noqa: S608 - our own words

# In an order that one index has: else Postgres may walk another one of queued texts, in which those
# that are queued no more still stand.
_NEXT_DUE: Final = """
    select due_at from messages where state = 'queued' and due_at > cast(:at as timestamptz)
    order by due_at limit 1
"""

# What a worker has under way of an account counts as its turn: who has less is next. The chosen are
# locked one by one, and by a state that no partial index of queued texts is seen to fit: else a
# plan that was made while nothing was queued walks through all that is.
_TAKE: Final = f"""
    , paces as materialized (
        select h.agent_number, coalesce(k.units, greatest(1, ceil((
            select segments_per_second from numbers where number = h.agent_number)))) as units
        from (select distinct agent_number from heads) h
        left join unnest(cast(:numbers as text[]), cast(:units as int[])) as k (number, units)
            on k.number = h.agent_number
    ),
    ranked as (
        select h.*, row_number() over (
            partition by h.carrier_id order by h.priority, h.in_number, h.seq) as in_carrier
        from (
            select heads.*, row_number() over (
                partition by priority, carrier_id, agent_number order by seq) as in_number,
                sum(greatest(1, segments)) over (
                    partition by agent_number order by priority, seq) - greatest(1, segments)
                    as before_it
            from heads
        ) h join paces using (agent_number)
        where h.before_it < paces.units
    ),
    chosen as materialized (
        select r.id, r.seq, r.priority, r.in_carrier + coalesce(a.held, 0) as place
        from ranked r left join unnest(
            cast(:carriers as text[]), cast(:held as int[]), cast(:room as int[])
        ) as a (id, held, room) on a.id = r.carrier_id
        where r.in_carrier <= coalesce(a.room, cast(:limit as bigint))
        order by r.priority, place, r.seq limit cast(:limit as bigint)
    ),
    due as materialized (
        select m.*, m.kind <> 'notice' and exists (
                select from opt_outs o
                where o.agent_number in (
                        m.agent_number, cast(:every_number as text) || m.project_id)
                    and o.user_number = m.user_number and o.opted_in_at is null
            ) as opted_out
        from chosen cross join lateral (
            select * from messages where id = chosen.id and state || '' = 'queued'
            for update skip locked
        ) m
    ),
    taken as (
        update messages set state = 'sending', due_at = null, part_wait = null,
            claimed_at = cast(:at as timestamptz),
            lease_until = cast(:lease_until as timestamptz)
        from due
        where messages.id = due.id and not due.opted_out
            and due.expires_at > cast(:at as timestamptz)
        returning messages.id, messages.conversation_id
    ),
    told as (
        insert into events (at, conversation_id, message_id, kind, data)
        select cast(:at as timestamptz), taken.conversation_id, taken.id, 'message.sending',
            cast('{{}}' as jsonb)
        from taken join chosen on chosen.id = taken.id
        order by chosen.priority, chosen.place, chosen.seq
        returning {TOLD}
    ),
    {DELIVERED}
    select seen.*, due.*, n.number, n.segments_per_second,
        coalesce(n.config->'defaults'->>'messaging_service_sid', n.messaging_service_sid)
            as service,
        case when not exists (select from due) then ({_NEXT_DUE}) end as next_due,
        (select {WAKES}) as woken
    from seen left join (
        due join chosen on chosen.id = due.id
        left join numbers n on n.number = due.agent_number
            and (n.removed_at is null or n.source = 'chat')
    ) on true
    order by chosen.priority, chosen.place, chosen.seq
"""  # noqa: S608 - our own words

LINE_BY_LINE: Final = Statement(_BY_LINES + _TAKE)
LONG_WAY: Final = Statement(_BY_PAIRS + _TAKE)
