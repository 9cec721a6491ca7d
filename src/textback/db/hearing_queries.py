"""The statements of `db/hearing.py`: three for each text of a user's, between begin and commit.

A statement costs this process more than what Postgres does for most of them (ADR 34), so few ask
for much. But each sees only what was committed before it began, whatever it waits for: what decides
is asked by one that begins when the locks are held that guard it.
"""

from typing import Final

from textback.db import events
from textback.db.conversation_rows import LOCK_LIVE
from textback.db.driver import Statement

# The pair comes first, and is locked whatever is found: nothing but a loop within a loop can do
# this join.
# What comes after it in the transaction is planned once: else Postgres plans it anew for each text,
# which on large tables costs about as much as to answer.
LOCK: Final = Statement(f"""
    with pair as materialized (
        select pg_advisory_xact_lock(cast(:pair as bigint))
    ), live as materialized ({LOCK_LIVE})
    select live.*, set_config('plan_cache_mode', 'force_generic_plan', true)
    from pair left join live on true
""")  # noqa: S608 - our own words

# Planned once for each connection, and often while its tables are small: so each is asked for one
# key at a time (of `any` key Postgres expects ten), without joins, and of conversations only by
# their pair.
MET: Final = Statement("""
    with owed as materialized (
        select id, run, state, conversation_id, opener_id, first_text_at, lease_until, upto_seq,
            attempts, restarts, again_at,
            upto_seq > (select heard_seq from conversations where id = :talk) as is_asked
        from turns
        where conversation_id = cast(:talk as text) and state <> 'ended'
        for update
    ), latest as materialized (
        select seq, direction, kind, state, created_at, text from messages
        where agent_number = :agent and user_number = :user
        order by seq desc limit :rows
    )
    select met.*, earlier.*, said.*, owed.*
    from (select
        exists (select from messages where carrier_id = :carrier and carrier_message_id = :sid)
        or exists (
            select from messages where carrier_id = :carrier and carrier_message_id = :on_record
        ) or exists (
            select from erased_texts where carrier_id = :carrier and carrier_message_id = :sid
        ) or exists (
            select from erased_texts where carrier_id = :carrier and carrier_message_id = :on_record
        ) as is_known,
        exists (
            select from opt_outs
            where user_number = :user and agent_number = :agent and opted_in_at is null
        ) or exists (
            select from opt_outs
            where user_number = :user and agent_number = :every_number and opted_in_at is null
        ) as opted_out,
        exists (
            select from conversations
            where agent_number = :agent and user_number = :user and state <> 'closed'
        ) as is_live,
        exists (
            select from conversations
            where agent_number = :agent and user_number = :user and account_id || '' = :account
                and reason is distinct from 'ignored'
        ) as knows,
        (
            select reason in ('idle', 'agent_ended') and not reopens from conversations
            where agent_number = :agent and user_number = :user and account_id || '' = :account
            order by opened_at desc limit 1
        ) as stays_over,
        case when :counts then (
            select count(*) from (
                select from messages
                where project_id = :project and direction = 'inbound' and kind = 'text'
                    and created_at > :window and created_at <= :at
                limit :most
            ) as counted
        ) end as answered
    ) as met
    cross join (
        select array_agg(created_at order by seq) as at, array_agg(text order by seq) as texts,
            array_agg(kind = 'text' order by seq) as were_answered
        from latest
        where direction = 'inbound' and kind <> 'keyword'
            and created_at > :since and created_at <= :at
    ) as earlier
    cross join (
        select array_agg(created_at order by seq) as replies from latest
        where kind in ('reply', 'notice') and state not in ('suppressed', 'failed')
            and created_at > :replies_since
    ) as said
    left join owed on true
""")

TAKE_IN: Final = Statement(f"""
    with talk as (
        update conversations set state = 'engaged', active_at = :at, warned_at = null,
            deadline_at = :deadline
        where id = :conversation and state = :was
        returning id
    ), said as (
        insert into messages (id, conversation_id, project_id, carrier_id, carrier_message_id,
            agent_number, user_number, direction, state, kind, text, media, note, created_at,
            traceparent)
        select :id, talk.id, :project, :carrier, :sid,
            :agent, :user, 'inbound', 'received', 'text', :text, cast(:media as jsonb), :note,
            cast(:said_at as timestamptz), :traceparent
        from talk
        returning seq
    ), begun as (
        insert into turns (id, conversation_id, state, first_text_at, due_at)
        select cast(:new as text), talk.id, 'waiting', cast(:at as timestamptz),
            cast(:due_at as timestamptz)
        from talk
        where cast(:new as text) is not null
    ), put_off as (
        update turns set due_at = :due_at where id = cast(:waiting as text)
    ), again as (
        update turns set again_at = :due_at where id = cast(:thinking as text)
    ), {events.telling("exists (select from talk)")}
    select said.seq, {events.WAKES}, case when coalesce(:new, :waiting, :thinking) is not null
        then pg_notify(:channel, 'turns') end
    from said
""")  # noqa: S608 - our own words
