"""The tables of sends that are not due yet, and of many sends at once."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from textback.db.metadata import WHEN, check, metadata

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("connector_id", Text),
    Column("environment", Text, nullable=False),
    Column("name", Text),
    Column("state", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("created_at", WHEN, nullable=False),
    Column("send_at", WHEN),
    Column("served_at", WHEN),  # batches take turns
    Column("ended_at", WHEN),
    Column("dialect", Text, nullable=False),
    Column("command", JSONB, nullable=False),  # what its rows have in common
    Column("extra", JSONB, nullable=False, server_default=text("'{}'")),  # the dialect's own
    check("state", "state in ('draft', 'running', 'paused', 'cancelled', 'done')"),
    check("ended", "(state in ('cancelled', 'done')) = (ended_at is not null)"),
    Index("ix_batches_account", "account_id", "id"),
    Index(
        "ix_batches_ended",
        "project_id",
        "ended_at",
        postgresql_where=text("ended_at is not null"),
    ),
    Index("ix_batches_running", "served_at", postgresql_where=text("state = 'running'")),
)

planned_sends = Table(
    "planned_sends",
    metadata,
    Column("id", Text, primary_key=True),  # the id its text will have
    Column("seq", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("conversation_id", Text, nullable=False),  # the id its conversation will have
    Column("account_id", Text, nullable=False),
    Column("project_id", Text, nullable=False),
    Column("connector_id", Text),
    Column("environment", Text, nullable=False),
    Column("batch_id", Text, ForeignKey("batches.id")),
    Column("row", Integer),  # of the batch, from 1
    Column("user_number", Text, nullable=False),
    Column("command", JSONB, nullable=False),  # of a row: what it has of its own
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default=text("0")),  # that ended in a mistake
    Column("due_at", WHEN),
    Column("why", Text),  # why it is not sent at once: scheduled, quiet_hours or batch
    Column("created_at", WHEN, nullable=False),
    Column("ended_at", WHEN),
    Column("problem", Text),  # a refusal's name
    Column("error", Text),  # and its sentence
    check("state", "state in ('planned', 'accepted', 'refused', 'cancelled')"),
    check("planned", "(state = 'planned') = (due_at is not null)"),
    check("ended", "(state <> 'planned') = (ended_at is not null)"),
    check("problem", "(state = 'refused') = (problem is not null)"),
    check("batch", "(batch_id is null) = (row is null)"),
    Index("uq_planned_sends_row", "batch_id", "row", unique=True),
    Index(
        "ix_planned_sends_due",
        "account_id",
        "due_at",
        "seq",
        postgresql_where=text("state = 'planned' and batch_id is null"),
    ),
    Index(
        "ix_planned_sends_batch",
        "batch_id",
        "due_at",
        "seq",
        postgresql_where=text("state = 'planned'"),
    ),
    Index(
        "ix_planned_sends_user",
        "account_id",
        "user_number",
        "due_at",
        "seq",
        postgresql_where=text("state = 'planned'"),
    ),
    Index(
        "ix_planned_sends_account",
        "account_id",
        "id",
        postgresql_where=text("batch_id is null"),
    ),
    Index(
        "ix_planned_sends_ended",
        "project_id",
        "ended_at",
        postgresql_where=text("ended_at is not null and batch_id is null"),
    ),
    Index("ix_planned_sends_conversation", "conversation_id"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", WHEN, nullable=False),
    Index("ix_uploads_account", "account_id", "created_at"),
)
