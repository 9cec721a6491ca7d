"""every way in, and events out

Revision: 0004, after 0003

Webhooks with their deliveries; batches and sends that are not due yet; what an API can manage
beside the file, and keys that may do some things only; words can be searched.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)
EMPTY = sa.text("'{}'")
FILE = sa.text("'file'")
MANAGED = ("accounts", "agents", "api_keys", "carriers", "connectors", "numbers", "projects")


def upgrade() -> None:
    _tenants()
    _what_there_was()
    _plans()
    _webhooks()


def _tenants() -> None:
    for table in MANAGED:
        op.add_column(table, sa.Column("source", sa.Text, server_default=FILE, nullable=False))
    op.add_column("accounts", sa.Column("agent_template", sa.Text))
    op.add_column("accounts", sa.Column("webhook_secret", sa.Text))
    op.add_column("agents", sa.Column("extra", JSONB, server_default=EMPTY, nullable=False))
    op.add_column("api_keys", sa.Column("scopes", JSONB))
    op.add_column("api_keys", sa.Column("public_id", sa.Text))
    op.add_column("api_keys", sa.Column("previous_hash", sa.LargeBinary))
    op.add_column("api_keys", sa.Column("previous_until", WHEN))
    op.create_unique_constraint(op.f("uq_api_keys_previous_hash"), "api_keys", ["previous_hash"])
    op.create_unique_constraint(op.f("uq_api_keys_public_id"), "api_keys", ["public_id"])
    op.add_column("numbers", sa.Column("agent_id", sa.Text))
    op.add_column(
        "numbers", sa.Column("replies", sa.Boolean, server_default=sa.text("true"), nullable=False)
    )
    op.add_column("numbers", sa.Column("registration", sa.Text))
    op.add_column("numbers", sa.Column("messaging_service_sid", sa.Text))
    op.add_column("numbers", sa.Column("config", JSONB, server_default=EMPTY, nullable=False))
    op.create_foreign_key(op.f("fk_numbers_agent_id"), "numbers", "agents", ["agent_id"], ["id"])
    op.create_table(
        "jwt_apps",
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("scopes", JSONB),
        sa.Column("require_jti", sa.Boolean, server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("revoked_at", WHEN),
        sa.Column("source", sa.Text, server_default=FILE, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_jwt_apps_account_id")
        ),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_jwt_apps")),
    )
    op.create_table(
        "jwt_ids",
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("jti", sa.Text, nullable=False),
        sa.Column("expires_at", WHEN, nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"], ["jwt_apps.client_id"], name=op.f("fk_jwt_ids_client_id")
        ),
        sa.PrimaryKeyConstraint("client_id", "jti", name=op.f("pk_jwt_ids")),
    )
    op.create_index(op.f("ix_jwt_ids_expires_at"), "jwt_ids", ["expires_at"])


def _what_there_was() -> None:
    op.add_column("conversations", sa.Column("idle", JSONB))
    op.add_column(
        "conversations",
        sa.Column("reopens", sa.Boolean, server_default=sa.text("true"), nullable=False),
    )
    op.add_column("conversations", sa.Column("dialect", sa.Text))
    op.add_column("conversations", sa.Column("extra", JSONB, server_default=EMPTY, nullable=False))
    op.create_index("ix_conversations_account", "conversations", ["account_id", "id"])
    op.create_index(
        "ix_conversations_metadata", "conversations", ["metadata"], postgresql_using="gin"
    )
    op.create_table(
        "erased_texts",
        sa.Column("carrier_id", sa.Text, nullable=False),
        sa.Column("carrier_message_id", sa.Text, nullable=False),
        sa.Column("erased_at", WHEN, nullable=False),
        sa.PrimaryKeyConstraint("carrier_id", "carrier_message_id", name=op.f("pk_erased_texts")),
    )
    op.add_column("events", sa.Column("account_id", sa.Text))
    op.add_column("events", sa.Column("project_id", sa.Text))
    op.alter_column("events", "conversation_id", existing_type=sa.Text, nullable=True)
    op.create_index(
        "ix_events_account",
        "events",
        ["account_id", "id"],
        postgresql_where=sa.text("account_id is not null"),
    )
    op.create_index(
        "ix_events_message",
        "events",
        ["message_id", "id"],
        postgresql_where=sa.text("message_id is not null"),
    )
    op.create_check_constraint(
        op.f("ck_events_of_somebody"),
        "events",
        "conversation_id is not null or account_id is not null",
    )
    op.create_foreign_key(
        op.f("fk_events_account_id"), "events", "accounts", ["account_id"], ["id"]
    )
    op.add_column("idempotency_keys", sa.Column("answer", JSONB))
    op.alter_column("idempotency_keys", "conversation_id", existing_type=sa.Text, nullable=True)
    op.alter_column("idempotency_keys", "message_id", existing_type=sa.Text, nullable=True)
    op.add_column("messages", sa.Column("template", JSONB))
    op.create_index("ix_messages_project", "messages", ["project_id", "created_at", "id"])
    op.create_index(
        "ix_messages_words",
        "messages",
        [sa.literal_column("to_tsvector('simple', text)")],
        postgresql_using="gin",
    )
    op.add_column("opt_outs", sa.Column("reason", sa.Text))
    op.add_column("opt_outs", sa.Column("opted_in_source", sa.Text))
    op.add_column("opt_outs", sa.Column("opted_in_reason", sa.Text))
    op.create_index("ix_opt_outs_agent", "opt_outs", ["agent_number", "id"])


def _plans() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_account", "uploads", ["account_id", "created_at"])
    op.create_table(
        "batches",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("connector_id", sa.Text),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("send_at", WHEN),
        sa.Column("served_at", WHEN),
        sa.Column("ended_at", WHEN),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("command", JSONB, nullable=False),
        sa.Column("extra", JSONB, server_default=EMPTY, nullable=False),
        sa.CheckConstraint(
            "(state in ('cancelled', 'done')) = (ended_at is not null)",
            name=op.f("ck_batches_ended"),
        ),
        sa.CheckConstraint(
            "state in ('draft', 'running', 'paused', 'cancelled', 'done')",
            name=op.f("ck_batches_state"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_batches_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_batches_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_account", "batches", ["account_id", "id"])
    op.create_index(
        "ix_batches_running",
        "batches",
        ["served_at"],
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "planned_sends",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("conversation_id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text, nullable=False),
        sa.Column("connector_id", sa.Text),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("batch_id", sa.Text),
        sa.Column("row", sa.Integer),
        sa.Column("user_number", sa.Text, nullable=False),
        sa.Column("command", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", WHEN),
        sa.Column("why", sa.Text),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("ended_at", WHEN),
        sa.Column("problem", sa.Text),
        sa.Column("error", sa.Text),
        sa.CheckConstraint(
            "(state <> 'planned') = (ended_at is not null)", name=op.f("ck_planned_sends_ended")
        ),
        sa.CheckConstraint(
            "(state = 'planned') = (due_at is not null)", name=op.f("ck_planned_sends_planned")
        ),
        sa.CheckConstraint(
            "(state = 'refused') = (problem is not null)", name=op.f("ck_planned_sends_problem")
        ),
        sa.CheckConstraint(
            "state in ('planned', 'accepted', 'refused', 'cancelled')",
            name=op.f("ck_planned_sends_state"),
        ),
        sa.CheckConstraint(
            "(batch_id is null) = (row is null)", name=op.f("ck_planned_sends_batch")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_planned_sends_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name=op.f("fk_planned_sends_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_planned_sends_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_planned_sends")),
        sa.UniqueConstraint("seq", name=op.f("uq_planned_sends_seq")),
    )
    op.create_index(
        "ix_planned_sends_batch",
        "planned_sends",
        ["batch_id", "due_at", "seq"],
        postgresql_where=sa.text("state = 'planned'"),
    )
    op.create_index("ix_planned_sends_conversation", "planned_sends", ["conversation_id"])
    op.create_index(
        "ix_planned_sends_due",
        "planned_sends",
        ["account_id", "due_at", "seq"],
        postgresql_where=sa.text("state = 'planned' and batch_id is null"),
    )
    op.create_index(
        "ix_planned_sends_account",
        "planned_sends",
        ["account_id", "id"],
        postgresql_where=sa.text("batch_id is null"),
    )
    op.create_index(
        "ix_planned_sends_user",
        "planned_sends",
        ["account_id", "user_number", "due_at", "seq"],
        postgresql_where=sa.text("state = 'planned'"),
    )
    op.create_index("uq_planned_sends_row", "planned_sends", ["batch_id", "row"], unique=True)


def _webhooks() -> None:
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("project_id", sa.Text),
        sa.Column("conversation_id", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("kinds", JSONB, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("secrets", JSONB, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("state", sa.Text, server_default=sa.text("'active'"), nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("failures", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("failing_since", WHEN),
        sa.Column("hold_until", WHEN),
        sa.Column("polled_at", WHEN),
        sa.Column("paused_at", WHEN),
        sa.Column("why_paused", sa.Text),
        sa.Column("removed_at", WHEN),
        sa.Column("source", sa.Text, server_default=sa.text("'api'"), nullable=False),
        sa.CheckConstraint(
            "(state = 'paused') = (paused_at is not null)", name=op.f("ck_webhook_endpoints_paused")
        ),
        sa.CheckConstraint(
            "(state = 'paused') = (why_paused is not null)",
            name=op.f("ck_webhook_endpoints_why_paused"),
        ),
        sa.CheckConstraint(
            "(state = 'removed') = (removed_at is not null)",
            name=op.f("ck_webhook_endpoints_removed"),
        ),
        sa.CheckConstraint(
            "state in ('active', 'paused', 'removed')", name=op.f("ck_webhook_endpoints_state")
        ),
        sa.CheckConstraint(
            "(failures > 0) = (failing_since is not null)",
            name=op.f("ck_webhook_endpoints_failing"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_webhook_endpoints_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_webhook_endpoints_conversation_id"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_webhook_endpoints_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index(
        "ix_webhook_endpoints_account", "webhook_endpoints", ["account_id", "project_id"]
    )
    op.create_index(
        "ix_webhook_endpoints_conversation",
        "webhook_endpoints",
        ["conversation_id"],
        postgresql_where=sa.text("conversation_id is not null"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("endpoint_id", sa.Text, nullable=False),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("conversation_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("due_at", WHEN),
        sa.Column("lease_until", WHEN),
        sa.Column("tries", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("body", sa.Text),
        sa.Column("ended_at", WHEN),
        sa.Column("pulled", sa.Boolean, server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "(state = 'delivering') = (lease_until is not null)",
            name=op.f("ck_webhook_deliveries_delivering"),
        ),
        sa.CheckConstraint(
            "(state = 'waiting') = (due_at is not null)", name=op.f("ck_webhook_deliveries_waiting")
        ),
        sa.CheckConstraint(
            "(state in ('delivered', 'failed', 'skipped')) = (ended_at is not null)",
            name=op.f("ck_webhook_deliveries_ended"),
        ),
        sa.CheckConstraint(
            "state in ('waiting', 'delivering', 'delivered', 'failed', 'skipped')",
            name=op.f("ck_webhook_deliveries_state"),
        ),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["webhook_endpoints.id"],
            name=op.f("fk_webhook_deliveries_endpoint_id"),
        ),
        sa.ForeignKeyConstraint(
            ["event_id"], ["events.id"], name=op.f("fk_webhook_deliveries_event_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_conversation", "webhook_deliveries", ["conversation_id", "id"]
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["due_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_webhook_deliveries_endpoint", "webhook_deliveries", ["endpoint_id", "id"])
    op.create_index("ix_webhook_deliveries_event", "webhook_deliveries", ["event_id"])
    op.create_index(
        "ix_webhook_deliveries_lease",
        "webhook_deliveries",
        ["lease_until"],
        postgresql_where=sa.text("state = 'delivering'"),
    )
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["endpoint_id", "id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "uq_webhook_deliveries_delivering",
        "webhook_deliveries",
        ["endpoint_id", "conversation_id"],
        unique=True,
        postgresql_where=sa.text("state = 'delivering' and not pulled"),
    )
    op.create_index(
        "ix_webhook_deliveries_undone",
        "webhook_deliveries",
        ["endpoint_id", "conversation_id", "id"],
        postgresql_where=sa.text("state in ('waiting', 'delivering')"),
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("delivery_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", WHEN, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("answer", sa.Text),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["webhook_deliveries.id"], name=op.f("fk_webhook_attempts_delivery_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_attempts")),
        sa.UniqueConstraint(
            "delivery_id", "number", name=op.f("uq_webhook_attempts_delivery_id_number")
        ),
    )


def downgrade() -> None:
    for table in (
        "webhook_attempts",
        "webhook_deliveries",
        "webhook_endpoints",
        "planned_sends",
        "batches",
        "uploads",
        "jwt_ids",
        "jwt_apps",
    ):
        op.drop_table(table)
    for table in MANAGED:
        op.drop_column(table, "source")
    op.drop_index("ix_opt_outs_agent", table_name="opt_outs")
    op.drop_column("opt_outs", "opted_in_reason")
    op.drop_column("opt_outs", "opted_in_source")
    op.drop_column("opt_outs", "reason")
    op.drop_constraint(op.f("fk_numbers_agent_id"), "numbers", type_="foreignkey")
    op.drop_column("numbers", "config")
    op.drop_column("numbers", "messaging_service_sid")
    op.drop_column("numbers", "registration")
    op.drop_column("numbers", "replies")
    op.drop_column("numbers", "agent_id")
    op.drop_index("ix_messages_words", table_name="messages")
    op.drop_index("ix_messages_project", table_name="messages")
    op.drop_column("messages", "template")
    op.execute("delete from idempotency_keys where conversation_id is null or message_id is null")
    op.alter_column("idempotency_keys", "message_id", existing_type=sa.Text, nullable=False)
    op.alter_column("idempotency_keys", "conversation_id", existing_type=sa.Text, nullable=False)
    op.drop_column("idempotency_keys", "answer")
    op.drop_constraint(op.f("fk_events_account_id"), "events", type_="foreignkey")
    op.drop_constraint(op.f("ck_events_of_somebody"), "events")
    op.execute("delete from events where conversation_id is null")
    op.drop_index("ix_events_message", table_name="events")
    op.drop_index("ix_events_account", table_name="events")
    op.alter_column("events", "conversation_id", existing_type=sa.Text, nullable=False)
    op.drop_column("events", "project_id")
    op.drop_column("events", "account_id")
    op.drop_table("erased_texts")
    op.drop_index("ix_conversations_metadata", table_name="conversations")
    op.drop_index("ix_conversations_account", table_name="conversations")
    op.drop_column("conversations", "extra")
    op.drop_column("conversations", "dialect")
    op.drop_column("conversations", "reopens")
    op.drop_column("conversations", "idle")
    op.drop_constraint(op.f("uq_api_keys_public_id"), "api_keys", type_="unique")
    op.drop_constraint(op.f("uq_api_keys_previous_hash"), "api_keys", type_="unique")
    op.drop_column("api_keys", "previous_until")
    op.drop_column("api_keys", "previous_hash")
    op.drop_column("api_keys", "public_id")
    op.drop_column("api_keys", "scopes")
    op.drop_column("agents", "extra")
    op.drop_column("accounts", "webhook_secret")
    op.drop_column("accounts", "agent_template")
