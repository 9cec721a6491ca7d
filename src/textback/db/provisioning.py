"""What `apply` reads and writes: all entries of a deployment at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, get_args

from sqlalchemy import Interval, LargeBinary, Table, bindparam, case, cast, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import ProjectId
from textback.core.policy import IdlePolicy
from textback.db import events
from textback.db.tables import (
    accounts,
    agents,
    api_keys,
    carriers,
    connectors,
    conversations,
    numbers,
    projects,
)

Kind = Literal["account", "api_key", "carrier", "agent", "project", "connector", "number"]
"""In this order each kind refers only to kinds before it."""

Key: TypeAlias = tuple[str, ...]
Row: TypeAlias = Mapping[str, Any]

_TABLES: Final[dict[Kind, Table]] = {
    "account": accounts,
    "api_key": api_keys,
    "carrier": carriers,
    "agent": agents,
    "project": projects,
    "connector": connectors,
    "number": numbers,
}

# What else than its key is unique, and what an entry has there while two swap theirs.
_UNIQUE: Final = {
    "api_key": ("hash", cast(func.concat("moving ", api_keys.c.id), LargeBinary)),
    "carrier": ("account_sid", func.concat("moving ", carriers.c.id)),
}

_ALONE: Final = int.from_bytes(b"tb apply")


def key_columns(kind: Kind) -> tuple[str, ...]:
    """What names an entry for good."""
    match kind:
        case "api_key":
            return ("account_id", "name")
        case "number":
            return ("number",)
        case _:
            return ("id",)


def gone_column(kind: Kind) -> str:
    return "revoked_at" if kind == "api_key" else "removed_at"


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows to insert, and for entries that are there the columns to set."""

    new: dict[Kind, list[Row]] = field(default_factory=dict[Kind, list[Row]])
    changed: dict[Kind, dict[Key, Row]] = field(default_factory=dict[Kind, dict[Key, Row]])
    idle: dict[ProjectId, IdlePolicy] = field(default_factory=dict[ProjectId, IdlePolicy])
    """Projects whose conversations must be warned and closed at other times."""


async def alone(c: AsyncConnection) -> None:
    """Until the commit: nobody else provisions. Call before anything is read."""
    await c.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _ALONE})


async def everything(c: AsyncConnection) -> dict[Kind, dict[Key, Row]]:
    """All entries, the removed ones too."""
    found: dict[Kind, dict[Key, Row]] = {}
    for kind, table in _TABLES.items():
        rows = (await c.execute(select(table))).mappings()
        names = key_columns(kind)
        found[kind] = {tuple(row[name] for name in names): dict(row) for row in rows}
    return found


async def write(c: AsyncConnection, changes: Changes, *, now: datetime) -> None:
    for kind in get_args(Kind):
        await _update(c, kind, changes.changed.get(kind, {}))
        if new := changes.new.get(kind):
            await c.execute(insert(_TABLES[kind]), list(new))
    for project_id, idle in changes.idle.items():
        await _recompute_deadlines(c, project_id, idle)
    if changes.idle:
        await events.wake(c, "conversations")


async def _update(c: AsyncConnection, kind: Kind, changed: Mapping[Key, Row]) -> None:
    table = _TABLES[kind]
