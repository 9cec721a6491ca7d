"""An account's own settings: its name, its template for agents, its secret for webhooks."""

from base64 import b64encode
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core import signing
from textback.core.entries import Source
from textback.core.errors import BadRequest, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.ports import Vault
from textback.core.webhook import GRACE
from textback.db import managed, provisioning
from textback.db.provisioning import Row
from textback.db.session import transaction
from textback.db.webhooks import of_account, stored_secrets
from textback.flows import webhooks
from textback.flows.manage_shown import SAME, Managing, Same


@frozen
class AccountShown:
    id: AccountId
    name: str
    agent_template: str | None
    has_webhook_secret: bool
    managed_by: Source


async def get(m: Managing) -> AccountShown:
    """Raises UnknownResource (there is no such account any more), Unavailable."""
    async with transaction(m.db) as c:
        return await _load(c, m)


async def update(
    m: Managing,
    *,
    name: str | None = None,
    agent_template: str | Same | None = SAME,
) -> AccountShown:
    """Raises BadRequest (the account has no such agent), Unavailable."""
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        changed: dict[str, object] = {} if name is None else {"name": name}
        if not isinstance(agent_template, Same):
            if agent_template is not None:
                found = await managed.one(c, m.account_id, "agent", agent_template)
                if found is None:
                    problem = f'names no agent of this account: "{agent_template}"'
                    raise BadRequest(
                        f"agent_template {problem}.", faults={"agent_template": problem}
                    )
            changed["agent_template"] = agent_template
        if changed:
            await managed.change_account(c, m.account_id, **changed)
        return await _load(c, m)


async def new_webhook_secret(
    m: Managing, secret: str | None = None, *, grace: timedelta = GRACE
) -> str:
    """Another (None: we make one); the one before signs as well until `grace` is over.

    This is the one time it is shown. Raises BadRequest (its form), UnknownResource, Unavailable.
    """
    new = webhooks.given_secret(secret) or signing.PREFIX + b64encode(token_bytes(32)).decode()
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        row = await _row(c, m)
        columns = replaced(row, m.vault.seal(new), vault=m.vault, grace=grace, now=m.now)
        await managed.change_account(c, m.account_id, **columns)
    return new


def replaced(
    there: Row, sealed: str, *, vault: Vault, grace: timedelta, now: datetime
) -> dict[str, object]:
    """The columns of an account whose webhook secret becomes `sealed`."""
    signed = of_account(there)
    before = webhooks.superseded(signed, vault=vault, until=now + grace, now=now)
    return {"webhook_secret": sealed, "previous_webhook_secrets": stored_secrets(before)}


async def _load(c: AsyncConnection, m: Managing) -> AccountShown:
    row = await _row(c, m)
    return AccountShown(
        id=AccountId(row["id"]),
        name=row["name"],
        agent_template=row["agent_template"],
        has_webhook_secret=row["webhook_secret"] is not None,
        managed_by=row["source"],
    )


async def _row(c: AsyncConnection, m: Managing) -> dict[str, Any]:
    found = await managed.account(c, m.account_id)
    if found is None:
        raise UnknownResource(f'There is no account "{m.account_id}".')
    return cast("dict[str, Any]", found)
