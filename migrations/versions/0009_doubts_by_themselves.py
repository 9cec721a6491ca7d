"""texts in doubt have an index of look-ups that only who asks for look-ups can use

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# The same rows, for the same reason as in 0008: "is anything of these two numbers in doubt?" fitted
# the old one's condition, too.
# On a large database make it before, with `create index concurrently`, by this name
# (docs/postgres.md).


def upgrade() -> None:
    op.create_index(
        "ix_messages_doubted",
        "messages",
        ["look_up_at"],
        postgresql_where=sa.text("uncertain_at is not null"),
        if_not_exists=True,
    )
    op.drop_index("ix_messages_look_up", "messages")


def downgrade() -> None:
    op.create_index(
        "ix_messages_look_up",
        "messages",
        ["look_up_at"],
        postgresql_where=sa.text("state = 'uncertain'"),
    )
    op.drop_index("ix_messages_doubted", "messages")
