"""Many rows in one statement, as JSON: the cheapest that SQLAlchemy can send.

Its own multi-row `insert().values([...])` makes a parameter of every cell, which costs ten times as
much in this process (ADR 35).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from pydantic_core import to_json
from sqlalchemy import Table
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.db.driver import Statement
from textback.db.events import CHANNEL, Queue

Rows: TypeAlias = tuple[Table, Sequence[Mapping[str, Any]]]
"""Rows have the same columns, and values that JSON can say: no bytes, no spans of time. Where all
have None, the column's default is taken."""


async def insert(c: AsyncConnection, *into: Rows, wake: Queue) -> None:
    """All in one statement, which wakes workers at the commit, as `events.wake` does."""
    full = [(table, _full(rows), rows) for table, rows in into]
    of = tuple((table, columns) for table, columns, _ in full)
    given = {
        table.name: to_json([{name: row[name] for name in columns} for row in rows]).decode()
        for table, columns, rows in full
    }
    await _insert(of).rows(c, **given, channel=CHANNEL, queue=wake)


def _full(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns that have something in them: half of a new row's have not."""
    return tuple(name for name in rows[0] if any(row[name] is not None for row in rows))


@cache
def _insert(into: tuple[tuple[Table, tuple[str, ...]], ...]) -> Statement:
    done = ", ".join(f"new_{table.name} as ({_one(table, columns)})" for table, columns in into)
    return Statement(f"with {done} select pg_notify(:channel, :queue)")


def _one(table: Table, columns: tuple[str, ...]) -> str:
    # Names of columns come from our own code, never from a caller.
    names = ", ".join(f'"{name}"' for name in columns)
    return (
        f"insert into {table.name} ({names}) select {names}"  # noqa: S608
        f" from jsonb_populate_recordset(null::{table.name}, cast(:{table.name} as jsonb))"
    )
