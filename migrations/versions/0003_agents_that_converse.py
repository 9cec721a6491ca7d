"""agents that converse

Revision: 0003, after 0002

Agents have numbered versions, and a conversation keeps the one it began with. Calls of tools are on
record; a turn can run again, or be answered later; a person can take over; texts follow each other.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)
EMPTY = sa.text("'{}'")
ZERO = sa.text("0")


def upgrade() -> None:
    _versions()
    _conversations()
    _turns()
    op.create_table(
        "tool_calls",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("conversation_id", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("turn_id", sa.Text, sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("arguments", JSONB, nullable=False),
        sa.Column("began_at", WHEN, nullable=False),
        sa.Column("ended_at", WHEN),
        sa.Column("result", sa.Text),
        sa.Column("failed", sa.Boolean),
        sa.CheckConstraint(
            "(ended_at is null) = (result is null)", name=op.f("ck_tool_calls_result")
        ),
        sa.CheckConstraint(
            "(ended_at is null) = (failed is null)", name=op.f("ck_tool_calls_failed")
        ),
    )
    op.create_index("ix_tool_calls_conversation", "tool_calls", ["conversation_id", "seq"])
    op.create_index("ix_tool_calls_turn", "tool_calls", ["turn_id"])
    op.create_table(
        "usage_days",
        sa.Column("project_id", sa.Text, sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("turns", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("tokens", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("cost_usd", sa.Float, nullable=False, server_default=ZERO),
        sa.Column("told_at", WHEN),
    )
    op.add_column("messages", sa.Column("follows", sa.Text))
    op.add_column("messages", sa.Column("part_wait", sa.Interval))
    op.create_check_constraint(
        op.f("ck_messages_part_wait"), "messages", "follows is not null or part_wait is null"
    )
    op.add_column("messages", sa.Column("segments", sa.SmallInteger))
    op.add_column(
        "messages",
        sa.Column("segments_saved", sa.SmallInteger, nullable=False, server_default=ZERO),
    )
    op.create_index(
        "ix_messages_follows",
        "messages",
        ["follows"],
        postgresql_where=sa.text("follows is not null and state = 'queued'"),
    )


def _versions() -> None:
    op.create_table(
        "agent_versions",
        sa.Column("agent_id", sa.Text, sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("greeting", sa.Text),
        sa.Column("fallback", sa.Text),
        sa.Column("engine", JSONB, nullable=False),
        sa.Column("secrets", JSONB, nullable=False, server_default=EMPTY),
        sa.Column("can_open", sa.Boolean, nullable=False),
        sa.Column("deadline_seconds", sa.Float, nullable=False),
        sa.Column("earlier", sa.SmallInteger, nullable=False, server_default=ZERO),
        sa.Column("nodes", JSONB, nullable=False, server_default=sa.text("'[]'")),
        sa.Column("analysis", JSONB),
    )
    op.execute(
        "insert into agent_versions (agent_id, number, created_at, greeting, fallback, engine,"
        " secrets, can_open, deadline_seconds) select id, 1, now(), greeting, fallback,"
        " engine - 'secret', case when engine ? 'secret'"
        " then jsonb_build_object('secret', engine -> 'secret') else '{}' end,"
        " can_open, deadline_seconds from agents"
    )
    for column in ("greeting", "fallback", "engine", "can_open", "deadline_seconds"):
        op.drop_column("agents", column)
    op.add_column(
        "agents", sa.Column("production", sa.Integer, nullable=False, server_default=sa.text("1"))
    )
    op.alter_column("agents", "production", server_default=None)
    op.add_column("agents", sa.Column("draft", sa.Integer))
    for label in ("production", "draft"):
        # At the commit: an agent and its first version need each other.
        op.create_foreign_key(
            op.f(f"fk_agents_{label}"),
            "agents",
            "agent_versions",
            ["id", label],
            ["agent_id", "number"],
            deferrable=True,
            initially="DEFERRED",
        )


def _conversations() -> None:
    op.add_column(
        "conversations",
        sa.Column("agent_version", sa.Integer, nullable=False, server_default=sa.text("1")),
    )
    op.alter_column("conversations", "agent_version", server_default=None)
    op.drop_constraint(op.f("fk_conversations_agent_id"), "conversations")  # the next says it too
    op.create_foreign_key(
        op.f("fk_conversations_agent_id_agent_version"),
        "conversations",
        "agent_versions",
        ["agent_id", "agent_version"],
        ["agent_id", "number"],
    )
    for name, type_, default in (
        ("variables", JSONB, EMPTY),
        ("engine_state", JSONB, EMPTY),
        ("turns_taken", sa.Integer, ZERO),
        ("tokens_used", sa.BigInteger, ZERO),
        ("cost_usd", sa.Float, ZERO),
        ("analysis_attempts", sa.SmallInteger, ZERO),
    ):
        op.add_column(
            "conversations", sa.Column(name, type_, nullable=False, server_default=default)
        )
    for name, type_ in (
        ("objective", sa.Text),
        ("start_node", sa.Text),
        ("handed_off_at", WHEN),
        ("why_handed_off", sa.Text),
        ("analysis_due_at", WHEN),
        ("analysis", JSONB),
    ):
        op.add_column("conversations", sa.Column(name, type_))
    op.drop_constraint(op.f("ck_conversations_state"), "conversations")
    for name, condition in (
        (
            "state",
            "state in ('opened', 'engaged', 'warned', 'paused', 'handed_off', 'closed')",
        ),
        ("handed_off", "(state = 'handed_off') = (handed_off_at is not null)"),
        ("why_handed_off", "(state = 'handed_off') = (why_handed_off is not null)"),
        ("analysis", "state = 'closed' or analysis_due_at is null"),
    ):
        op.create_check_constraint(op.f(f"ck_conversations_{name}"), "conversations", condition)
    op.create_index(
        "ix_conversations_analysis",
        "conversations",
        ["analysis_due_at"],
        postgresql_where=sa.text("analysis_due_at is not null"),
    )


def _turns() -> None:
    op.add_column("turns", sa.Column("again_at", WHEN))
    for name in ("run", "restarts"):
        op.add_column("turns", sa.Column(name, sa.Integer, nullable=False, server_default=ZERO))
    op.drop_index("uq_turns_thinking", "turns")
    op.drop_index("ix_turns_lease", "turns")
    for name in ("state", "thinking"):
        op.drop_constraint(op.f(f"ck_turns_{name}"), "turns")
    under_way = "state in ('thinking', 'awaiting')"
    for name, condition in (
        ("state", "state in ('waiting', 'thinking', 'awaiting', 'ended')"),
        ("thinking", f"({under_way}) = (lease_until is not null)"),
        ("again", "state = 'thinking' or again_at is null"),
    ):
        op.create_check_constraint(op.f(f"ck_turns_{name}"), "turns", condition)
    where = sa.text(under_way)
    op.create_index("ix_turns_lease", "turns", ["lease_until"], postgresql_where=where)
    op.create_index(
        "uq_turns_thinking", "turns", ["conversation_id"], unique=True, postgresql_where=where
    )


def downgrade() -> None:
    op.drop_index("ix_messages_follows", "messages")
    op.drop_constraint(op.f("ck_messages_part_wait"), "messages")
    for column in ("follows", "part_wait", "segments", "segments_saved"):
        op.drop_column("messages", column)
    op.drop_table("usage_days")
    op.drop_table("tool_calls")
    _turns_back()
    _conversations_back()
    for column, type_ in (
        ("greeting", sa.Text),
        ("fallback", sa.Text),
        ("engine", JSONB),
        ("can_open", sa.Boolean),
        ("deadline_seconds", sa.Float),
    ):
        op.add_column("agents", sa.Column(column, type_))
    op.execute(
        "update agents set greeting = v.greeting, fallback = v.fallback, can_open = v.can_open,"
        " engine = v.engine || v.secrets, deadline_seconds = v.deadline_seconds"
        " from agent_versions v where v.agent_id = agents.id and v.number = agents.production"
    )
    for column in ("engine", "can_open", "deadline_seconds"):
        op.alter_column("agents", column, nullable=False)
    for label in ("production", "draft"):
        op.drop_constraint(op.f(f"fk_agents_{label}"), "agents")
        op.drop_column("agents", label)
    op.drop_table("agent_versions")


def _turns_back() -> None:
    op.execute(
        "update turns set state = 'waiting', due_at = lease_until, lease_until = null,"
        " upto_seq = null where state = 'awaiting' and not exists (select from turns w"
        " where w.conversation_id = turns.conversation_id and w.state = 'waiting')"
    )
    op.execute(
        "update turns set state = 'ended', ended_at = lease_until, outcome = 'merged',"
        " lease_until = null where state = 'awaiting'"
    )
    op.drop_index("uq_turns_thinking", "turns")
    op.drop_index("ix_turns_lease", "turns")
    for name in ("again", "state", "thinking"):
        op.drop_constraint(op.f(f"ck_turns_{name}"), "turns")
    op.create_check_constraint(
        op.f("ck_turns_state"), "turns", "state in ('waiting', 'thinking', 'ended')"
    )
    op.create_check_constraint(
        op.f("ck_turns_thinking"), "turns", "(state = 'thinking') = (lease_until is not null)"
    )
    where = sa.text("state = 'thinking'")
    op.create_index("ix_turns_lease", "turns", ["lease_until"], postgresql_where=where)
    op.create_index(
        "uq_turns_thinking", "turns", ["conversation_id"], unique=True, postgresql_where=where
    )
    for column in ("again_at", "run", "restarts"):
        op.drop_column("turns", column)


def _conversations_back() -> None:
    op.execute(
        "update conversations set state = 'engaged', handed_off_at = null, why_handed_off = null,"
        " deadline_at = active_at + interval '24 hours' where state = 'handed_off'"
    )
    op.execute("update conversations set reason = 'operator' where reason = 'budget'")
    op.drop_index("ix_conversations_analysis", "conversations")
    for name in ("analysis", "why_handed_off", "handed_off", "state"):
        op.drop_constraint(op.f(f"ck_conversations_{name}"), "conversations")
    op.create_check_constraint(
        op.f("ck_conversations_state"),
        "conversations",
        "state in ('opened', 'engaged', 'warned', 'paused', 'closed')",
    )
    op.drop_constraint(op.f("fk_conversations_agent_id_agent_version"), "conversations")
    op.create_foreign_key(
        op.f("fk_conversations_agent_id"), "conversations", "agents", ["agent_id"], ["id"]
    )
    for column in (
        "agent_version",
        "variables",
        "engine_state",
        "turns_taken",
        "tokens_used",
        "cost_usd",
        "analysis_attempts",
        "objective",
        "start_node",
        "handed_off_at",
        "why_handed_off",
        "analysis_due_at",
        "analysis",
    ):
        op.drop_column("conversations", column)
