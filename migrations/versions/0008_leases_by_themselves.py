"""leases have an index that only who asks for leases can use

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The same rows. But "is anything of these two numbers being sent?" fitted the old one's condition,
# too: a plan that was made while nothing was sent might look through all that is.
# On a large database make it before, with `create index concurrently`, by this name
# (docs/postgres.md).


def upgrade() -> None:
    op.create_index(
        "ix_messages_held",
        "messages",
        ["lease_until"],
        postgresql_where=sa.text("lease_until is not null"),
        if_not_exists=True,
    )
    op.drop_index("ix_messages_lease", "messages")


def downgrade() -> None:
    op.create_index(
        "ix_messages_lease",
        "messages",
        ["lease_until"],
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.drop_index("ix_messages_held", "messages")
