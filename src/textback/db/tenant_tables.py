"""The tables of what was provisioned. `removed_at`: the file no longer named it, after --prune."""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from textback.db.metadata import WHEN, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("removed_at", WHEN),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", WHEN, nullable=False),
    Column("expires_at", WHEN),
    Column("revoked_at", WHEN),
    UniqueConstraint("account_id", "name"),
)

carriers = Table(
    "carriers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("account_sid", Text, nullable=False, unique=True),
    Column("auth_token", Text, nullable=False),  # sealed
    Column("base_url", Text, nullable=False),
    Column("removed_at", WHEN),
)

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("production", Integer, nullable=False),
    Column("draft", Integer),
    Column("removed_at", WHEN),
    *(
        ForeignKeyConstraint(
            ["id", label],
            ["agent_versions.agent_id", "agent_versions.number"],
            name=f"fk_agents_{label}",
            deferrable=True,
            initially="DEFERRED",
            use_alter=True,
        )
        for label in ("production", "draft")
    ),
)

agent_versions = Table(  # a row is never changed, but for secrets that were rotated
    "agent_versions",
    metadata,
    Column("agent_id", Text, ForeignKey("agents.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("created_at", WHEN, nullable=False),
    Column("greeting", Text),
    Column("fallback", Text),
    Column("engine", JSONB, nullable=False),  # the file's words, without secrets
    Column("secrets", JSONB, nullable=False, server_default=text("'{}'")),  # sealed, by path
    Column("can_open", Boolean, nullable=False),
    Column("deadline_seconds", Float, nullable=False),
    Column("earlier", SmallInteger, nullable=False, server_default=text("0")),
    Column("nodes", JSONB, nullable=False, server_default=text("'[]'")),  # a flow can start there
    Column("analysis", JSONB(none_as_null=True)),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("agent_id", Text, ForeignKey("agents.id"), nullable=False),
    Column("policy", JSONB, nullable=False),
    Column("removed_at", WHEN),
)

connectors = Table(
    "connectors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("environment", Text, nullable=False),
    Column("removed_at", WHEN),
)

numbers = Table(
    "numbers",
    metadata,
    Column("number", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False, index=True),
    Column("environment", Text, nullable=False),
    Column("carrier_id", Text, ForeignKey("carriers.id"), nullable=False),
    Column("segments_per_second", Float, nullable=False),
    Column("opt_out_replies", Text, nullable=False),
    Column("removed_at", WHEN),
    # Every text that the carrier received for it before then is in our hands.
    Column("swept_until", WHEN, nullable=False, server_default=text("now()")),
    Column("sweep_at", WHEN, nullable=False, server_default=text("now()")),
    Index("ix_numbers_sweep", "sweep_at", postgresql_where=text("removed_at is null")),
)
