"""The tables of webhooks out: where events go, each delivery, and each attempt at one."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from textback.db.metadata import WHEN, check, metadata

_UNDONE = "state in ('waiting', 'delivering')"

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("project_id", Text, ForeignKey("projects.id")),
    Column("conversation_id", Text, ForeignKey("conversations.id")),
    Column("url", Text),  # none: its owner comes and asks
    Column("format", Text, nullable=False),  # a dialect's name
    Column("kinds", JSONB, nullable=False, server_default=text("'[]'")),  # none: of every kind
    Column("description", Text),
    # Sealed, the newest first: [{"sealed", "until"}], so that a key can be changed.
    Column("secrets", JSONB, nullable=False, server_default=text("'[]'")),
    Column("state", Text, nullable=False, server_default=text("'active'")),
    Column("created_at", WHEN, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row
    Column("failing_since", WHEN),
    Column("hold_until", WHEN),  # not tried before then
    Column("polled_at", WHEN),
    Column("paused_at", WHEN),
    Column("why_paused", Text),
    Column("removed_at", WHEN),
    Column("source", Text, nullable=False, server_default=text("'api'")),
    check("state", "state in ('active', 'paused', 'removed')"),
    check("paused", "(state = 'paused') = (paused_at is not null)"),
    check("why_paused", "(state = 'paused') = (why_paused is not null)"),
    check("removed", "(state = 'removed') = (removed_at is not null)"),
    check("failing", "(failures > 0) = (failing_since is not null)"),
    Index("ix_webhook_endpoints_account", "account_id", "project_id"),
    Index(
        "ix_webhook_endpoints_failing",
        "id",
        postgresql_where=text("state = 'active' and failures > 0"),
    ),
    Index("ix_webhook_endpoints_paused", "id", postgresql_where=text("state = 'paused'")),
    Index(
        "ix_webhook_endpoints_conversation",
        "conversation_id",
        postgresql_where=text("conversation_id is not null"),
    ),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("conversation_id", Text),  # of one endpoint and conversation, one after the other
    Column("state", Text, nullable=False),
    Column("created_at", WHEN, nullable=False),
    Column("due_at", WHEN),
    Column("lease_until", WHEN),
    Column("tries", Integer, nullable=False, server_default=text("0")),  # since it was last begun
    Column("body", Text),  # as first written, so that each attempt says the same
    Column("ended_at", WHEN),
    # Fetched by its owner, who may take several of a conversation at once.
    Column("pulled", Boolean, nullable=False, server_default=text("false")),
    check("state", "state in ('waiting', 'delivering', 'delivered', 'failed', 'skipped')"),
    check("waiting", "(state = 'waiting') = (due_at is not null)"),
    check("delivering", "(state = 'delivering') = (lease_until is not null)"),
    check("ended", "(state in ('delivered', 'failed', 'skipped')) = (ended_at is not null)"),
    Index(
        "ix_webhook_deliveries_undone",
        "endpoint_id",
        "conversation_id",
        "id",
        postgresql_where=text(_UNDONE),
    ),
    Index("ix_webhook_deliveries_due", "due_at", postgresql_where=text("state = 'waiting'")),
    Index(
        "ix_webhook_deliveries_front",
        "endpoint_id",
        "id",
        "due_at",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_webhook_deliveries_alone",
        "endpoint_id",
        "due_at",
        postgresql_where=text("state = 'waiting' and conversation_id is null"),
    ),
    Index(
        "uq_webhook_deliveries_delivering",
        "endpoint_id",
        "conversation_id",
        unique=True,
        postgresql_where=text("state = 'delivering' and not pulled"),
    ),
    Index(
        "ix_webhook_deliveries_lease", "lease_until", postgresql_where=text("state = 'delivering'")
    ),
    Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id"),
    Index("ix_webhook_deliveries_conversation", "conversation_id", "id"),
    Index("ix_webhook_deliveries_event", "event_id"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("delivery_id", BigInteger, ForeignKey("webhook_deliveries.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", WHEN, nullable=False),
    Column("status", Integer),  # of the answer, if there was one
    Column("milliseconds", Integer, nullable=False),
    Column("error", Text),
    Column("answer", Text),  # its beginning
    UniqueConstraint("delivery_id", "number"),
)
