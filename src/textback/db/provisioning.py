"""What `apply` reads and writes: all entries of a deployment at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    RowMapping,
    Table,
    case,
    insert,
    null,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import EndpointId, ProjectId
from textback.core.policy import IdlePolicy
from textback.core.storable import is_text
from textback.db import webhooks
from textback.db.numbers import LOOK_BACK
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

Kind = Literal[
    "account",
    "api_key",
    "jwt_app",
    "carrier",
    "agent",
    "project",
    "connector",
    "number",
    "webhook",
]
"""In this order each kind refers only to kinds before it."""

Key: TypeAlias = tuple[str, ...]
Row: TypeAlias = Mapping[str, object]

_TABLES: Final[dict[Kind, Table]] = {
    "account": accounts,
    "api_key": api_keys,
    "jwt_app": jwt_apps,
    "carrier": carriers,
    "agent": agents,
    "project": projects,
    "connector": connectors,
    "number": numbers,
    "webhook": webhook_endpoints,
}

_UNIQUE: Final[dict[Kind, tuple[str, ...]]] = {
    "api_key": ("hash", "public_id"),
    "carrier": ("account_sid",),
}
"""What else than its key no two entries may share."""

_ALONE: Final = int.from_bytes(b"tb apply")


def key_columns(kind: Kind) -> tuple[str, ...]:
    """What names an entry for good."""
    match kind:
        case "api_key":
            return ("account_id", "name")
        case "number":
            return ("number",)
        case "jwt_app":
            return ("client_id",)
        case _:
            return ("id",)


def gone_column(kind: Kind) -> str:
    return "revoked_at" if kind in {"api_key", "jwt_app"} else "removed_at"


@frozen(kw_only=False)
class Changes:
    """Rows to insert, and for entries that are there the columns to set."""

    new: dict[Kind, list[Row]] = field(default_factory=dict[Kind, list[Row]])
    changed: dict[Kind, dict[Key, Row]] = field(default_factory=dict[Kind, dict[Key, Row]])
    versions: list[Row] = field(default_factory=list[Row])
    """Of agents, to insert."""
    of_versions: dict[tuple[str, int], Row] = field(default_factory=dict[tuple[str, int], Row])
    """By agent and number, the columns to set."""
    idle: dict[ProjectId, IdlePolicy] = field(default_factory=dict[ProjectId, IdlePolicy])
    """Projects whose conversations must be warned and closed at other times."""


async def alone(c: AsyncConnection) -> None:
    """Until the commit: nobody else provisions. Call before anything is read."""
    await c.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _ALONE})


async def everything(c: AsyncConnection) -> dict[Kind, dict[Key, Row]]:
    """All entries, the removed ones too. Of webhooks those of a conversation are no entries."""
    found: dict[Kind, dict[Key, Row]] = {}
    for kind, table in _TABLES.items():
        query = select(table)
        if kind == "webhook":
            query = query.where(webhook_endpoints.c.conversation_id.is_(None))
        found[kind] = _by_key(kind, (await c.execute(query)).mappings())
    return found


async def some(
    c: AsyncConnection, wanted: Mapping[Kind, Collection[str]]
) -> dict[Kind, dict[Key, Row]]:
    """Those entries alone, by their ids (numbers, client ids); not of API keys."""
    found: dict[Kind, dict[Key, Row]] = {}
    for kind, table in _TABLES.items():
        found[kind] = {}
        if ids := [each for each in wanted.get(kind, ()) if is_text(each)]:
            query = select(table).where(table.c[key_columns(kind)[0]].in_(ids))
            found[kind] = _by_key(kind, (await c.execute(query)).mappings())
    return found


def _by_key(kind: Kind, rows: Iterable[RowMapping]) -> dict[Key, Row]:
    names = key_columns(kind)
    return {tuple(row[name] for name in names): dict(row) for row in rows}


async def versions(
    c: AsyncConnection, of: Collection[str] | None = None
) -> dict[str, dict[int, Row]]:
    """All versions of these agents; None: of all."""
    query = select(agent_versions)
    if of is not None:
        query = query.where(agent_versions.c.agent_id.in_(of))
    found: dict[str, dict[int, Row]] = {}
    for row in (await c.execute(query)).mappings():
        found.setdefault(row["agent_id"], {})[row["number"]] = dict(row)
    return found


async def write(c: AsyncConnection, changes: Changes, *, now: datetime) -> None:
    for kind, table in _TABLES.items():
        changed = changes.changed.get(kind, {})
        # Two entries may trade theirs (keys named "current" and "previous"): first all let go.
        for key, row in changed.items():
            traded = [column for column in _UNIQUE.get(kind, ()) if column in row]
            if traded:
                gone = {column: _nobodys(row[column], key) for column in traded}
                await _set(c, kind, key, gone)
        for key, row in changed.items():
            if kind == "webhook" and row.get("removed_at") is not None:
                await webhooks.remove(c, EndpointId(key[0]), now=now)
                continue
            is_ours_anew = kind == "number" and ("carrier_id" in row or _is_back(row))
            await _set(c, kind, key, {**row, **_swept_from(now)} if is_ours_anew else row)
        if new := changes.new.get(kind):
            more = _swept_from(now) if kind == "number" else dict[str, object]()
            await c.execute(insert(table), [{**row, **more} for row in new])
        if kind == "agent":
            await _write_versions(c, changes)
    for project_id, idle in changes.idle.items():
        await _recompute_deadlines(c, project_id, idle)


async def _write_versions(c: AsyncConnection, changes: Changes) -> None:
    v = agent_versions
    if changes.versions:
        await c.execute(insert(v), changes.versions)
    for (agent_id, number), columns in changes.of_versions.items():
        which = [v.c.agent_id == agent_id, v.c.number == number]
        await c.execute(update(v).where(*which).values(**columns))


def _is_back(changed: Row) -> bool:
    return changed.get("removed_at", changed) is None


def _swept_from(now: datetime) -> Row:
    """What users texted to a number before we had it is not looked for, and never answered."""
    return {"swept_until": now + LOOK_BACK, "sweep_at": now}


def _nobodys(value: object, key: Key) -> object:
    name = "moving " + "/".join(key)  # no AccountSid has a blank; no hash is text
    return name.encode() if isinstance(value, bytes) else name


async def _set(c: AsyncConnection, kind: Kind, key: Key, row: Row) -> None:
    table = _TABLES[kind]
    which = [table.c[name] == part for name, part in zip(key_columns(kind), key, strict=True)]
    await c.execute(update(table).where(*which).values(**row))


async def _recompute_deadlines(
    c: AsyncConnection, project_id: ProjectId, policy: IdlePolicy
) -> None:
    """As `core.conversation.deadline`, for all live conversations of the project at once."""
    t = conversations.c

    def after(start: Column[datetime], span: timedelta | None) -> ColumnElement[datetime | None]:
        return null() if span is None else start + span

    await c.execute(
        update(conversations)
        .where(t.project_id == project_id, t.state != "closed", t.idle.is_(None))
        .values(
            deadline_at=case(
                (t.state == "opened", after(t.active_at, policy.unanswered_after)),
                (t.state == "engaged", after(t.active_at, policy.warn_after or policy.end_after)),
                (t.state == "paused", t.paused_until),
                (t.state == "handed_off", null()),
                else_=after(t.warned_at, policy.close_after),
            )
        )
    )
