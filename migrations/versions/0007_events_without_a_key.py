"""an event looks up no conversation: whoever writes one holds something of it (ADR 36)

Revision: 0007, after 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = "fk_events_conversation_id"


def upgrade() -> None:
    op.drop_constraint(KEY, "events")


def downgrade() -> None:
    op.create_foreign_key(KEY, "events", "conversations", ["conversation_id"], ["id"])
