"""The tables. Each state-bound column has a CHECK, written as an equivalence: the second lock.

Core tables, not mapped classes: rows become the frozen states of `core` at once (see ADR 2).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

WHEN = DateTime(timezone=True)


def _check(name: str, rule: str) -> CheckConstraint:
    return CheckConstraint(rule, name=name)


accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("removed_at", WHEN),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", WHEN, nullable=False),
    Column("expires_at", WHEN),
    Column("revoked_at", WHEN),
    UniqueConstraint("account_id", "name"),
)

carriers = Table(
    "carriers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("account_sid", Text, nullable=False, unique=True),
    Column("auth_token", Text, nullable=False),  # sealed
    Column("base_url", Text, nullable=False),
    Column("removed_at", WHEN),
)

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("greeting", Text),
    Column("fallback", Text),
    Column("engine", JSONB, nullable=False),  # the file's words; a secret in it is sealed
    Column("can_open", Boolean, nullable=False),
    Column("deadline_seconds", Float, nullable=False),
    Column("removed_at", WHEN),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    Column("policy", JSONB, nullable=False),
    Column("removed_at", WHEN),
)

connectors = Table(
    "connectors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("environment", Text, nullable=False),
    Column("removed_at", WHEN),
)

numbers = Table(
    "numbers",
    metadata,
    Column("number", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False, index=True),
    Column("environment", Text, nullable=False),
    Column("carrier_id", Text, ForeignKey("carriers.id"), nullable=False),
    Column("segments_per_second", Float, nullable=False),
    Column("opt_out_replies", Text, nullable=False),
    Column("removed_at", WHEN),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("connector_id", Text),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    Column("agent_number", Text, nullable=False),
    Column("user_number", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_at", WHEN, nullable=False),
    Column("active_at", WHEN, nullable=False),
    Column("warned_at", WHEN),
    Column("closed_at", WHEN),
    Column("reason", Text),
    Column("deadline_at", WHEN),
    Column("heard_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    _check("state", "state in ('opened', 'engaged', 'warned', 'closed')"),
    _check("warned", "(state = 'warned') = (warned_at is not null)"),
    _check("closed", "(state = 'closed') = (closed_at is not null)"),
    _check("reason", "(state = 'closed') = (reason is not null)"),
    _check("deadline", "state <> 'closed' or deadline_at is null"),
    Index(
        "uq_conversations_live",
        "agent_number",
        "user_number",
        unique=True,
        postgresql_where=text("state <> 'closed'"),
    ),
    Index("ix_conversations_due", "deadline_at", postgresql_where=text("deadline_at is not null")),
    Index("ix_conversations_pair", "agent_number", "user_number", "opened_at"),
    Index("ix_conversations_user", "project_id", "user_number", "opened_at"),
    Index("ix_conversations_number", "agent_number", "opened_at"),
)

_IN_FLIGHT = "state in ('queued', 'sending', 'uncertain')"

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("conversation_id", Text, ForeignKey("conversations.id"), nullable=False),
    Column("project_id", Text, nullable=False),
    Column("carrier_id", Text, ForeignKey("carriers.id"), nullable=False),
    Column("agent_number", Text, nullable=False),
    Column("user_number", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("media", JSONB, nullable=False, server_default=text("'[]'")),
    Column("state", Text, nullable=False),
    Column("note", Text),
    Column("created_at", WHEN, nullable=False),
    Column("expires_at", WHEN),
    Column("priority", SmallInteger, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", WHEN),
    Column("claimed_at", WHEN),
    Column("lease_until", WHEN),
    Column("uncertain_at", WHEN),
    Column("look_up_at", WHEN),
    Column("look_ups", Integer, nullable=False, server_default=text("0")),
    Column("carrier_message_id", Text),
    Column("sent_at", WHEN),
    Column("delivered_at", WHEN),
    Column("failed_at", WHEN),
    Column("error_code", Text),
    Column("error", Text),
    Column("dropped_at", WHEN),
    Column("drop_reason", Text),
    _check(
        "state",
        "state in ('received', 'queued', 'sending', 'uncertain', 'sent', 'delivered', 'failed',"
        " 'suppressed')",
    ),
    _check("direction", "direction in ('inbound', 'outbound')"),
    _check("inbound", "(direction = 'inbound') = (state = 'received')"),
    _check("validity", "(direction = 'outbound') = (expires_at is not null)"),
    _check("queued", "(state = 'queued') = (due_at is not null)"),
    _check("sending", "(state = 'sending') = (lease_until is not null)"),
    _check("claimed", "(state in ('sending', 'uncertain')) = (claimed_at is not null)"),
    _check("uncertain", "(state = 'uncertain') = (uncertain_at is not null)"),
    _check("look_up", "state = 'uncertain' or look_up_at is null"),
    _check("delivered", "(state = 'delivered') = (delivered_at is not null)"),
    _check("failed", "(state = 'failed') = (failed_at is not null)"),
    _check("error_code", "(state = 'failed') = (error_code is not null)"),
    _check("suppressed", "(state = 'suppressed') = (dropped_at is not null)"),
    _check("drop_reason", "(state = 'suppressed') = (drop_reason is not null)"),
    _check(
        "carrier_message_id",
        "(state in ('received', 'sent', 'delivered')) = (carrier_message_id is not null)"
        " or state = 'failed'",
    ),
    Index("ix_messages_conversation", "conversation_id", "seq"),
    Index(
        "uq_messages_carrier_message_id",
        "carrier_id",
        "carrier_message_id",
        unique=True,
        postgresql_where=text("carrier_message_id is not null"),
    ),
    Index(
        "ix_messages_due",
        "priority",
        "due_at",
        "seq",
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_messages_in_flight",
        "agent_number",
        "user_number",
        "seq",
        postgresql_where=text(_IN_FLIGHT),
    ),
    Index(
        "uq_messages_sending",
        "agent_number",
        "user_number",
        unique=True,
        postgresql_where=text("state = 'sending'"),
    ),
    Index("ix_messages_lease", "lease_until", postgresql_where=text("state = 'sending'")),
    Index("ix_messages_look_up", "look_up_at", postgresql_where=text("state = 'uncertain'")),
    Index(
        "ix_messages_heard",
        "project_id",
        "created_at",
        postgresql_where=text("direction = 'inbound'"),
    ),
    Index("ix_messages_pair", "agent_number", "user_number", "seq"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Text, primary_key=True),
    Column("conversation_id", Text, ForeignKey("conversations.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("first_text_at", WHEN, nullable=False),
    Column("opener_id", Text),  # the id promised to the caller for the text that opens
    Column("due_at", WHEN),
    Column("lease_until", WHEN),
    Column("upto_seq", BigInteger),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("ended_at", WHEN),
    Column("outcome", Text),
    _check("state", "state in ('waiting', 'thinking', 'ended')"),
    _check("waiting", "(state = 'waiting') = (due_at is not null)"),
    _check("thinking", "(state = 'thinking') = (lease_until is not null)"),
    _check("ended", "(state = 'ended') = (ended_at is not null)"),
    _check("outcome", "(state = 'ended') = (outcome is not null)"),
    Index("ix_turns_conversation", "conversation_id"),
    Index("ix_turns_due", "due_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_turns_lease", "lease_until", postgresql_where=text("state = 'thinking'")),
    Index(
        "uq_turns_waiting",
        "conversation_id",
        unique=True,
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "uq_turns_thinking",
        "conversation_id",
        unique=True,
        postgresql_where=text("state = 'thinking'"),
    ),
)

opt_outs = Table(
    "opt_outs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent_number", Text, nullable=False),
    Column("user_number", Text, nullable=False),
    Column("opted_out_at", WHEN, nullable=False),
    Column("source", Text, nullable=False),  # keyword, carrier or operator
    Column("words", Text),
    Column("carrier_message_id", Text),
    Column("opted_in_at", WHEN),
    Column("opted_in_words", Text),
    Column("opted_in_carrier_message_id", Text),
    Index(
        "uq_opt_outs_standing",
        "user_number",
        "agent_number",
        unique=True,
        postgresql_where=text("opted_in_at is null"),
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("expires_at", WHEN, nullable=False, index=True),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", WHEN, nullable=False),
    Column("conversation_id", Text, ForeignKey("conversations.id"), nullable=False),
    Column("message_id", Text),
    Column("kind", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    Index("ix_events_conversation", "conversation_id", "id"),
)
