"""The table of what was used by texts and conversations that are not there any more."""

from sqlalchemy import BigInteger, Column, Date, ForeignKey, Table, Text

from textback.db.metadata import metadata

past_usage = Table(
    "past_usage",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("day", Date, primary_key=True),  # in the project's zone, when it was counted
    Column("agent_number", Text, primary_key=True),
    Column("kind", Text, primary_key=True),  # inbound, outbound or conversation
    Column("state", Text, primary_key=True),  # of a conversation: why it is closed
    Column("error_code", Text, primary_key=True),  # or nothing
    Column("times", BigInteger, nullable=False),
    Column("segments", BigInteger, nullable=False),
    Column("segments_saved", BigInteger, nullable=False),
)
