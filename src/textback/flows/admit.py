"""Who is asking: a key, and whom it may send for -> Caller, or a refusal; webhook -> carrier."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from textback import logs
from textback.core.commands import Caller, Scope
from textback.core.errors import (
    BadKey,
    BadRequest,
    MissingScope,
    NumberNotProvisioned,
    UnknownConnector,
    UnknownResource,
    WrongAccount,
)
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ProjectId
from textback.core.policy import Environment
from textback.core.ports import CarrierAccount, Vault
from textback.db import callers, tenants
from textback.db.book import Look, Within
from textback.db.callers import ConnectorRow, SenderRow
from textback.db.tenants import NumberRow


@frozen
class Holder:
    """Who holds a good key."""

    account_id: AccountId
    key_id: str
    """`key_...`, or the public half of a pair."""
    scopes: frozenset[str] | None
    """None: everything."""
    until: datetime | None = None
    """When it ends; None: never."""
    expires_at: datetime | None = None
    """As its owner said: what takes its place ends then, too."""

    def need(self, scope: Scope) -> None:
        """Raises MissingScope."""
        if self.scopes is not None and scope not in self.scopes:
            raise MissingScope(f'This API key may not do that: it lacks the scope "{scope}".')


async def caller(look: Look, *, key: str | None, connector_id: str | None, now: datetime) -> Caller:
    """In this order, so that a wrong key learns nothing about connectors (D3).

    Raises BadKey, MissingScope, BadRequest (no connector named), UnknownConnector, WrongAccount,
    Unavailable.
    """
    if not key:
        msg = "Send your API key in the X-PolyAi-Auth-Token header."
        raise BadKey(msg)

    async def load(c: AsyncConnection) -> _Admitted:
        return await _admit(Within(c), key, connector_id, now=now)

    found = await look.get(("caller", callers.key_hash(key), connector_id), load)
    if found.until is not None and found.until <= now:
        found = await _admit(look, key, connector_id, now=now)
    logs.about(account_id=found.caller.account_id, key_id=found.key_id)
    return found.caller


@frozen
class _Admitted:
    caller: Caller
    key_id: str
    until: datetime | None


async def _admit(look: Look, key: str, connector_id: str | None, *, now: datetime) -> _Admitted:
    by = await _holder(look, key, now=now)
    by.need("send")
    if not connector_id:
        msg = "Name the connector to send with in the X-TOKEN-ID header."
        raise BadRequest(msg)
    connector = await _connector(look, connector_id)
    if connector is None:
        msg = "There is no connector with the id in X-TOKEN-ID."
        raise UnknownConnector(msg)
    if connector.account_id != by.account_id:
        msg = "This API key belongs to another account than the connector in X-TOKEN-ID."
        raise WrongAccount(msg)
    return _Admitted(caller=of_connector(connector), key_id=by.key_id, until=by.until)


async def holder(look: Look, *, key: str | None, scope: Scope | None, now: datetime) -> Holder:
    """Whose key it is, if it may do that. Raises BadKey, MissingScope, Unavailable.

    `scope` None: any good key.
    """
    if not key:
        msg = "Send your API key as Authorization: Bearer KEY."
        raise BadKey(msg)
    found = await _holder(look, key, now=now)
    if scope is not None:
        found.need(scope)
    return found


async def sender(
    look: Look,
    account_id: AccountId,
    *,
    agent_number: str | None = None,
    connector: str | None = None,
    project: str | None = None,
    environment: Environment | None = None,
) -> Caller:
    """For whom an account sends: by one of its connectors, or a project, or one of its numbers.

    With nothing named, for its only project. No environment: live, unless the project has numbers
    in one other alone. Raises UnknownConnector, UnknownResource (project),
    NumberNotProvisioned, BadRequest (several projects, and none named), Unavailable.
    """
    if connector is not None:
        row = await _connector(look, connector)
        if row is None or row.account_id != account_id:
            raise UnknownConnector(f'This account has no connector "{connector}".')
        return of_connector(row)
    if agent_number is not None and project is None:
        found = await look.get(
            ("sender", account_id, agent_number),
            lambda c: callers.find_sender(c, account_id, agent_number),
        )
        if found is None:
            msg = f"{agent_number} is not one of this account's numbers."
            raise NumberNotProvisioned(msg)
        return _of_project(found, found.environment)
    projects = await look.get(
        ("projects", account_id, project), lambda c: callers.projects_of(c, account_id, project)
    )
    if environment is None and len(projects) == 1:
        environment = await _usual_environment(look, projects[0].project_id)
    if project is not None and not projects:
        raise UnknownResource(f'This account has no project "{project}".')
    if len(projects) != 1:
        msg = "Name the project to send for: this account has none, or more than one."
        raise BadRequest(msg)
    return _of_project(projects[0], environment or "live")


async def _usual_environment(look: Look, project_id: ProjectId) -> Environment:
    numbers = await numbers_of(look, project_id)
    there: set[Environment] = {number.environment for number in numbers}
    return there.pop() if len(there) == 1 else "live"


def of_connector(row: ConnectorRow) -> Caller:
    return Caller(
        account_id=row.account_id,
        project_id=row.project_id,
        connector_id=row.id,
        environment=row.environment,
        rate_limit=row.policy.rate_limit,
    )


def _of_project(row: SenderRow, environment: Environment) -> Caller:
    return Caller(
        account_id=row.account_id,
        project_id=row.project_id,
        connector_id=None,
        environment=environment,
        rate_limit=row.policy.rate_limit,
    )


async def numbers_of(look: Look, project_id: ProjectId) -> list[NumberRow]:
    return await look.get(("numbers", project_id), lambda c: tenants.numbers_of(c, project_id))


async def _connector(look: Look, connector_id: str) -> ConnectorRow | None:
    return await look.get(
        ("connector", connector_id), lambda c: callers.find_connector(c, connector_id)
    )


async def _holder(look: Look, key: str, *, now: datetime) -> Holder:
    hashed = callers.key_hash(key)
    found = await look.get(("key", hashed), lambda c: callers.find_key(c, hashed))
    is_over = found is None or (found.until is not None and found.until <= now)
    if found is None or is_over or found.revoked_at is not None:
        msg = "The API key is not valid; check it, or ask for a new one."
        raise BadKey(msg)
    if found.expires_at is not None and found.expires_at <= now:
        msg = "The API key has expired; ask for a new one."
        raise BadKey(msg)
    logs.about(account_id=found.account_id, key_id=found.id)
    ends = [at for at in (found.until, found.expires_at) if at is not None]
    return Holder(
        account_id=found.account_id,
        key_id=found.id,
        scopes=found.scopes,
        expires_at=found.expires_at,
        until=min(ends, default=None),
    )


async def carrier_account(
    look: Look, vault: Vault, *, kind: str, account_sid: str
) -> CarrierAccount | None:
    """The carrier entry that a webhook claims to come from.

    Raises Unavailable, ValueError when none of our keys opens its token.
    """

    async def load(c: AsyncConnection) -> CarrierAccount | None:
        row = await tenants.find_carrier_by_sid(c, kind, account_sid)
        return None if row is None else tenants.opened(row, vault)

    return await look.get(("carrier", kind, account_sid), load)
