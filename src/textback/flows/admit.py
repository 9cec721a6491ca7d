"""Who is asking: key and connector -> Caller, or a refusal; webhook -> carrier account."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.commands import Caller
from textback.core.errors import BadKey, BadRequest, UnknownConnector, WrongAccount
from textback.core.ids import AccountId
from textback.core.ports import CarrierAccount, Vault
from textback.db import callers, tenants
from textback.db.session import transaction


async def caller(
    db: AsyncEngine, *, key: str | None, connector_id: str | None, now: datetime
) -> Caller:
    """In this order, so that a wrong key learns nothing about connectors (D3).

    Raises BadKey, BadRequest (no connector named), UnknownConnector, WrongAccount, Unavailable.
    """
    if not key:
        msg = "Send your API key in the X-PolyAi-Auth-Token header."
        raise BadKey(msg)
    async with transaction(db) as c:
        account_id = await _account_of(c, key, now=now)
        if not connector_id:
            msg = "Name the connector to send with in the X-TOKEN-ID header."
            raise BadRequest(msg)
        connector = await callers.find_connector(c, connector_id)
    if connector is None:
        msg = "There is no connector with the id in X-TOKEN-ID."
        raise UnknownConnector(msg)
    if connector.account_id != account_id:
        msg = "This API key belongs to another account than the connector in X-TOKEN-ID."
        raise WrongAccount(msg)
    return Caller(
        account_id=connector.account_id,
        project_id=connector.project_id,
        connector_id=connector.id,
        environment=connector.environment,
        rate_limit=connector.policy.rate_limit,
    )


async def account(db: AsyncEngine, *, key: str | None, now: datetime) -> AccountId:
    """Whose key it is. Raises BadKey, Unavailable."""
    if not key:
        msg = "Send your API key as Authorization: Bearer KEY."
        raise BadKey(msg)
    async with transaction(db) as c:
        return await _account_of(c, key, now=now)


async def _account_of(c: AsyncConnection, key: str, *, now: datetime) -> AccountId:
    found = await callers.find_key(c, key)
    if found is None or found.revoked_at is not None:
        msg = "The API key is not valid; check it, or ask for a new one."
        raise BadKey(msg)
    if found.expires_at is not None and found.expires_at <= now:
        msg = "The API key has expired; ask for a new one."
        raise BadKey(msg)
    return found.account_id


async def carrier_account(
    db: AsyncEngine, vault: Vault, *, kind: str, account_sid: str
) -> CarrierAccount | None:
    """The carrier entry that a webhook claims to come from. Raises Unavailable."""
    async with transaction(db) as c:
        row = await tenants.find_carrier_by_sid(c, kind, account_sid)
    return None if row is None else tenants.opened(row, vault)
