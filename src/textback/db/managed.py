"""The entries of one account, as an API manages them: one, a page, what needs which."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.entries import EntryKind
from textback.core.ids import AccountId
from textback.core.storable import is_text
from textback.db.provisioning import Row
from textback.db.tables import (
    accounts,
    agent_versions,
    agents,
    api_keys,
    carriers,
    connectors,
    conversations,
    jwt_apps,
    numbers,
    projects,
    webhook_endpoints,
)

_HIGHEST: Final = 2**31 - 1
"""What Postgres' integer holds."""

_TABLES: Final[Mapping[EntryKind, Table]] = {
    "carrier": carriers,
    "agent": agents,
    "project": projects,
    "connector": connectors,
    "number": numbers,
}


def _of(account_id: AccountId, kind: EntryKind) -> tuple[Select[Any], ColumnElement[str]]:
    """Of the account, those that were not removed; and the column that names them."""
    table = _TABLES[kind]
    name = table.c.number if kind == "number" else table.c.id
    query = select(table).where(table.c.removed_at.is_(None))
    if kind == "number":
        query = query.add_columns(carriers.c.kind.label("carrier_kind"))
        query = query.join(carriers, carriers.c.id == numbers.c.carrier_id)
    if kind in {"connector", "number"}:
        query = query.join(projects, projects.c.id == table.c.project_id)
        query = query.where(projects.c.account_id == account_id)
    else:
        query = query.where(table.c.account_id == account_id)
    return query, name


async def _one(c: AsyncConnection, query: Select[Any]) -> Row | None:
    row = (await c.execute(query)).mappings().one_or_none()
    return None if row is None else dict(row)


async def _all(c: AsyncConnection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in (await c.execute(query)).mappings()]


async def one(
    c: AsyncConnection, account_id: AccountId, kind: EntryKind, entry_id: str
) -> Row | None:
    if not is_text(entry_id):
        return None
    query, name = _of(account_id, kind)
    return await _one(c, query.where(name == entry_id))


async def page(
    c: AsyncConnection, account_id: AccountId, kind: EntryKind, *, after: str | None, limit: int
) -> list[Row]:
    """By their ids, those after `after`."""
    query, name = _of(account_id, kind)
    if after is not None:
        query = query.where(name > after)
    return await _all(c, query.order_by(name).limit(limit))


async def labelled(c: AsyncConnection, agent_ids: Collection[str]) -> dict[str, dict[int, Row]]:
    """The versions that are production or draft of these agents."""
    v = agent_versions.c
    is_one = or_(v.number == agents.c.production, v.number == agents.c.draft)
    query = select(agent_versions).join(agents, and_(agents.c.id == v.agent_id, is_one))
    found: dict[str, dict[int, Row]] = {}
    for row in (await c.execute(query.where(v.agent_id.in_(agent_ids)))).mappings():
        found.setdefault(row["agent_id"], {})[row["number"]] = dict(row)
    return found


async def versions(c: AsyncConnection, agent_id: str, *, after: int, limit: int) -> list[Row]:
    """Of an agent, by their numbers, those after `after`."""
    v = agent_versions.c
    query = select(agent_versions).where(v.agent_id == agent_id, v.number > min(after, _HIGHEST))
    return await _all(c, query.order_by(v.number).limit(limit))


async def users_of(c: AsyncConnection, kind: EntryKind, entry_id: str) -> list[tuple[str, str]]:
    """Some of what needs it: (what it is, its id). Nothing needs a connector or a number."""
    n, p, a, w = numbers.c, projects.c, accounts.c, webhook_endpoints.c
    needing: list[tuple[str, ColumnElement[str], ColumnElement[bool]]] = []
    match kind:
        case "carrier":
            needing = [("number", n.number, (n.carrier_id == entry_id) & n.removed_at.is_(None))]
        case "agent":
            needing = [
                ("project", p.id, (p.agent_id == entry_id) & p.removed_at.is_(None)),
                ("number", n.number, (n.agent_id == entry_id) & n.removed_at.is_(None)),
                ("account", a.id, (a.agent_template == entry_id) & a.removed_at.is_(None)),
            ]
        case "project":
            needing = [
                ("connector", connectors.c.id, _within(connectors, entry_id)),
                ("number", n.number, _within(numbers, entry_id)),
                (
                    "webhook",
                    w.id,
                    _within(webhook_endpoints, entry_id) & w.conversation_id.is_(None),
                ),
            ]
        case _:
            return []
    found: list[tuple[str, str]] = []
    for what, name, condition in needing:
        rows = await c.scalars(select(name).where(condition).order_by(name).limit(3))
        found += [(what, each) for each in rows]
    return found


