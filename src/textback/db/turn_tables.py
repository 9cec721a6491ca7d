"""The tables of turns: what agents were asked, whom they called, what it cost."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
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

_UNDER_WAY = "state in ('thinking', 'awaiting')"

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
    Column("run", Integer, nullable=False, server_default=text("0")),
    Column("restarts", Integer, nullable=False, server_default=text("0")),
    Column("again_at", WHEN),  # the user said more: what it thinks will not count
    Column("ended_at", WHEN),
    Column("outcome", Text),
    check("state", "state in ('waiting', 'thinking', 'awaiting', 'ended')"),
    check("waiting", "(state = 'waiting') = (due_at is not null)"),
    check("thinking", f"({_UNDER_WAY}) = (lease_until is not null)"),
    check("again", "state = 'thinking' or again_at is null"),
    check("ended", "(state = 'ended') = (ended_at is not null)"),
    check("outcome", "(state = 'ended') = (outcome is not null)"),
    Index("ix_turns_conversation", "conversation_id"),
    Index("ix_turns_due", "due_at", postgresql_where=text("state = 'waiting'")),
    Index("ix_turns_lease", "lease_until", postgresql_where=text(_UNDER_WAY)),
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
        postgresql_where=text(_UNDER_WAY),
    ),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False),
    Column("conversation_id", Text, ForeignKey("conversations.id"), nullable=False),
    Column("turn_id", Text, ForeignKey("turns.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("arguments", JSONB, nullable=False),
    Column("began_at", WHEN, nullable=False),
    Column("ended_at", WHEN),
    Column("result", Text),
    Column("failed", Boolean),
    check("result", "(ended_at is null) = (result is null)"),
    check("failed", "(ended_at is null) = (failed is null)"),
    Index("ix_tool_calls_conversation", "conversation_id", "seq"),
    Index("ix_tool_calls_turn", "turn_id"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("turns", BigInteger, nullable=False, server_default=text("0")),
    Column("tokens", BigInteger, nullable=False, server_default=text("0")),
    Column("cost_usd", Float, nullable=False, server_default=text("0")),
    Column("told_at", WHEN),  # when it was said that its budget is used up
)
