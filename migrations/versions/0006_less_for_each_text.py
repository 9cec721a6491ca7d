"""what each text pays for is only what somebody needs

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# A foreign key costs a look and a row lock for each row, and its locks meet at one row of a
# project's. These lead to what is never deleted (`KEPT`).
KEYS = (
    ("conversations", ("account_id",), "accounts", ("id",)),
    ("conversations", ("project_id",), "projects", ("id",)),
    ("conversations", ("agent_id", "agent_version"), "agent_versions", ("agent_id", "number")),
    ("messages", ("carrier_id",), "carriers", ("id",)),
    ("idempotency_keys", ("account_id",), "accounts", ("id",)),
    ("planned_sends", ("account_id",), "accounts", ("id",)),
    ("planned_sends", ("project_id",), "projects", ("id",)),
)
KEPT = ("accounts", "agent_versions", "carriers", "projects")

# Words change their place in the index with each state of their text. On a large database make it
# before, with `create index concurrently`, by this name (docs/postgres.md).
WORDS = sa.text("to_tsvector('simple', text)")
HAS_LEFT = "state not in ('queued', 'sending')"


def upgrade() -> None:
    op.create_index(
        "ix_messages_said",
        "messages",
        [WORDS],
        postgresql_using="gin",
        postgresql_where=sa.text(HAS_LEFT),
        if_not_exists=True,
    )
    op.drop_index("ix_messages_words", "messages")
    op.drop_index("ix_events_message", "events")
    op.drop_constraint("uq_messages_seq", "messages")
    for table, columns, _parent, _theirs in KEYS:
        op.drop_constraint(_name(table, columns), table)
    op.execute("""
        create function textback_kept() returns trigger language plpgsql as $$
        begin
            raise exception '% keeps its rows: conversations and texts lead to them', tg_table_name
                using errcode = 'foreign_key_violation';
        end $$
    """)
    for table in KEPT:
        op.execute(
            f"create trigger {table}_kept before delete on {table}"
            " for each row execute function textback_kept()"
        )


def downgrade() -> None:
    for table in KEPT:
        op.execute(f"drop trigger {table}_kept on {table}")
    op.execute("drop function textback_kept()")
    for table, columns, parent, theirs in KEYS:
        op.create_foreign_key(_name(table, columns), table, parent, list(columns), list(theirs))
    op.create_unique_constraint("uq_messages_seq", "messages", ["seq"])
    op.create_index(
        "ix_events_message",
        "events",
        ["message_id", "id"],
        postgresql_where=sa.text("message_id is not null"),
    )
    op.create_index("ix_messages_words", "messages", [WORDS], postgresql_using="gin")
    op.drop_index("ix_messages_said", "messages")


def _name(table: str, columns: tuple[str, ...]) -> str:
    return f"fk_{table}_{'_'.join(columns)}"
