"""Which waiting deliveries a worker takes next: three questions in SQL.

Endpoints take turns, and of each what is at its front is looked at; nothing that waits is walked
through, so that a claim costs the same however much does (ADR 23). Each question names an order
that one index has and no other, and sorts are switched off for it: so its plan is the same whatever
the table held when it was made.
"""

from typing import Final

from sqlalchemy import ARRAY, TEXT, text

FEW: Final = 250
"""Deliveries: of those that were due first the endpoints are looked at, and if fewer are due, no
others are."""
ENDPOINTS: Final = 250
"""That are looked at at once, if more is due; what is behind them comes after that."""
WINDOW: Final = 200
"""Deliveries at the front of an endpoint that are looked at one by one. If all are kept waiting by
others of their conversations, what is behind them is found conversation by conversation."""
PAIRS: Final = 1000
"""Of endpoint and conversation, that are looked at so in one claim."""

# However many wait, few are under way. By the one index that is in the order of leases.
_UNDER_WAY: Final = """
    under_way as materialized (
        select endpoint_id, count(*) as n,
            array_agg(conversation_id) filter (where conversation_id is not null) as conversations
        from (
            select endpoint_id, conversation_id from webhook_deliveries
            where state = 'delivering' and not pulled order by lease_until
        ) d
        group by endpoint_id
    )"""

_TARGET: Final = "w.account_id || ' ' || split_part(w.url, '/', 3)"
# One that a newer `send` replaced still gets what happened before.
_IS_OPEN: Final = f"""
    w.url is not null and (w.state = 'active' or (w.state = 'removed' and w.source = 'send'))
        and (w.hold_until is null or w.hold_until <= cast(:now as timestamptz))
        and {_TARGET} <> all(cast(:full as text[]))
        and coalesce((select n from under_way where endpoint_id = w.id), 0)
            < case when w.failures >= cast(:down as int) then 1 else cast(:share as int) end
"""  # noqa: S608 - our own words
# Only the oldest of a conversation: the first from it on in the index of what is not done. By
# value, not as `exists`: that may become a join, which is quadratic in what waits.
_IS_OLDEST: Final = """
    {d}.id = (select o.id from webhook_deliveries o
        where (o.endpoint_id, o.conversation_id) >= ({endpoint}, {d}.conversation_id)
            and o.state in ('waiting', 'delivering')
        order by o.endpoint_id, o.conversation_id, o.id limit 1)
"""

FRONTS: Final = text(f"""
    with recursive {_UNDER_WAY},
    due as materialized (
        select endpoint_id from webhook_deliveries
        where state = 'waiting' and due_at <= cast(:now as timestamptz)
        order by due_at limit {FEW}
    ),
    busy (id, place) as (
        (select endpoint_id, 1 from webhook_deliveries
            where state in ('waiting', 'delivering') and endpoint_id > cast(:after as text)
                and (select count(*) from due) = {FEW}
            order by endpoint_id, conversation_id, id limit 1)
        union all
        select next.endpoint_id, b.place + 1
        from busy b cross join lateral (
            select d.endpoint_id from webhook_deliveries d
            where d.state in ('waiting', 'delivering') and d.endpoint_id > b.id
            order by d.endpoint_id, d.conversation_id, d.id limit 1
        ) next
        where b.place < {ENDPOINTS}
    ),
    open as materialized (
        select w.id, b.in_turn, {_TARGET} as target, coalesce(
            (select conversations from under_way where endpoint_id = w.id), '{{}}') as talking
        from (
            select id, bool_or(in_turn) as in_turn from (
                select id, true from busy
                union all select endpoint_id, (select count(*) from due) < {FEW} from due
            ) b (id, in_turn) group by id
        ) b cross join lateral (
            select * from webhook_endpoints where id = b.id order by id limit 1
        ) w
        where {_IS_OPEN}
    ),
    most as materialized (
        select least(cast(:share as bigint),
            greatest(1, 2 * cast(:limit as bigint) / greatest(count(*), 1))) as n
        from open
    ),
    fronts as materialized (
        select open.id as endpoint_id, open.in_turn, open.target, front.*
        from open cross join lateral (
            (select d.id, d.due_at, d.conversation_id from (
                    select id, conversation_id, due_at from webhook_deliveries
                    where endpoint_id = open.id and state = 'waiting'
                    order by id, due_at limit {WINDOW}
                ) d
                where d.conversation_id is not null and d.due_at <= cast(:now as timestamptz)
                    and d.conversation_id <> all(open.talking)
                    and {_IS_OLDEST.format(d="d", endpoint="open.id")}
                order by d.id limit (select n from most))
            union all
            (select id, due_at, conversation_id from webhook_deliveries
                where (endpoint_id, due_at) >= (open.id, timestamptz '-infinity')
                    and (endpoint_id, due_at) <= (open.id, cast(:now as timestamptz))
                    and state = 'waiting' and conversation_id is null
                order by endpoint_id, due_at limit (select n from most))
        ) front
    ),
    told as (
        select (select id from busy where place = {ENDPOINTS}) as last, exists (
            select from open
            where open.id not in (
                    select endpoint_id from fronts where conversation_id is not null)
                and (select 1 from webhook_deliveries
                    where endpoint_id = open.id and state = 'waiting'
                    order by id, due_at offset {WINDOW} limit 1) is not null
        ) as crowded
    )
    select told.*, fronts.* from told left join fronts on true
""")  # noqa: S608 - our own words

