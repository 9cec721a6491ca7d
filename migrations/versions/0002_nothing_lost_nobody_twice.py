"""nothing lost, nobody twice

Revision: 0002, after 0001

Texts are taken in the order they were written, whatever was put off; numbers remember up to when
their texts were looked for at the carrier; a conversation can pause.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")
WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.drop_index("ix_messages_due", "messages")
    op.create_index("ix_messages_ready", "messages", ["priority", "seq"], postgresql_where=QUEUED)
    op.create_index("ix_messages_due", "messages", ["due_at"], postgresql_where=QUEUED)
    op.create_index("ix_messages_expiry", "messages", ["expires_at"], postgresql_where=QUEUED)

    for column in ("swept_until", "sweep_at"):
        op.add_column(
            "numbers",
            sa.Column(column, WHEN, nullable=False, server_default=sa.text("now()")),
        )
    op.create_index(
        "ix_numbers_sweep", "numbers", ["sweep_at"], postgresql_where=sa.text("removed_at is null")
    )

    op.add_column("conversations", sa.Column("paused_until", WHEN, nullable=True))
    op.drop_constraint(op.f("ck_conversations_state"), "conversations")
    op.create_check_constraint(
        op.f("ck_conversations_state"),
        "conversations",
        "state in ('opened', 'engaged', 'warned', 'paused', 'closed')",
    )
    op.create_check_constraint(
        op.f("ck_conversations_paused"),
        "conversations",
        "(state = 'paused') = (paused_until is not null)",
    )


def downgrade() -> None:
    op.execute(
        "update conversations set state = 'engaged', paused_until = null where state = 'paused'"
    )
    op.drop_constraint(op.f("ck_conversations_paused"), "conversations")
    op.drop_constraint(op.f("ck_conversations_state"), "conversations")
    op.create_check_constraint(
        op.f("ck_conversations_state"),
        "conversations",
        "state in ('opened', 'engaged', 'warned', 'closed')",
    )
    op.drop_column("conversations", "paused_until")

    op.drop_index("ix_numbers_sweep", "numbers")
    for column in ("swept_until", "sweep_at"):
        op.drop_column("numbers", column)

    for name in ("ready", "due", "expiry"):
        op.drop_index(f"ix_messages_{name}", "messages")
    op.create_index(
        "ix_messages_due", "messages", ["priority", "due_at", "seq"], postgresql_where=QUEUED
    )