def _within(table: Table, project_id: str) -> ColumnElement[bool]:
    return (table.c.project_id == project_id) & table.c.removed_at.is_(None)


async def is_spoken_for(c: AsyncConnection, number: str, account_id: AccountId) -> bool:
    """Whether conversations of another account are live on a number that it let go of."""
    t = conversations.c
    query = select(t.id).where(
        t.agent_number == number, t.account_id != account_id, t.state != "closed"
    )
    return bool(await c.scalar(select(exists(query))))


async def sid_of(c: AsyncConnection, account_sid: str) -> Row | None:
    """The carrier entry that has Twilio's account, also one that was removed."""
    query = select(carriers).where(carriers.c.account_sid == account_sid)
    return await _one(c, query)


# --- The account itself -------------------------------------------------------------------------


async def account(c: AsyncConnection, account_id: AccountId) -> Row | None:
    if not is_text(account_id):
        return None
    query = select(accounts).where(accounts.c.id == account_id, accounts.c.removed_at.is_(None))
    return await _one(c, query)


async def change_account(c: AsyncConnection, account_id: AccountId, **values: object) -> None:
    await c.execute(update(accounts).where(accounts.c.id == account_id).values(**values))


# --- Keys and apps ------------------------------------------------------------------------------


async def key(c: AsyncConnection, account_id: AccountId, key_id: str) -> Row | None:
    """By its id; of a pair by its public one."""
    t = api_keys.c
    if not is_text(key_id):
        return None
    query = select(api_keys).where(t.account_id == account_id)
    query = query.where((t.public_id == key_id) | ((t.id == key_id) & t.public_id.is_(None)))
    return await _one(c, query)


async def key_named(c: AsyncConnection, account_id: AccountId, name: str) -> Row | None:
    t = api_keys.c
    if not is_text(name):
        return None
    query = select(api_keys).where(t.account_id == account_id, t.name == name)
    return await _one(c, query)


async def keys(
    c: AsyncConnection, account_id: AccountId, *, pairs: bool, after: str | None, limit: int
) -> list[Row]:
    t = api_keys.c
    name = t.public_id if pairs else t.id
    query = select(api_keys).where(t.account_id == account_id)
    query = query.where(t.public_id.is_not(None) if pairs else t.public_id.is_(None))
    if after is not None:
        query = query.where(name > after)
    return await _all(c, query.order_by(name).limit(limit))


async def add_key(c: AsyncConnection, columns: Row) -> None:
    await c.execute(api_keys.insert().values(**columns))


async def change_key(c: AsyncConnection, row_id: str, **values: object) -> None:
    """`row_id`: of the row, also of a pair."""
    await c.execute(update(api_keys).where(api_keys.c.id == row_id).values(**values))


async def app(c: AsyncConnection, account_id: AccountId, client_id: str) -> Row | None:
    t = jwt_apps.c
    if not is_text(client_id):
        return None
    query = select(jwt_apps).where(t.account_id == account_id, t.client_id == client_id)
    return await _one(c, query)


async def apps(
    c: AsyncConnection, account_id: AccountId, *, after: str | None, limit: int
) -> list[Row]:
    t = jwt_apps.c
    query = select(jwt_apps).where(t.account_id == account_id)
    if after is not None:
        query = query.where(t.client_id > after)
    return await _all(c, query.order_by(t.client_id).limit(limit))


async def add_app(c: AsyncConnection, columns: Row) -> None:
    await c.execute(jwt_apps.insert().values(**columns))


async def change_app(c: AsyncConnection, client_id: str, **values: object) -> None:
    await c.execute(update(jwt_apps).where(jwt_apps.c.client_id == client_id).values(**values))
