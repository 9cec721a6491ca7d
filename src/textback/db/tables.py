"""The tables. Each state-bound column has a CHECK, written as an equivalence: the second lock.

Core tables, not mapped classes: rows become the frozen states of `core` at once (see ADR 2). What
many texts pay for has no foreign key to what is never deleted (a trigger sees to that, ADR 36).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from textback.db.erased_tables import erased_texts
from textback.db.event_tables import events
from textback.db.metadata import WHEN, check, metadata
from textback.db.opt_out_tables import opt_outs
from textback.db.plan_tables import batches, planned_sends, uploads
from textback.db.tenant_tables import (
    accounts,
    agent_versions,
    agents,
    api_keys,
    carriers,
    connectors,
    jwt_apps,
    jwt_ids,
    numbers,
    projects,
)
from textback.db.turn_tables import tool_calls, turns, usage_days
from textback.db.usage_tables import past_usage
from textback.db.webhook_tables import webhook_attempts, webhook_deliveries, webhook_endpoints

__all__ = [
    "accounts",
    "agent_versions",
    "agents",
    "api_keys",
    "batches",
    "carriers",
    "connectors",
    "conversations",
    "erased_texts",
    "events",
    "idempotency_keys",
    "jwt_apps",
    "jwt_ids",
    "messages",
    "metadata",
    "numbers",
    "opt_outs",
    "past_usage",
    "planned_sends",
    "projects",
    "tool_calls",
    "turns",
    "uploads",
    "usage_days",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_endpoints",
]

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("connector_id", Text),
    Column("agent_id", Text, nullable=False),
    Column("agent_version", Integer, nullable=False),
    Column("agent_number", Text, nullable=False),
    Column("user_number", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_at", WHEN, nullable=False),
    Column("active_at", WHEN, nullable=False),
    Column("warned_at", WHEN),
    Column("paused_until", WHEN),
    Column("handed_off_at", WHEN),
    Column("why_handed_off", Text),
    Column("closed_at", WHEN),
    Column("reason", Text),
    Column("deadline_at", WHEN),
    Column("heard_seq", BigInteger, nullable=False, server_default=text("0")),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("variables", JSONB, nullable=False, server_default=text("'{}'")),
    Column("objective", Text),
    Column("start_node", Text),
    Column("engine_state", JSONB, nullable=False, server_default=text("'{}'")),
    Column("turns_taken", Integer, nullable=False, server_default=text("0")),
    Column("tokens_used", BigInteger, nullable=False, server_default=text("0")),
    Column("cost_usd", Float, nullable=False, server_default=text("0")),
    Column("analysis_due_at", WHEN),
    Column("analysis_attempts", SmallInteger, nullable=False, server_default=text("0")),
    Column("analysis", JSONB(none_as_null=True)),
    # Its own lengths of silence, instead of the project's (core.policy.IdlePolicy).
    Column("idle", JSONB(none_as_null=True)),
    # Once silence has closed it: whether the user's next text opens another, or is only kept.
    Column("reopens", Boolean, nullable=False, server_default=text("true")),
    Column("dialect", Text),  # the one it was opened through
    Column("extra", JSONB, nullable=False, server_default=text("'{}'")),  # the dialect's own
    check("state", "state in ('opened', 'engaged', 'warned', 'paused', 'handed_off', 'closed')"),
    check("handed_off", "(state = 'handed_off') = (handed_off_at is not null)"),
    check("why_handed_off", "(state = 'handed_off') = (why_handed_off is not null)"),
    check("analysis", "state = 'closed' or analysis_due_at is null"),
    check("warned", "(state = 'warned') = (warned_at is not null)"),
    check("paused", "(state = 'paused') = (paused_until is not null)"),
    check("closed", "(state = 'closed') = (closed_at is not null)"),
    check("reason", "(state = 'closed') = (reason is not null)"),
    check("deadline", "state <> 'closed' or deadline_at is null"),
    Index(
        "uq_conversations_live",
        "agent_number",
        "user_number",
        unique=True,
        postgresql_where=text("state <> 'closed'"),
    ),
    Index("ix_conversations_due", "deadline_at", postgresql_where=text("deadline_at is not null")),
    Index(
        "ix_conversations_analysis",
        "analysis_due_at",
        postgresql_where=text("analysis_due_at is not null"),
    ),
    Index("ix_conversations_pair", "agent_number", "user_number", "opened_at"),
    Index("ix_conversations_user", "project_id", "user_number", "opened_at"),
    Index("ix_conversations_account", "account_id", "id"),
    Index(
        "ix_conversations_closed",
        "project_id",
        "closed_at",
        postgresql_where=text("closed_at is not null"),
    ),
    Index(
        "ix_conversations_metadata",
        "metadata",
        postgresql_using="gin",
        postgresql_where=text("metadata <> '{}'"),  # most have none
    ),
)

_IN_FLIGHT = "state in ('queued', 'sending', 'uncertain')"

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("conversation_id", Text, ForeignKey("conversations.id"), nullable=False),
    Column("project_id", Text, nullable=False),
    Column("carrier_id", Text, nullable=False),
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
    Column("follows", Text),  # the text before it, of the same answer
    Column("part_wait", Interval),  # for the report that it was sent; none once that is settled
    Column("segments", SmallInteger),
    Column("segments_saved", SmallInteger, nullable=False, server_default=text("0")),
    Column("template", JSONB(none_as_null=True)),  # instead of the text, for the carrier
    Column("traceparent", Text),  # of what it came from (tracing.py); none, unless it is traced
    check(
        "state",
        "state in ('received', 'queued', 'sending', 'uncertain', 'sent', 'delivered', 'failed',"
        " 'suppressed')",
    ),
    check("direction", "direction in ('inbound', 'outbound')"),
    check("inbound", "(direction = 'inbound') = (state = 'received')"),
    check("validity", "(direction = 'outbound') = (expires_at is not null)"),
    check("queued", "(state = 'queued') = (due_at is not null)"),
    check("sending", "(state = 'sending') = (lease_until is not null)"),
    check("claimed", "(state in ('sending', 'uncertain')) = (claimed_at is not null)"),
    check("uncertain", "(state = 'uncertain') = (uncertain_at is not null)"),
    check("look_up", "state = 'uncertain' or look_up_at is null"),
    check(
        "sent",
        "(state in ('sent', 'delivered')) = (sent_at is not null) or state = 'failed'",
    ),
    check("delivered", "(state = 'delivered') = (delivered_at is not null)"),
    check("failed", "(state = 'failed') = (failed_at is not null)"),
    check("error_code", "(state = 'failed') = (error_code is not null)"),
    check("suppressed", "(state = 'suppressed') = (dropped_at is not null)"),
    check("drop_reason", "(state = 'suppressed') = (drop_reason is not null)"),
    check(
        "carrier_message_id",
        "(state in ('received', 'sent', 'delivered')) = (carrier_message_id is not null)"
        " or state = 'failed'",
    ),
    check("part_wait", "follows is not null or part_wait is null"),
    Index("ix_messages_conversation", "conversation_id", "seq"),
    Index(
        "uq_messages_carrier_message_id",
        "carrier_id",
        "carrier_message_id",
        unique=True,
        postgresql_where=text("carrier_message_id is not null"),
    ),
    Index(
        "ix_messages_line",
        "priority",
        "carrier_id",
        "agent_number",
        "seq",
        postgresql_where=text("state = 'queued'"),
    ),
    Index("ix_messages_due", "due_at", postgresql_where=text("state = 'queued'")),
    Index("ix_messages_expiry", "expires_at", postgresql_where=text("state = 'queued'")),
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
    # Those that are being sent; said so that only who asks for leases can use it.
    Index("ix_messages_held", "lease_until", postgresql_where=text("lease_until is not null")),
    Index(
        "ix_messages_in_doubt",
        "agent_number",
        "user_number",
        postgresql_where=text("state = 'uncertain'"),
    ),
    # Those that are in doubt, as with leases: only who asks for look-ups can use it.
    Index("ix_messages_doubted", "look_up_at", postgresql_where=text("uncertain_at is not null")),
    Index(
        "ix_messages_heard",
        "project_id",
        "created_at",
        postgresql_where=text("direction = 'inbound'"),
    ),
    Index("ix_messages_pair", "agent_number", "user_number", "seq"),
    Index(
        "ix_messages_behind",
        "follows",
        postgresql_where=text("follows is not null"),
    ),
    Index("ix_messages_project", "project_id", "created_at", "id"),
    # Of what has left: a text's words are entered anew with each of its states.
    Index(
        "ix_messages_said",
        text("to_tsvector('simple', text)"),
        postgresql_using="gin",
        postgresql_where=text("state not in ('queued', 'sending')"),
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("conversation_id", Text),
    Column("message_id", Text),
    Column("expires_at", WHEN, nullable=False, index=True),
    Column("answer", JSONB(none_as_null=True)),  # of what opens no conversation
)
