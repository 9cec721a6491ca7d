"""Who may ask for something: API keys and connectors."""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import AccountId, ConnectorId, ProjectId
from textback.core.policy import Environment, ProjectPolicy
from textback.db.tables import accounts, api_keys, connectors, projects
from textback.db.tenants import POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    account_id: AccountId
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorRow:
    id: ConnectorId
    account_id: AccountId
    project_id: ProjectId
    environment: Environment
    policy: ProjectPolicy


def key_hash(key: str) -> bytes:
    """Keys are random and long, so one unsalted round is enough, and can be looked up by."""
    return sha256(key.encode()).digest()


async def find_key(c: AsyncConnection, key: str) -> KeyRow | None:
    row = (
        await c.execute(
            select(api_keys.c.account_id, api_keys.c.expires_at, api_keys.c.revoked_at)
            .join(accounts, accounts.c.id == api_keys.c.account_id)
            .where(api_keys.c.hash == key_hash(key), accounts.c.removed_at.is_(None))
        )
    ).one_or_none()
    return (
        None
        if row is None
        else KeyRow(
            account_id=AccountId(row.account_id),
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
    )


async def find_connector(c: AsyncConnection, connector_id: str) -> ConnectorRow | None:
    row = (
        await c.execute(
            select(
                connectors.c.id,
                connectors.c.environment,
                projects.c.id.label("project_id"),
                projects.c.account_id,
                projects.c.policy,
            )
            .join(projects, projects.c.id == connectors.c.project_id)
            .where(
                connectors.c.id == connector_id,
                connectors.c.removed_at.is_(None),
                projects.c.removed_at.is_(None),
            )
        )
    ).one_or_none()
    return (
        None
        if row is None
        else ConnectorRow(
            id=ConnectorId(row.id),
            account_id=AccountId(row.account_id),
            project_id=ProjectId(row.project_id),
            environment=row.environment,
            policy=POLICY.validate_python(row.policy),
        )
    )
