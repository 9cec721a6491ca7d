"""whoever keeps what was provisioned is told that it changed; what projects forget is found

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PROVISIONED = (
    "accounts",
    "agent_versions",
    "agents",
    "api_keys",
    "carriers",
    "connectors",
    "jwt_apps",
    "numbers",
    "projects",
)

# Not what the sweep writes into them.
OF_NUMBERS = (
    *("number", "project_id", "environment", "carrier_id", "segments_per_second"),
    *("opt_out_replies", "removed_at", "agent_id", "replies", "registration"),
    *("messaging_service_sid", "config", "source"),
)

# What is past its project's retention is found by these. On a large database make them before, with
# `create index concurrently`, by these names (docs/postgres.md): then nothing waits for them here.
PAST = (
    ("ix_conversations_closed", "conversations", "closed_at", "closed_at is not null"),
    ("ix_events_project", "events", "at", "project_id is not null"),
    ("ix_batches_ended", "batches", "ended_at", "ended_at is not null"),
    (
        "ix_planned_sends_ended",
        "planned_sends",
        "ended_at",
        "ended_at is not null and batch_id is null",
    ),
)


# So that those in trouble are counted without looking at all that there are.
IN_TROUBLE = (
    ("ix_webhook_endpoints_failing", "state = 'active' and failures > 0"),
    ("ix_webhook_endpoints_paused", "state = 'paused'"),
)


# What a worker claims by (db/claims.py).
CLAIMED_BY = (
    ("ix_messages_line", ("priority", "carrier_id", "agent_number", "seq"), "queued"),
    ("ix_messages_in_doubt", ("agent_number", "user_number"), "uncertain"),
)

# By `due_at`, too, so that no other index is in the same order (db/webhook_claim_queries.py); it
# stands in for ix_webhook_deliveries_waiting.
DELIVERED_BY = (
    ("ix_webhook_deliveries_front", ("endpoint_id", "id", "due_at"), "state = 'waiting'"),
    (
        "ix_webhook_deliveries_alone",
        ("endpoint_id", "due_at"),
        "state = 'waiting' and conversation_id is null",
    ),
)


def upgrade() -> None:
    for name, columns, state in CLAIMED_BY:
        op.create_index(
            name,
            "messages",
            list(columns),
            postgresql_where=sa.text(f"state = '{state}'"),
            if_not_exists=True,
        )
    # Of whatever state: else Postgres, which while nothing is queued takes all indexes of queued
    # texts for equally small, may go through one of those for what is behind a text.
    op.create_index(
        "ix_messages_behind",
        "messages",
        ["follows"],
        postgresql_where=sa.text("follows is not null"),
        if_not_exists=True,
    )
    op.drop_index("ix_messages_follows", "messages")
    _less_to_keep()
    op.add_column("messages", sa.Column("traceparent", sa.Text()))
    op.add_column("carriers", sa.Column("previous_token", sa.Text()))
    op.add_column("carriers", sa.Column("previous_until", sa.DateTime(timezone=True)))
    _forgetting()
    for name, columns, where in DELIVERED_BY:
        op.create_index(
            name,
            "webhook_deliveries",
            list(columns),
            postgresql_where=sa.text(where),
            if_not_exists=True,
        )
    op.drop_index("ix_webhook_deliveries_waiting", "webhook_deliveries")
    for name, where in IN_TROUBLE:
        op.create_index(
            name, "webhook_endpoints", ["id"], postgresql_where=sa.text(where), if_not_exists=True
        )
    # By triggers, so that whatever changes a row tells of it: also an operator with psql.
    op.execute("""
        create function textback_provisioned() returns trigger language plpgsql as $$
        begin
            perform pg_notify('textback_provisioned', '');
            return null;
        end $$
    """)
    for table in PROVISIONED:
        columns = f" of {', '.join(OF_NUMBERS)}" if table == "numbers" else ""
        op.execute(
            f"create trigger {table}_provisioned"
            f" after insert or update{columns} or delete or truncate on {table}"
            " for each statement execute function textback_provisioned()"
        )


def _less_to_keep() -> None:
    """Each index is paid for with every text that is accepted, and often with every change of it.

    `ix_messages_line` is what claims go by now; the numbers of `ix_conversations_pair` come first.
    """
    op.drop_index("ix_messages_ready", "messages")
    op.drop_index("ix_conversations_number", "conversations")
    op.drop_index("ix_conversations_metadata", "conversations")
    op.create_index(
        "ix_conversations_metadata",
        "conversations",
        ["metadata"],
        postgresql_using="gin",
        postgresql_where=sa.text("metadata <> '{}'"),
    )


def _forgetting() -> None:
    for name, table, at, where in PAST:
        op.create_index(
            name, table, ["project_id", at], postgresql_where=sa.text(where), if_not_exists=True
        )
    text, count = sa.Text(), sa.BigInteger()
    op.create_table(
        "past_usage",
        sa.Column(
            "project_id", text, sa.ForeignKey("projects.id", name="fk_past_usage_project_id")
        ),
        sa.Column("day", sa.Date()),
        *(sa.Column(name, text) for name in ("agent_number", "kind", "state", "error_code")),
        *(
            sa.Column(name, count, nullable=False)
            for name in ("times", "segments", "segments_saved")
        ),
        sa.PrimaryKeyConstraint(
            *("project_id", "day", "agent_number", "kind", "state", "error_code"),
            name="pk_past_usage",
        ),
    )


def downgrade() -> None:
    op.create_index(
        "ix_messages_follows",
        "messages",
        ["follows"],
        postgresql_where=sa.text("follows is not null and state = 'queued'"),
    )
    op.drop_index("ix_messages_behind", "messages")
    op.drop_index("ix_conversations_metadata", "conversations")
    op.create_index(
        "ix_conversations_metadata", "conversations", ["metadata"], postgresql_using="gin"
    )
    op.create_index("ix_conversations_number", "conversations", ["agent_number", "opened_at"])
    op.create_index(
        "ix_messages_ready",
        "messages",
        ["priority", "seq"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    for name, _columns, _state in reversed(CLAIMED_BY):
        op.drop_index(name, "messages")
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["endpoint_id", "id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    for name, _columns, _where in reversed(DELIVERED_BY):
        op.drop_index(name, "webhook_deliveries")
    for name, _where in reversed(IN_TROUBLE):
        op.drop_index(name, "webhook_endpoints")
    op.drop_table("past_usage")
    for name, table, _at, _where in reversed(PAST):
        op.drop_index(name, table)
    for table in PROVISIONED:
        op.execute(f"drop trigger {table}_provisioned on {table}")
    op.execute("drop function textback_provisioned()")
    op.drop_column("messages", "traceparent")
    op.drop_column("carriers", "previous_token")
    op.drop_column("carriers", "previous_until")
