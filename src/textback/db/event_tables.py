"""The table of events."""

from sqlalchemy import BigInteger, Column, ForeignKey, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from textback.db.metadata import WHEN, check, metadata

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", WHEN, nullable=False),
    # No key leads there: whoever tells of a conversation holds something of it, and who deletes it
    # has all of it first (ADR 36).
    Column("conversation_id", Text),
    Column("message_id", Text),
    Column("kind", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    # Only of an event without a conversation: one that has one is its conversation's.
    Column("account_id", Text, ForeignKey("accounts.id")),
    Column("project_id", Text),
    check("of_somebody", "conversation_id is not null or account_id is not null"),
    Index("ix_events_conversation", "conversation_id", "id"),
    Index(
        "ix_events_project",
        "project_id",
        "at",
        postgresql_where=text("project_id is not null"),
    ),
    Index(
        "ix_events_account",
        "account_id",
        "id",
        postgresql_where=text("account_id is not null"),
    ),
)
