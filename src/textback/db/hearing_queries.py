"""The statements of `db/hearing.py`: two for most texts of users', three between begin and commit.

A statement costs this process more than what Postgres does for most of them (ADR 34), so few ask
for much. But each sees only what was committed before it began, whatever it waits for: what decides
is asked by one that begins when the locks are held that guard it, or else is written only if the
conversation is still the row that was looked at.
"""

from typing import Final

from textback.db import events
from textback.db.conversation_rows import LIVE, LOCK_LIVE, STATE
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

_OWED: Final = """
        select id as turn_id, run as turn_run, state as turn_state,
            conversation_id as turn_conversation_id, opener_id as turn_opener_id,
            first_text_at as turn_first_text_at, lease_until as turn_lease_until,
            upto_seq as turn_upto_seq, attempts as turn_attempts, restarts as turn_restarts,
            again_at as turn_again_at
        from turns
"""


def _met(
    first: str, *, heard_seq: str, answered: str, of_live: str = "", live: str = ""
) -> Statement:
    # Planned once for each connection, and often while its tables are small: so each is asked for
    # one key at a time (of `any` key Postgres expects ten), without joins, and of conversations
    # only by their pair.
    return Statement(f"""
    with {first},
    latest as materialized (
        select seq, direction, kind, state, created_at, text from messages
        where agent_number = :agent and user_number = :user
        order by seq desc limit :rows
    )
    select {of_live} met.*, earlier.*, said.*, looked.*, owed.*,
        turn_upto_seq > {heard_seq} as turn_is_asked
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
        {answered} as answered
    ) as met
    cross join (
        select array_agg(created_at order by seq) as at, array_agg(text order by seq) as texts,
            array_agg(kind = 'text' order by seq) as were_answered
        from latest
        where direction = 'inbound' and kind <> 'keyword'
            and created_at > :since and created_at <= :upto
    ) as earlier
    cross join (
        select array_agg(created_at order by seq) as replies from latest
        where kind in ('reply', 'notice') and state not in ('suppressed', 'failed')
            and created_at > :replies_since
    ) as said
    cross join (
        select case when count(*) = :rows then (array_agg(created_at order by seq))[1] end as cut_at
        from latest
    ) as looked
    {live} left join owed on true
""")  # noqa: S608 - our own words


_COUNTED: Final = """(
            select count(*) from (
                select from messages
                where project_id = :project and direction = 'inbound' and kind = 'text'
                    and created_at > :window and created_at <= :upto
                limit :most
            ) as counted
        )"""

MET: Final = _met(
    f"""owed as materialized (
        {_OWED} where conversation_id = cast(:talk as text) and state <> 'ended' for update
    )""",
    heard_seq="(select heard_seq from conversations where id = :talk)",
    answered=f"case when :counts then {_COUNTED} end",
)

_GLANCE: Final = {
    "first": f"""live as materialized (
        select {STATE}, heard_seq, cast(xmin as text) as version {LIVE}
    ), owed as materialized (
        {_OWED} where conversation_id = (select id from live) and state <> 'ended'
    )""",  # noqa: S608 - our own words
    "of_live": "live.*,",
    "live": "left join live on true",
    "heard_seq": "live.heard_seq",
}
GLANCE: Final = _met(**_GLANCE, answered="cast(null as bigint)")
# Apart, although few texts need it: where the count might be made, Postgres takes a plan for all
# texts to cost as much as that does, and on millions of texts would rather plan anew for each
# (`bench growth`: 1.5 times the cost instead of 1.1).
GLANCE_AND_COUNT: Final = _met(**_GLANCE, answered=_COUNTED)

# The pair first, as `LOCK` does it; who has locked it before has it.
TAKE_IN: Final = Statement(f"""
    with pair as materialized (
        select pg_advisory_xact_lock(cast(:pair as bigint))
    ), held as materialized (
        select talk.id from pair left join (
            select id from conversations
            where id = :conversation and state = :was
                and (cast(:version as text) is null or cast(xmin as text) = :version)
            for no key update
        ) talk on true
    ), put_off as (
        update turns set due_at = :due_at
        where id = cast(:waiting as text) and state = 'waiting'
            and (select id from held) is not null
        returning id
    ), talk as (
        update conversations set state = 'engaged', active_at = :at, warned_at = null,
            deadline_at = :deadline
        where id = (select id from held)
            and (cast(:waiting as text) is null or exists (select from put_off))
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
    ), again as (
        update turns set again_at = :due_at
        where id = cast(:thinking as text) and exists (select from talk)
    ), {events.telling("exists (select from talk)")}
    select said.seq, {events.WAKES}, case when coalesce(:new, :waiting, :thinking) is not null
        then pg_notify(:channel, 'turns') end
    from said
""")  # noqa: S608 - our own words
