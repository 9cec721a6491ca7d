"""API keys and key pairs: made, shown once, changed with or without a time of grace, revoked."""

from collections.abc import Collection
from dataclasses import field
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Scope
from textback.core.entries import Source
from textback.core.errors import BadRequest, Conflict, MissingScope, UnknownResource
from textback.core.frozen import frozen
from textback.core.ids import new_key_id
from textback.db import managed, provisioning
from textback.db.callers import key_hash
from textback.db.provisioning import Row
from textback.db.session import transaction
from textback.flows.manage_shown import SAME, Managing, Same
from textback.flows.provision_access import new_key, new_pair_secret

USUAL_GRACE: Final = timedelta(hours=24)
LONGEST_GRACE: Final = timedelta(days=30)
MOST_LISTED: Final = 500


@frozen
class Key:
    id: str
    """`key_...`; of a pair `nxf_` and 32 hexadecimal digits."""
    name: str
    scopes: frozenset[str] | None
    """None: everything."""
    created_at: datetime
    expires_at: datetime | None
    previous_until: datetime | None
    """Until then the key that it had before works too."""
    revoked_at: datetime | None
    managed_by: Source
    is_pair: bool


@frozen
class Secret:
    """A key that was made now: this is the one time that its secret is known."""

    key: Key
    secret: str = field(repr=False)
    """The whole key (`tb_...`); of a pair its secret alone (`nxfs_...`): the token is ID:SECRET."""


async def create(
    m: Managing,
    *,
    name: str,
    scopes: Collection[Scope] | None = None,
    expires_at: datetime | None = None,
) -> Secret:
    """Raises Conflict (the name), MissingScope (more, or longer than its maker), BadRequest."""
    if expires_at is not None and expires_at <= m.now:
        raise BadRequest("expires_at is over already.")
    return await _add(m, name, scopes, new_key(), expires_at=expires_at)


async def create_pair(
    m: Managing, *, name: str | None = None, scopes: Collection[Scope] | None = None
) -> Secret:
    """A pair for Nixflex' clients. Raises as `create`."""
    public_id = "nxf_" + token_hex(16)
    return await _add(m, name or public_id, scopes, new_pair_secret(), public_id=public_id)


async def rotate(
    m: Managing, key_id: str, *, grace: timedelta | None = None, again: bool = False
) -> Secret:
    """Another secret for the same key.

    The old one works for `grace` yet; None: as usual, which is a day for a key, and not at all for
    a pair. The one before that ends: while it works yet, only `again` does so. Raises
    UnknownResource, Conflict (revoked, expired, or without `again`), MissingScope, BadRequest.
    """
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        row = await _load(c, m, key_id)
        key = _key(row)
        may_grant(m, key.scopes)
        may_last(m, key.expires_at)
        is_over = key.expires_at is not None and key.expires_at <= m.now
        if key.revoked_at is not None or is_over:
            why = "expired" if key.revoked_at is None else "revoked"
            raise Conflict(f"This key is {why}: make another one.")
        if not again and key.previous_until is not None and key.previous_until > m.now:
            raise Conflict(
                f"The older key works until {key.previous_until:%Y-%m-%d %H:%M:%S} UTC, and whoever"
                ' uses it would be cut off at once: wait, or insist ("again": true, or --again).'
            )
        if grace is None:
            grace = timedelta(0) if key.is_pair else USUAL_GRACE
        if not timedelta(0) <= grace <= LONGEST_GRACE:
            raise BadRequest(f"The grace may be {LONGEST_GRACE.days} days at most.")
        secret = new_pair_secret() if key.is_pair else new_key()
        until = m.now + grace if grace else None
        await managed.change_key(
            c,
            str(row["id"]),
            hash=key_hash(f"{key.id}:{secret}" if key.is_pair else secret),
            previous_hash=row["hash"] if until else None,
            previous_until=until,
        )
        return Secret(key=_key(await _load(c, m, key_id)), secret=secret)


async def update(
    m: Managing,
    key_id: str,
    *,
    name: str | None = None,
    scopes: Collection[Scope] | Same | None = SAME,
    expires_at: datetime | Same | None = SAME,
) -> Key:
    """Change what is given. Raises UnknownResource, MissingScope, Conflict (revoked, the name)."""
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        row = await _load(c, m, key_id)
        before = _key(row)
        wanted = before.scopes if isinstance(scopes, Same) else scopes
        may_grant(m, before.scopes)
        may_grant(m, wanted)
        end = before.expires_at if isinstance(expires_at, Same) else expires_at
        may_last(m, end)
        if before.revoked_at is not None:
            raise Conflict("This key is revoked: make another one.")
        if name is not None and name != before.name:
            if row["source"] == "file":
                raise Conflict("The name of this key is what the provisioning file knows it by.")
            await _is_free(c, m, name)
        await managed.change_key(
            c,
            str(row["id"]),
            name=name or before.name,
            scopes=None if wanted is None else sorted(set(wanted)),
            expires_at=end,
        )
        return _key(await _load(c, m, key_id))


