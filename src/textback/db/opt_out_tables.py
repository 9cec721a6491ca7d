"""The table of opt-outs."""

from sqlalchemy import Column, Index, Table, Text, text

from textback.db.metadata import WHEN, metadata

opt_outs = Table(
    "opt_outs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("agent_number", Text, nullable=False),  # or `project:ID`: every number of it
    Column("user_number", Text, nullable=False),
    Column("opted_out_at", WHEN, nullable=False),
    Column("source", Text, nullable=False),  # keyword, carrier, caller or import
    Column("words", Text),
    Column("carrier_message_id", Text),
    Column("opted_in_at", WHEN),
    Column("opted_in_words", Text),
    Column("opted_in_carrier_message_id", Text),
    Column("reason", Text),  # in the words of who recorded it
    Column("opted_in_source", Text),
    Column("opted_in_reason", Text),
    Index(
        "uq_opt_outs_standing",
        "user_number",
        "agent_number",
        unique=True,
        postgresql_where=text("opted_in_at is null"),
    ),
    Index("ix_opt_outs_agent", "agent_number", "id"),
)
