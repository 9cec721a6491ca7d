"""the main job

Revision: 0001, after nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
    )
    op.create_table(
        "opt_outs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("agent_number", sa.Text(), nullable=False),
        sa.Column("user_number", sa.Text(), nullable=False),
        sa.Column("opted_out_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=True),
        sa.Column("carrier_message_id", sa.Text(), nullable=True),
        sa.Column("opted_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opted_in_words", sa.Text(), nullable=True),
        sa.Column("opted_in_carrier_message_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_opt_outs")),
    )
    op.create_index(
        "uq_opt_outs_standing",
        "opt_outs",
        ["user_number", "agent_number"],
        unique=True,
        postgresql_where=sa.text("opted_in_at is null"),
    )
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("greeting", sa.Text(), nullable=True),
        sa.Column("fallback", sa.Text(), nullable=True),
        sa.Column("engine", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("can_open", sa.Boolean(), nullable=False),
        sa.Column("deadline_seconds", sa.Float(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_agents_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agents")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_api_keys_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_api_keys_account_id_name")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_table(
        "carriers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("account_sid", sa.Text(), nullable=False),
        sa.Column("auth_token", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_carriers_account_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_carriers")),
        sa.UniqueConstraint("account_sid", name=op.f("uq_carriers_account_sid")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_idempotency_keys_account_id")
        ),
        sa.PrimaryKeyConstraint("account_id", "route", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(
        op.f("ix_idempotency_keys_expires_at"), "idempotency_keys", ["expires_at"], unique=False
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("policy", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_projects_account_id")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_projects_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    op.create_table(
        "connectors",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_connectors_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connectors")),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("connector_id", sa.Text(), nullable=True),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("agent_number", sa.Text(), nullable=False),
        sa.Column("user_number", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("active_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heard_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "metadata",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(state = 'closed') = (closed_at is not null)", name=op.f("ck_conversations_closed")
        ),
        sa.CheckConstraint(
            "(state = 'closed') = (reason is not null)", name=op.f("ck_conversations_reason")
        ),
        sa.CheckConstraint(
            "(state = 'warned') = (warned_at is not null)", name=op.f("ck_conversations_warned")
        ),
        sa.CheckConstraint(
            "state <> 'closed' or deadline_at is null", name=op.f("ck_conversations_deadline")
        ),
        sa.CheckConstraint(
            "state in ('opened', 'engaged', 'warned', 'closed')",
            name=op.f("ck_conversations_state"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_conversations_account_id")
        ),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_conversations_agent_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_conversations_project_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
    )
    op.create_index(
        "ix_conversations_due",
        "conversations",
        ["deadline_at"],
        unique=False,
        postgresql_where=sa.text("deadline_at is not null"),
    )
    op.create_index(
        "ix_conversations_number", "conversations", ["agent_number", "opened_at"], unique=False
    )
    op.create_index(
        "ix_conversations_pair",
        "conversations",
        ["agent_number", "user_number", "opened_at"],
        unique=False,
    )
    op.create_index(
        "ix_conversations_user",
        "conversations",
        ["project_id", "user_number", "opened_at"],
        unique=False,
    )
    op.create_index(
        "uq_conversations_live",
        "conversations",
        ["agent_number", "user_number"],
        unique=True,
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "numbers",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("carrier_id", sa.Text(), nullable=False),
        sa.Column("segments_per_second", sa.Float(), nullable=False),
        sa.Column("opt_out_replies", sa.Text(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["carrier_id"], ["carriers.id"], name=op.f("fk_numbers_carrier_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_numbers_project_id")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_numbers")),
    )
    op.create_index(op.f("ix_numbers_project_id"), "numbers", ["project_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_events_conversation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_conversation", "events", ["conversation_id", "id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("carrier_id", sa.Text(), nullable=False),
        sa.Column("agent_number", sa.Text(), nullable=False),
        sa.Column("user_number", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column(
            "media",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("uncertain_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("look_up_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("look_ups", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("carrier_message_id", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("dropped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drop_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(direction = 'inbound') = (state = 'received')", name=op.f("ck_messages_inbound")
        ),
        sa.CheckConstraint(
            "(direction = 'outbound') = (expires_at is not null)", name=op.f("ck_messages_validity")
        ),
        sa.CheckConstraint(
            "(state = 'delivered') = (delivered_at is not null)", name=op.f("ck_messages_delivered")
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (error_code is not null)", name=op.f("ck_messages_error_code")
        ),
        sa.CheckConstraint(
            "(state = 'failed') = (failed_at is not null)", name=op.f("ck_messages_failed")
        ),
        sa.CheckConstraint(
            "(state = 'queued') = (due_at is not null)", name=op.f("ck_messages_queued")
        ),
        sa.CheckConstraint(
            "(state = 'sending') = (lease_until is not null)", name=op.f("ck_messages_sending")
        ),
        sa.CheckConstraint(
            "(state = 'suppressed') = (drop_reason is not null)",
            name=op.f("ck_messages_drop_reason"),
        ),
        sa.CheckConstraint(
            "(state = 'suppressed') = (dropped_at is not null)", name=op.f("ck_messages_suppressed")
        ),
        sa.CheckConstraint(
            "(state = 'uncertain') = (uncertain_at is not null)", name=op.f("ck_messages_uncertain")
        ),
        sa.CheckConstraint(
            "(state in ('received', 'sent', 'delivered')) = (carrier_message_id is not null)"
            " or state = 'failed'",
            name=op.f("ck_messages_carrier_message_id"),
        ),
        sa.CheckConstraint(
            "(state in ('sent', 'delivered')) = (sent_at is not null) or state = 'failed'",
            name=op.f("ck_messages_sent"),
        ),
        sa.CheckConstraint(
            "(state in ('sending', 'uncertain')) = (claimed_at is not null)",
            name=op.f("ck_messages_claimed"),
        ),
        sa.CheckConstraint(
            "direction in ('inbound', 'outbound')", name=op.f("ck_messages_direction")
        ),
        sa.CheckConstraint(
            "state = 'uncertain' or look_up_at is null", name=op.f("ck_messages_look_up")
        ),
        sa.CheckConstraint(
            "state in ('received', 'queued', 'sending', 'uncertain', 'sent', 'delivered', 'failed',"
            " 'suppressed')",
            name=op.f("ck_messages_state"),
        ),
        sa.ForeignKeyConstraint(
            ["carrier_id"], ["carriers.id"], name=op.f("fk_messages_carrier_id")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_messages_conversation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("seq", name=op.f("uq_messages_seq")),
    )
    op.create_index(
        "ix_messages_conversation", "messages", ["conversation_id", "seq"], unique=False
    )
    op.create_index(
        "ix_messages_due",
        "messages",
        ["priority", "due_at", "seq"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_messages_heard",
        "messages",
        ["project_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("direction = 'inbound'"),
    )
    op.create_index(
        "ix_messages_in_flight",
        "messages",
        ["agent_number", "user_number", "seq"],
        unique=False,
        postgresql_where=sa.text("state in ('queued', 'sending', 'uncertain')"),
    )
    op.create_index(
        "ix_messages_lease",
        "messages",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_messages_look_up",
        "messages",
        ["look_up_at"],
        unique=False,
        postgresql_where=sa.text("state = 'uncertain'"),
    )
    op.create_index(
        "ix_messages_pair", "messages", ["agent_number", "user_number", "seq"], unique=False
    )
    op.create_index(
        "uq_messages_carrier_message_id",
        "messages",
        ["carrier_id", "carrier_message_id"],
        unique=True,
        postgresql_where=sa.text("carrier_message_id is not null"),
    )
    op.create_index(
        "uq_messages_sending",
        "messages",
        ["agent_number", "user_number"],
        unique=True,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_table(
        "turns",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_text_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opener_id", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("upto_seq", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'ended') = (ended_at is not null)", name=op.f("ck_turns_ended")
        ),
        sa.CheckConstraint(
            "(state = 'ended') = (outcome is not null)", name=op.f("ck_turns_outcome")
        ),
        sa.CheckConstraint(
            "(state = 'thinking') = (lease_until is not null)", name=op.f("ck_turns_thinking")
        ),
        sa.CheckConstraint(
            "(state = 'waiting') = (due_at is not null)", name=op.f("ck_turns_waiting")
        ),
        sa.CheckConstraint(
            "state in ('waiting', 'thinking', 'ended')", name=op.f("ck_turns_state")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversations.id"], name=op.f("fk_turns_conversation_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turns")),
    )
    op.create_index("ix_turns_conversation", "turns", ["conversation_id"], unique=False)
    op.create_index(
        "ix_turns_due",
        "turns",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_turns_lease",
        "turns",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'thinking'"),
    )
    op.create_index(
        "uq_turns_thinking",
        "turns",
        ["conversation_id"],
        unique=True,
        postgresql_where=sa.text("state = 'thinking'"),
    )
    op.create_index(
        "uq_turns_waiting",
        "turns",
        ["conversation_id"],
        unique=True,
        postgresql_where=sa.text("state = 'waiting'"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_turns_waiting", table_name="turns", postgresql_where=sa.text("state = 'waiting'")
    )
    op.drop_index(
        "uq_turns_thinking", table_name="turns", postgresql_where=sa.text("state = 'thinking'")
    )
    op.drop_index(
        "ix_turns_lease", table_name="turns", postgresql_where=sa.text("state = 'thinking'")
    )
    op.drop_index("ix_turns_due", table_name="turns", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_index("ix_turns_conversation", table_name="turns")
    op.drop_table("turns")
    op.drop_index(
        "uq_messages_sending", table_name="messages", postgresql_where=sa.text("state = 'sending'")
    )
    op.drop_index(
        "uq_messages_carrier_message_id",
        table_name="messages",
        postgresql_where=sa.text("carrier_message_id is not null"),
    )
    op.drop_index("ix_messages_pair", table_name="messages")
    op.drop_index(
        "ix_messages_look_up",
        table_name="messages",
        postgresql_where=sa.text("state = 'uncertain'"),
    )
    op.drop_index(
        "ix_messages_lease", table_name="messages", postgresql_where=sa.text("state = 'sending'")
    )
    op.drop_index(
        "ix_messages_in_flight",
        table_name="messages",
        postgresql_where=sa.text("state in ('queued', 'sending', 'uncertain')"),
    )
    op.drop_index(
        "ix_messages_heard",
        table_name="messages",
        postgresql_where=sa.text("direction = 'inbound'"),
    )
    op.drop_index(
        "ix_messages_due", table_name="messages", postgresql_where=sa.text("state = 'queued'")
    )
    op.drop_index("ix_messages_conversation", table_name="messages")
    op.drop_table("messages")
    op.drop_index("ix_events_conversation", table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_numbers_project_id"), table_name="numbers")
    op.drop_table("numbers")
    op.drop_index(
        "uq_conversations_live",
        table_name="conversations",
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.drop_index("ix_conversations_user", table_name="conversations")
    op.drop_index("ix_conversations_pair", table_name="conversations")
    op.drop_index("ix_conversations_number", table_name="conversations")
    op.drop_index(
        "ix_conversations_due",
        table_name="conversations",
        postgresql_where=sa.text("deadline_at is not null"),
    )
    op.drop_table("conversations")
    op.drop_table("connectors")
    op.drop_table("projects")
    op.drop_index(op.f("ix_idempotency_keys_expires_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("carriers")
    op.drop_table("api_keys")
    op.drop_table("agents")
    op.drop_index(
        "uq_opt_outs_standing",
        table_name="opt_outs",
        postgresql_where=sa.text("opted_in_at is null"),
    )
    op.drop_table("opt_outs")
    op.drop_table("accounts")
