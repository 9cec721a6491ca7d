"""Locks that have no row: what is decided about a pair of numbers is decided one at a time.

Lock order: ARCHITECTURE.md, Locks.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Idempotency
from textback.core.ids import AccountId, CarrierId, ProjectId
from textback.core.phone import Phone
from textback.db.driver import Statement

_WAIT: Final = Statement("select pg_advisory_xact_lock(cast(:key as bigint))")
_TRY: Final = Statement("""
    select n from unnest(cast(:keys as bigint[])) with ordinality as k (key, n)
    where pg_try_advisory_xact_lock(key)
""")


async def pair(c: AsyncConnection, agent_number: Phone, user_number: Phone) -> None:
    """Until the commit: nobody else accepts, hears or opts out for these two numbers."""
    await _lock(c, name_of_pair(agent_number, user_number))


def number_of_pair(agent_number: Phone, user_number: Phone) -> int:
    """What `pair` locks, for statements that lock many themselves."""
    return _key(name_of_pair(agent_number, user_number))


def name_of_pair(agent_number: Phone, user_number: Phone) -> str:
    return f"pair {agent_number} {user_number}"


def name_of_key(account_id: AccountId, key: Idempotency) -> str:
    return f"key {account_id} {key.route} {key.key}"


def name_of_user(project_id: ProjectId, user_number: Phone) -> str:
    return f"user {project_id} {user_number}"


async def key(c: AsyncConnection, account_id: AccountId, key: Idempotency) -> None:
    """Until the commit: whether a request came before is not known before. Taken first of all."""
    await _lock(c, name_of_key(account_id, key))


async def try_all(c: AsyncConnection, names: Sequence[str]) -> set[str]:
    """Those that nobody else has. Never waits."""
    got = await _TRY.rows(c, keys=[_key(name) for name in names])
    return {str(names[row["n"] - 1]) for row in got}


async def user(c: AsyncConnection, project_id: ProjectId, user_number: Phone) -> None:
    """Until the commit: nobody else picks a number for this user of the project."""
    await _lock(c, name_of_user(project_id, user_number))


async def on_record(c: AsyncConnection, carrier_id: CarrierId, carrier_message_id: str) -> None:
    """Until the commit nobody else puts this text on record. Taken after the pair."""
    await _lock(c, f"on-record {carrier_id} {carrier_message_id}")


async def plan(c: AsyncConnection, send_id: str) -> None:
    """Until the commit: whether it is planned is not known before. Held by nobody for long."""
    await _lock(c, f"plan {send_id}")


async def try_limit(c: AsyncConnection, project_id: ProjectId) -> bool:
    """Until the commit nobody else tells that the project's limit is reached; False: somebody does.

    Taken alone.
    """
    key = _key(f"limit {project_id}")
    return bool(await c.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": key}))


async def _lock(c: AsyncConnection, name: str) -> None:
    await _WAIT.rows(c, key=_key(name))


def _key(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