BEHIND: Final = text(f"""
    with recursive {_UNDER_WAY},
    pairs (endpoint_id, conversation_id, id, state, due_at, is_open, place) as (
        select cast(:endpoint as text), cast(:conversation as text), cast(null as bigint),
            cast(null as text), cast(null as timestamptz), true, 0
        union all
        select next.*, case when p.place > 0 and next.endpoint_id = p.endpoint_id then true
                else (select {_IS_OPEN} from webhook_endpoints w where w.id = next.endpoint_id)
            end, p.place + 1
        from pairs p cross join lateral (
            (select d.endpoint_id, d.conversation_id, d.id, d.state, d.due_at
                from webhook_deliveries d
                where p.is_open and p.conversation_id is not null
                    and (d.endpoint_id, d.conversation_id) > (p.endpoint_id, p.conversation_id)
                    and d.endpoint_id <= p.endpoint_id and d.state in ('waiting', 'delivering')
                order by d.endpoint_id, d.conversation_id, d.id limit 1)
            union all
            (select d.endpoint_id, d.conversation_id, d.id, d.state, d.due_at
                from webhook_deliveries d
                where d.endpoint_id > p.endpoint_id and d.state in ('waiting', 'delivering')
                order by d.endpoint_id, d.conversation_id, d.id limit 1)
            limit 1
        ) next
        where p.place < {PAIRS}
    ),
    fronts as materialized (
        select p.*, row_number() over (partition by p.endpoint_id order by p.place) as in_endpoint
        from pairs p left join under_way u on u.endpoint_id = p.endpoint_id
        where p.place > 0 and p.is_open and p.state = 'waiting' and p.conversation_id is not null
            and p.due_at <= cast(:now as timestamptz)
            and p.conversation_id <> all(coalesce(u.conversations, '{{}}'))
    )
    select told.last, f.*
    from (
        select (select array[endpoint_id, coalesce(conversation_id, '')]
            from pairs where place = {PAIRS}) as last
    ) told left join (
        select f.endpoint_id, true as in_turn, {_TARGET} as target, f.id, f.due_at
        from fronts f cross join lateral (
            select * from webhook_endpoints where id = f.endpoint_id order by id limit 1
        ) w
        where f.in_endpoint <= cast(:share as int)
    ) f on true
""").columns(last=ARRAY(TEXT))  # noqa: S608 - our own words

# The state is no parameter: its index is of those that wait, and the plan is for any parameter.
NEXT_DUE: Final = text("""
    select min(due_at) from webhook_deliveries
    where state = 'waiting' and due_at > cast(:now as timestamptz)
""")

LOCK: Final = text("""
    select w.id, w.url, w.format, w.secrets, w.failures,
        a.webhook_secret, a.previous_webhook_secrets
    from webhook_endpoints w join accounts a on a.id = w.account_id
    where w.id = any(cast(:ids as text[]))
        and (w.hold_until is null or w.hold_until <= cast(:now as timestamptz))
        and (w.state = 'active' or (w.state = 'removed' and w.source = 'send'))
    for no key update of w skip locked
""")

STILL: Final = text(f"""
    with {_UNDER_WAY}
    select d.id, d.endpoint_id, d.event_id, d.conversation_id, d.body, d.tries,
        (select e.message_id from events e where e.id = d.event_id) as message_id,
        coalesce(u.n, 0) as under_way
    from unnest(cast(:ids as bigint[])) as found (id)
    cross join lateral (
        select * from webhook_deliveries where id >= found.id order by id limit 1
    ) d
    left join under_way u on u.endpoint_id = d.endpoint_id
    where d.id = found.id and d.state = 'waiting' and d.due_at <= cast(:now as timestamptz)
        and (d.conversation_id is null or (
            d.conversation_id <> all(coalesce(u.conversations, '{{}}'))
            and {_IS_OLDEST.format(d="d", endpoint="d.endpoint_id")}))
    order by d.id
""")  # noqa: S608 - our own words
"""Of those that were found, those that can still be taken, now that their endpoints are locked.
Also an older one may wait by now that was done when they were found: it was asked for again."""

TAKE: Final = text("""
    update webhook_deliveries set state = 'delivering', due_at = null, tries = tries + 1,
        lease_until = cast(:lease_until as timestamptz)
    where id = any(cast(:ids as bigint[]))
""")
