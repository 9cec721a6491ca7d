"""The table of what was erased: that a text of a user's was here, and nothing of what it said.

Without it a carrier's list, or a webhook that comes twice, would bring the text back as a new one.
"""

from sqlalchemy import Column, Table, Text

from textback.db.metadata import WHEN, metadata

erased_texts = Table(
    "erased_texts",
    metadata,
    Column("carrier_id", Text, primary_key=True),
    Column("carrier_message_id", Text, primary_key=True),
    Column("erased_at", WHEN, nullable=False),
)
