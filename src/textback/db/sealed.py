"""Every sealed secret there is, in whichever table: for when the key that seals them changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import Column, ColumnElement, Table, and_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.db.tables import (
    accounts,
    agent_versions,
    carriers,
    jwt_apps,
    webhook_endpoints,
)

Key: TypeAlias = tuple[Any, ...]
Reseal: TypeAlias = Callable[[str], str]


@frozen(kw_only=False)
class Place:
    """A column that holds secrets."""

    column: Column[Any]
    has_some: ColumnElement[bool]
    each: Callable[[Any, Reseal], Any]
    """Its value with every sealed secret in it replaced."""

    @property
    def name(self) -> str:
        """As `carriers.auth_token`."""
        return str(self.column)

    @property
    def table(self) -> Table:
        return self.column.table

    @property
    def key(self) -> Sequence[Column[Any]]:
        return tuple(self.table.primary_key.columns)


def _one(value: str, reseal: Reseal) -> str:
    return reseal(value)


def _by_path(value: Mapping[str, str], reseal: Reseal) -> dict[str, str]:
    return {path: reseal(sealed) for path, sealed in value.items()}


def _listed(value: Sequence[Mapping[str, Any]], reseal: Reseal) -> list[dict[str, Any]]:
    return [{**each, "sealed": reseal(each["sealed"])} for each in value]


def _place(
    column: Column[Any], each: Callable[[Any, Reseal], Any], *, empty: str | None = None
) -> Place:
    return Place(column, column.is_not(None) if empty is None else column != text(empty), each)


PLACES: Final = (
    _place(accounts.c.webhook_secret, _one),
    _place(accounts.c.previous_webhook_secrets, _listed, empty="'[]'"),
    _place(jwt_apps.c.secret, _one),
    _place(carriers.c.auth_token, _one),
    _place(carriers.c.previous_token, _one),
    _place(agent_versions.c.secrets, _by_path, empty="'{}'"),
    _place(webhook_endpoints.c.secrets, _listed, empty="'[]'"),
)


async def page(
    c: AsyncConnection, place: Place, *, after: Key | None, limit: int, lock: bool
) -> Sequence[tuple[Key, Any]]:
    """Keys and values in the order of the keys, from `after` on."""
    beyond = [] if after is None else [tuple_(*place.key) > tuple_(*after)]
    some = (
        select(*place.key, place.column)
        .where(and_(place.has_some, *beyond))
        .order_by(*place.key)
        .limit(limit)
    )
    rows = await c.execute(some.with_for_update(key_share=True) if lock else some)
    return [(tuple(row[:-1]), row[-1]) for row in rows]


async def write(c: AsyncConnection, place: Place, key: Key, value: object) -> None:
    same = [column == part for column, part in zip(place.key, key, strict=True)]
    await c.execute(update(place.table).where(*same).values({place.column.name: value}))
