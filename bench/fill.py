"""Conversations and their texts by the million: valid rows of the real schema, written by Postgres.

Indexes are dropped first and built afterwards, and foreign keys are not checked meanwhile; what is
measured later runs on tables, indexes and checks as they are migrated.
"""

from bench.measure import user
from bench.place import MANY, Place

_INDEXES = """
    select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as makes
    from pg_index left join pg_constraint on conindid = indexrelid and contype in ('p', 'u', 'x')
    where indrelid = '{}'::regclass and pg_constraint.oid is null"""

_CONVERSATIONS = """
    insert into conversations (id, account_id, project_id, connector_id, agent_id, agent_version,
        agent_number, user_number, state, opened_at, active_at, deadline_at)
    select 'conv_' || lpad(to_hex(n), 26, '0'), 'bench', 'many', 'conn-many', 'bench-agent', 1,
        ({numbers})[n % {many} + 1], '+1415' || {first} + n, 'engaged',
        now() - interval '1 hour' * (n % 20), now() - interval '1 minute' * (n % 60),
        now() + interval '2 hours' + interval '1 second' * (n % 70000)
    from generate_series(0, {conversations} - 1) n"""

_MESSAGES = """
    insert into messages (id, conversation_id, project_id, carrier_id, agent_number, user_number,
        direction, kind, text, state, created_at, expires_at, carrier_message_id, sent_at,
        delivered_at)
    select 'msg_' || lpad(to_hex(n), 26, '0'),
        'conv_' || lpad(to_hex(n % {conversations}), 26, '0'), 'many', 'bench-twilio',
        ({numbers})[n % {conversations} % {many} + 1], '+1415' || {first} + n % {conversations},
        case when ours then 'outbound' else 'inbound' end,
        case when n < {conversations} then 'opener' when ours then 'reply' else 'text' end,
        'your appointment is on day ' || n % 365 || ' at the practice',
        case when ours then 'delivered' else 'received' end, at,
        case when ours then at + interval '4 hours' end, 'SMe' || lpad(to_hex(n), 31, '0'),
        case when ours then at end, case when ours then at end
    from generate_series(0, {messages} - 1) n,
        lateral (select n / {conversations} % 2 = 0 as ours,
            now() - interval '20 hours' + interval '72000 seconds' * n / {messages} as at) x"""


_EVENTS = """
    insert into events (at, conversation_id, message_id, kind, data)
    select created_at, conversation_id, id, 'message.' || state, '{}' from messages order by seq"""

_TURNS = """
    insert into turns (id, conversation_id, state, first_text_at, due_at, outcome, ended_at)
    select 'turn_' || substr(id, 5), conversation_id, 'ended', created_at, null, 'answered',
        created_at
    from messages where direction = 'inbound'"""


def fill(place: Place, database: str, *, conversations: int, messages: int, first: int = 0) -> None:
    """`conversations` are live, with one user each (`measure.user`), and share the messages."""
    numbers = ", ".join(f"'{number}'" for number in MANY)
    values = {
        "conversations": conversations,
        "messages": messages,
        "numbers": f"array[{numbers}]",
        "many": len(MANY),
        "first": user(first).removeprefix("+1415"),
    }
    for name, statement in (("conversations", _CONVERSATIONS), ("messages", _MESSAGES)):
        indexes = place.sql(_INDEXES.format(name), database=database)
        place.sql(
            "set session_replication_role = replica",
            "set maintenance_work_mem = '512MB'",
            *(f"drop index {each['name']}" for each in indexes),
            statement.format(**values),
            *(each["makes"] for each in indexes),
            f"vacuum (analyze) {name}",
            database=database,
        )
    place.sql("checkpoint", database=database)


def tell(place: Place, database: str) -> None:
    """Events of all texts, and a turn for each that a user sent."""
    place.sql(
        "set session_replication_role = replica", _EVENTS, _TURNS, "vacuum (analyze)",
        database=database,
    )  # fmt: skip
