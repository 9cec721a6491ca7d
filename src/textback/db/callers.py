"""Who may ask for something: API keys, connectors, and what an account sends for."""

from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import RowMapping, Select, case, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import AccountId, ConnectorId, ProjectId
from textback.core.policy import Environment, ProjectPolicy
from textback.db.tables import accounts, api_keys, connectors, numbers, projects
from textback.db.tenants import POLICY


@frozen
class KeyRow:
    id: str
    account_id: AccountId
    expires_at: datetime | None
    revoked_at: datetime | None
    scopes: frozenset[str] | None
    until: datetime | None = None
    """Set when it was found by the key that it had before: from then on that is none."""


@frozen
class SenderRow:
    account_id: AccountId
    project_id: ProjectId
    environment: Environment
    policy: ProjectPolicy


@frozen
class ConnectorRow(SenderRow):
    id: ConnectorId


def key_hash(key: str) -> bytes:
    """Keys are random and long, so one unsalted round is enough, and can be looked up by."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


async def find_key(c: AsyncConnection, hashed: bytes) -> KeyRow | None:
    """By the hash of the key itself, or of the one it had before (`until`)."""
    k, is_present = api_keys.c, api_keys.c.hash == hashed
    row = (
        await c.execute(
            select(k.id, k.public_id, k.account_id, k.expires_at, k.revoked_at, k.scopes)
            .add_columns(case((is_present, None), else_=k.previous_until).label("until"))
            .join(accounts, accounts.c.id == k.account_id)
            .where(or_(is_present, k.previous_hash == hashed), accounts.c.removed_at.is_(None))
            .order_by(is_present.desc(), k.previous_until.desc())
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        return None
    return KeyRow(
        id=row.public_id or row.id,
        account_id=AccountId(row.account_id),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        scopes=None if row.scopes is None else frozenset(row.scopes),
        until=row.until,
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


async def find_sender(c: AsyncConnection, account_id: AccountId, number: str) -> SenderRow | None:
    """The project of one of the account's numbers."""
    query = _projects(account_id).add_columns(numbers.c.environment)
    query = query.join(numbers, numbers.c.project_id == projects.c.id)
    query = query.where(numbers.c.number == number, numbers.c.removed_at.is_(None))
    row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else _sender(row, row["environment"])


async def projects_of(
    c: AsyncConnection, account_id: AccountId, project_id: str | None
) -> list[SenderRow]:
    """The one of that name, or all, as they send live; at most two, as more say no more."""
    query = _projects(account_id)
    if project_id is not None:
        query = query.where(projects.c.id == project_id)
    rows = await c.execute(query.order_by(projects.c.id).limit(2))
    return [_sender(row, "live") for row in rows.mappings()]


def _projects(account_id: AccountId) -> Select[Any, Any, Any]:
    return select(projects.c.id, projects.c.account_id, projects.c.policy).where(
        projects.c.account_id == account_id, projects.c.removed_at.is_(None)
    )


def _sender(row: RowMapping, environment: Environment) -> SenderRow:
    return SenderRow(
        account_id=AccountId(row["account_id"]),
        project_id=ProjectId(row["id"]),
        environment=environment,
        policy=POLICY.validate_python(row["policy"]),
    )
