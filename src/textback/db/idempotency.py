"""Idempotency keys live in the transaction of what they protect."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg
from pydantic import TypeAdapter
from pydantic_core import to_json
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Accepted, Idempotency
from textback.core.errors import KeyReused, Unavailable
from textback.core.ids import AccountId
from textback.core.policy import IDEMPOTENCY_TTL
from textback.db import locks
from textback.db.driver import Statement
from textback.db.tables import idempotency_keys as t

_ACCEPTED = TypeAdapter(Accepted)

_FIND = Statement("""
    select t.fingerprint, t.answer, t.conversation_id, t.message_id
    from unnest(cast(:accounts as text[]), cast(:routes as text[]), cast(:keys as text[]))
        with ordinality as a (account_id, route, key, place)
    left join idempotency_keys t on t.account_id = a.account_id and t.route = a.route
        and t.key = a.key and t.expires_at > cast(:now as timestamptz)
    order by a.place
""")

_CLAIM_MANY = Statement("""
    insert into idempotency_keys (account_id, route, key, fingerprint, expires_at, answer)
    select account_id, route, key, decode(fingerprint, 'hex'), expires_at, answer
    from jsonb_to_recordset(cast(:rows as jsonb)) as r (
        account_id text, route text, key text, fingerprint text, expires_at timestamptz,
        answer jsonb)
    on conflict do nothing
    returning account_id, route, key
""")


async def find(
    c: AsyncConnection, account_id: AccountId, key: Idempotency, *, now: datetime
) -> Accepted | None:
    """The first answer to a send, if this one came before. Raises KeyReused when another did."""
    first = await find_answer(c, account_id, key, now=now)
    return None if first is None else replayed(first)


def replayed(first: Mapping[str, Any]) -> Accepted:
    """The first answer to a send."""
    return replace(_ACCEPTED.validate_python(dict(first)), replayed=True)


async def find_answer(
    c: AsyncConnection, account_id: AccountId, key: Idempotency, *, now: datetime
) -> Mapping[str, Any] | None:
    """As `find`, of any request."""
    [first] = await find_answers(c, [(account_id, key)], now=now)
    if isinstance(first, KeyReused):
        raise first
    return first


async def find_answers(
    c: AsyncConnection, asked: Sequence[tuple[AccountId, Idempotency]], *, now: datetime
) -> list[Mapping[str, Any] | KeyReused | None]:
    """As `find_answer`, of many, in their order."""
    rows = await _FIND.rows(
        c,
        accounts=[account_id for account_id, _ in asked],
        routes=[key.route for _, key in asked],
        keys=[key.key for _, key in asked],
        now=now,
    )
    return [_first(row, key) for row, (_, key) in zip(rows, asked, strict=True)]


def _first(row: asyncpg.Record, key: Idempotency) -> Mapping[str, Any] | KeyReused | None:
    if row["fingerprint"] is None:
        return None
    if row["fingerprint"] != key.fingerprint:
        msg = "This Idempotency-Key was used for a different request; use a new key for a new one."
        return KeyReused(msg)
    if row["answer"] is None:  # as the release before wrote it
        return {"conversation_id": row["conversation_id"], "message_id": row["message_id"]}
    answer: Mapping[str, Any] = row["answer"]
    return answer


async def claim(
    c: AsyncConnection,
    account_id: AccountId,
    key: Idempotency,
    answer: Accepted | Mapping[str, object],
    *,
    now: datetime,
) -> Mapping[str, Any] | None:
    """Remember `answer` under `key`; when the key is taken, the first answer instead.

    A concurrent request with the same key waits here until the first one commits. Raises KeyReused.
    """
    await locks.key(c, account_id, key)
    values = {
        "fingerprint": key.fingerprint,
        "conversation_id": None,
        "message_id": None,
        "answer": _json(answer),
        "expires_at": now + IDEMPOTENCY_TTL,
    }
    result = await c.execute(
        insert(t)
        .values(account_id=account_id, route=key.route, key=key.key, **values)
        .on_conflict_do_update(
            index_elements=["account_id", "route", "key"], set_=values, where=t.c.expires_at <= now
        )
    )
    if result.rowcount == 1:
        return None
    first = await find_answer(c, account_id, key, now=now)
    if first is None:  # it ran out between the two statements
        raise Unavailable
    return first


async def claim_many(
    c: AsyncConnection,
    given: Sequence[tuple[AccountId, Idempotency, Accepted]],
    *,
    now: datetime,
) -> set[tuple[AccountId, str, str]]:
    """As `claim`, of keys that are locked (`locks.try_all`): those that were not taken before."""
    rows = [
        {
            "account_id": account_id,
            "route": key.route,
            "key": key.key,
            "fingerprint": key.fingerprint.hex(),
            "expires_at": now + IDEMPOTENCY_TTL,
            "answer": _json(answer),
        }
        for account_id, key, answer in given
    ]
    done = await _CLAIM_MANY.rows(c, rows=to_json(rows).decode())
    return {(AccountId(row["account_id"]), row["route"], row["key"]) for row in done}


async def settle(
    c: AsyncConnection,
    account_id: AccountId,
    key: Idempotency,
    answer: Accepted | Mapping[str, object],
) -> None:
    """Only at its end is it known what a claimed request is answered."""
    await c.execute(
        update(t)
        .where(t.c.account_id == account_id, t.c.route == key.route, t.c.key == key.key)
        .values(answer=_json(answer))
    )


def _json(answer: Accepted | Mapping[str, object]) -> Mapping[str, object]:
    return _ACCEPTED.dump_python(answer, mode="json") if isinstance(answer, Accepted) else answer


async def forget_expired(c: AsyncConnection, *, now: datetime, limit: int) -> int:
    some = select(t.c.account_id, t.c.route, t.c.key).where(t.c.expires_at <= now).limit(limit)
    keys = (await c.execute(some)).all()
    for row in keys:
        await c.execute(
            delete(t).where(
                t.c.account_id == row.account_id,
                t.c.route == row.route,
                t.c.key == row.key,
                t.c.expires_at <= now,
            )
        )
    return len(keys)
