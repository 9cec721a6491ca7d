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


def _source() -> Column[str]:
    """Who manages it: `file`, which alone `apply --prune` may remove, or `api`."""
    return Column("source", Text, nullable=False, server_default=text("'file'"))


accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("removed_at", WHEN),
    Column("agent_template", Text),  # agents that an API makes with a prompt alone run as it does
    Column("webhook_secret", Text),  # sealed; signs what dialects post to a conversation's URL
    # As `webhook_endpoints.secrets`: those before, which sign as well until their time.
    Column("previous_webhook_secrets", JSONB, nullable=False, server_default=text("'[]'")),
    _source(),
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
    Column("scopes", JSONB(none_as_null=True)),  # none: everything
    Column("public_id", Text, unique=True),  # of a pair: its id, which outlives its secret
    Column("previous_hash", LargeBinary, unique=True),  # good until then, while keys are changed
    Column("previous_until", WHEN),
    _source(),
    UniqueConstraint("account_id", "name"),
)

jwt_apps = Table(
    "jwt_apps",
    metadata,
    Column("client_id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("secret", Text, nullable=False),  # sealed
    Column("scopes", JSONB(none_as_null=True)),  # none: everything
    Column("require_jti", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", WHEN, nullable=False),
    Column("revoked_at", WHEN),
    _source(),
)

jwt_ids = Table(  # of tokens that may be used once
    "jwt_ids",
    metadata,
    Column("client_id", Text, ForeignKey("jwt_apps.client_id"), primary_key=True),
    Column("jti", Text, primary_key=True),
    Column("expires_at", WHEN, nullable=False, index=True),
)

carriers = Table(
    "carriers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("account_sid", Text, nullable=False, unique=True),
    Column("auth_token", Text, nullable=False),  # sealed
    Column("previous_token", Text),  # sealed; may sign webhooks until then, while it is changed
    Column("previous_until", WHEN),
    Column("base_url", Text, nullable=False),
    Column("removed_at", WHEN),
    # An API said base_url: no private address is called.
    Column("public_only", Boolean, nullable=False, server_default=text("false")),
    _source(),
)

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False),
    Column("production", Integer, nullable=False),
    Column("draft", Integer),
    Column("removed_at", WHEN),
    Column("extra", JSONB, nullable=False, server_default=text("'{}'")),  # of the dialect it is of
    _source(),
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
    # URLs in `engine` that may lead to private addresses; none: all of them, the operator's file
    # gave them.
    Column("private_urls", JSONB(none_as_null=True)),
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
    _source(),
)

connectors = Table(
    "connectors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("environment", Text, nullable=False),
    Column("removed_at", WHEN),
    _source(),
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
    Column("agent_id", Text, ForeignKey("agents.id")),  # instead of the project's
    Column("replies", Boolean, nullable=False, server_default=text("true")),  # the agent answers
    Column("registration", Text),  # A2P 10DLC: registered, pending or unregistered; none: unknown
    Column("messaging_service_sid", Text),
    Column("config", JSONB, nullable=False, server_default=text("'{}'")),  # a dialect's own
    _source(),
    Index("ix_numbers_sweep", "sweep_at", postgresql_where=text("removed_at is null")),
)
