"""JWT apps, whose tokens Kore.ai's clients sign: made, shown once, changed, revoked."""

from collections.abc import Collection
from dataclasses import field
from datetime import datetime
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Scope
from textback.core.entries import Source
from textback.core.errors import Conflict, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import new_key_id, to_uuid
from textback.db import managed, provisioning
from textback.db.provisioning import Row
from textback.db.session import transaction
from textback.flows.manage_keys import MOST_LISTED, may_grant, may_last
from textback.flows.manage_shown import SAME, Managing, Same
from textback.flows.provision_access import new_app_secret


@frozen
class App:
    client_id: str
    """`cs-` and a UUID: the `appId` of its tokens."""
    name: str
    scopes: frozenset[str] | None
    """None: everything."""
    require_jti: bool
    created_at: datetime
    revoked_at: datetime | None
    managed_by: Source


@frozen
class AppSecret:
    """This is the one time that it is shown."""

    app: App
    secret: str = field(repr=False)


async def create(
    m: Managing,
    *,
    name: str,
    scopes: Collection[Scope] | None = None,
    require_jti: bool = False,
) -> AppSecret:
    """Raises MissingScope (more than the asking key may, or that one has an end)."""
    may_grant(m, scopes)
    may_last(m)
    secret, client_id = new_app_secret(), "cs-" + to_uuid(new_key_id(m.now))
    columns: Row = {
        "client_id": client_id,
        "account_id": m.account_id,
        "name": name,
        "secret": m.vault.seal(secret),
        "scopes": None if scopes is None else sorted(set(scopes)),
        "require_jti": require_jti,
        "created_at": m.now,
        "source": "api",
    }
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        await managed.add_app(c, columns)
        found = await _load(c, m, client_id)
    return AppSecret(app=_app(found), secret=secret)


async def update(
    m: Managing,
    client_id: str,
    *,
    name: str | None = None,
    scopes: Collection[Scope] | Same | None = SAME,
    require_jti: bool | None = None,
) -> App:
    """Raises UnknownResource, MissingScope, Conflict (revoked)."""
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        before = _live(await _load(c, m, client_id))
        may_grant(m, before.scopes)
        wanted = before.scopes if isinstance(scopes, Same) else scopes
        may_grant(m, wanted)
        may_last(m)
        await managed.change_app(
            c,
            client_id,
            name=name or before.name,
            scopes=None if wanted is None else sorted(set(wanted)),
            require_jti=before.require_jti if require_jti is None else require_jti,
        )
        return _app(await _load(c, m, client_id))


async def rotate(m: Managing, client_id: str) -> AppSecret:
    """Another secret, at once: tokens that are signed with the old one are refused.

    Raises UnknownResource, MissingScope, Conflict (revoked).
    """
    secret = new_app_secret()
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        before = _live(await _load(c, m, client_id))
        may_grant(m, before.scopes)
        may_last(m)
        await managed.change_app(c, client_id, secret=m.vault.seal(secret))
        return AppSecret(app=_app(await _load(c, m, client_id)), secret=secret)


async def revoke(m: Managing, client_id: str) -> None:
    """At once. Raises UnknownResource, Conflict (the file's)."""
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        row = await _load(c, m, client_id)
        if row["revoked_at"] is not None:
            return
        if row["source"] == "file":
            raise Conflict(
                f'The app "{row["name"]}" is managed by the provisioning file: take it out there,'
                " and apply the file with --prune."
            )
        await managed.change_app(c, client_id, revoked_at=m.now)


async def get(m: Managing, client_id: str) -> App:
    """Raises UnknownResource."""
    async with transaction(m.db) as c:
        return _app(await _load(c, m, client_id))


async def listed(m: Managing, *, after: str | None = None, limit: int = 50) -> list[App]:
    """Up to `limit` by their ids, those after `after`; the revoked ones too."""
    async with transaction(m.db) as c:
        rows = await managed.apps(c, m.account_id, after=after, limit=min(limit, MOST_LISTED))
        return [_app(row) for row in rows]


async def _load(c: AsyncConnection, m: Managing, client_id: str) -> Row:
    row = await managed.app(c, m.account_id, client_id)
    if row is None:
        raise UnknownResource("There is no app with that client id.")
    return row


def _live(row: Row) -> App:
    found = _app(row)
    if found.revoked_at is not None:
        raise Conflict("This app is revoked: make another one.")
    return found


def _app(row: Row) -> App:
    r = cast("dict[str, Any]", row)
    return App(
        client_id=r["client_id"],
        name=r["name"],
        scopes=None if r["scopes"] is None else frozenset(r["scopes"]),
        require_jti=r["require_jti"],
        created_at=r["created_at"],
        revoked_at=r["revoked_at"],
        managed_by=r["source"],
    )