async def revoke(m: Managing, key_id: str) -> None:
    """At once, with the one it had before. Raises UnknownResource, Conflict (the file's)."""
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        row = await _load(c, m, key_id)
        if row["revoked_at"] is not None:
            return
        if row["source"] == "file":
            raise Conflict(
                f'The key "{row["name"]}" is managed by the provisioning file: write'
                " `revoked: true` there, or take it out and apply the file with --prune."
            )
        await managed.change_key(
            c, str(row["id"]), revoked_at=m.now, previous_hash=None, previous_until=None
        )


async def get(m: Managing, key_id: str) -> Key:
    """Raises UnknownResource."""
    async with transaction(m.db) as c:
        return _key(await _load(c, m, key_id))


async def called(m: Managing, name: str) -> Key:
    """The key or pair of that name or id. Raises UnknownResource."""
    async with transaction(m.db) as c:
        row = await managed.key_named(c, m.account_id, name)
        return _key(await _load(c, m, name) if row is None else row)


async def listed(
    m: Managing, *, pairs: bool, after: str | None = None, limit: int = 50
) -> list[Key]:
    """Up to `limit` by their ids, those after `after`; the revoked ones too."""
    async with transaction(m.db) as c:
        rows = await managed.keys(
            c, m.account_id, pairs=pairs, after=after, limit=min(limit, MOST_LISTED)
        )
        return [_key(row) for row in rows]


def may_grant(m: Managing, scopes: Collection[str] | None) -> None:
    """Nobody hands out more than they have. Raises MissingScope."""
    if m.scopes is None or (scopes is not None and m.scopes.issuperset(scopes)):
        return
    mine = ", ".join(sorted(m.scopes))
    raise MissingScope(f"Your key may not make one that may do more than itself: {mine}.")


def may_last(m: Managing, expires_at: datetime | None = None) -> None:
    """Nobody hands out what works longer than they do; None: without end. Raises MissingScope."""
    if m.expires_at is None or (expires_at is not None and expires_at <= m.expires_at):
        return
    raise MissingScope(
        "Your key may not make or change one that works longer than itself:"
        f" until {m.expires_at:%Y-%m-%d %H:%M:%S} UTC."
    )


async def _add(
    m: Managing,
    name: str,
    scopes: Collection[Scope] | None,
    secret: str,
    *,
    public_id: str | None = None,
    expires_at: datetime | None = None,
) -> Secret:
    may_grant(m, scopes)
    may_last(m, expires_at)
    columns: Row = {
        "id": new_key_id(m.now),
        "account_id": m.account_id,
        "name": name,
        "hash": key_hash(secret if public_id is None else f"{public_id}:{secret}"),
        "created_at": m.now,
        "expires_at": expires_at,
        "scopes": None if scopes is None else sorted(set(scopes)),
        "public_id": public_id,
        "source": "api",
    }
    async with transaction(m.db) as c:
        await provisioning.alone(c)
        await _is_free(c, m, name)
        await managed.add_key(c, columns)
        found = await _load(c, m, str(public_id or columns["id"]))
    return Secret(key=_key(found), secret=secret)


async def _is_free(c: AsyncConnection, m: Managing, name: str) -> None:
    if await managed.key_named(c, m.account_id, name) is not None:
        raise Conflict(f'There is a key called "{name}" already, or there was one.')


async def _load(c: AsyncConnection, m: Managing, key_id: str) -> Row:
    row = await managed.key(c, m.account_id, key_id)
    if row is None:
        raise UnknownResource("There is no key with that id.")
    return row


def _key(row: Row) -> Key:
    r = cast("dict[str, Any]", row)
    return Key(
        id=r["public_id"] or r["id"],
        name=r["name"],
        scopes=None if r["scopes"] is None else frozenset(r["scopes"]),
        created_at=r["created_at"],
        expires_at=r["expires_at"],
        previous_until=r["previous_until"],
        revoked_at=r["revoked_at"],
        managed_by=r["source"],
        is_pair=r["public_id"] is not None,
    )
