"""Deliveries: one event for one endpoint. The row is the queue.

Of one endpoint and conversation only the oldest that is not done can be due, and one at a time is
under way: a receiver hears of a conversation in order. Events of no conversation have no order.
How what is due is found is in `webhook_claim_queries.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import RowMapping, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import ConversationId, EndpointId, MessageId
from textback.core.webhook import DOWN_AFTER, Answered, Health, NotAnswered
from textback.db import webhook_claim_queries as q
from textback.db.tables import webhook_attempts
from textback.db.tables import webhook_deliveries as t
from textback.db.webhooks import Secret, of_account, secret_of

Ended = Literal["delivered", "failed", "skipped"]

# One plan for all claims, by the indexes whose order the questions name: while nothing waits, it
# seems cheap to read and sort all that there is.
_PLANNED: Final = select(
    func.set_config("plan_cache_mode", "force_generic_plan", True),  # noqa: FBT003 - SQL's
    *(
        func.set_config(f"enable_{way}", "off", True)  # noqa: FBT003
        for way in ("sort", "incremental_sort", "seqscan")
    ),
    func.set_config("jit", "off", True),  # noqa: FBT003 - what is switched off counts as costly
)
# An `id` is in several indexes, and while there are no rows all of them seem as good as the first.
_PLANNED_ANEW: Final = select(
    func.set_config("plan_cache_mode", "force_custom_plan", True)  # noqa: FBT003
)


@frozen
class Held:
    """A delivery that a worker has until `lease_until`."""

    id: int
    event_id: int
    conversation_id: ConversationId | None
    message_id: MessageId | None
    endpoint_id: EndpointId
    target: str
    """Whose, and which host: what may be slow together."""
    url: str
    format: str
    secrets: Sequence[Secret] = field(repr=False)
    """Those that sign now, the newest first."""
    body: str | None = field(repr=False)
    """None: not written yet."""
    tries: int
    """This one included."""
    lease_until: datetime


@dataclass(slots=True)
class Round:
    """Where a worker's claims go on, when there is more than they look at at once."""

    endpoint: str = ""
    """Behind this one."""
    pair: tuple[str, str] = ("", "")
    """Behind this endpoint and conversation."""


@dataclass(slots=True)
class _Line:
    """Of one endpoint, what was found before it was locked."""

    target: str
    in_turn: bool
    oldest: datetime
    ids: list[int] = field(default_factory=list[int])


async def claim_due(
    c: AsyncConnection,
    round_: Round,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    share: int,
    under_way: Mapping[str, int],
) -> tuple[list[Held], bool]:
    """Take up to `limit`, and of one endpoint or target no more than `share` at once.

    Gives also whether more may be due that was not looked at. `under_way`: how many this worker has
    of each target. Of an endpoint that is down one at a time is taken. While some are taken others
    may be due, which were left for the sake of their target.
    """
    await c.execute(_PLANNED)
    full = [target for target, n in under_way.items() if n >= share]
    given = {"now": now, "full": full, "limit": limit, "down": DOWN_AFTER, "share": share}
    found, more = await _found(c, round_, given)
    if not found:
        return [], more
    lines = sorted(found.items(), key=_place)[:limit]
    # Locked: nobody else claims of them, so that what is under way there is known.
    locked = await c.execute(q.LOCK, {"ids": [each for each, _ in lines], "now": now})
    entries = {row["id"]: row for row in locked.mappings()}
    ids = [id_ for endpoint, line in lines if endpoint in entries for id_ in line.ids]
    oldest: dict[str, list[RowMapping]] = {}
    for row in (await c.execute(q.STILL, {"ids": ids, "now": now})).mappings():
        oldest.setdefault(row["endpoint_id"], []).append(row)
    taken: list[Held] = []
    have = dict(under_way)
    for endpoint, line in lines:
        rows = oldest.get(endpoint, [])
        if not rows:
            continue
        entry = entries[endpoint]
        allowed = 1 if Health(failures=entry["failures"]).is_down else share
        # Two of no conversation may go at once, two of one may not: and none of it is under way.
        room = min(
            share - have.get(line.target, 0),
            limit - len(taken),
            allowed - rows[0]["under_way"],
        )
        chosen = rows[: max(0, room)]
        have[line.target] = have.get(line.target, 0) + len(chosen)
        taken += [_held(row, entry, line.target, now=now, until=now + lease) for row in chosen]
    if taken:
        await c.execute(_PLANNED_ANEW)
        await c.execute(q.TAKE, {"ids": [each.id for each in taken], "lease_until": now + lease})
    return taken, more


async def _found(
    c: AsyncConnection, round_: Round, given: Mapping[str, object]
) -> tuple[dict[str, _Line], bool]:
    """What seems to be due by endpoint, and whether there may be more.

    It goes on until it finds something, or has seen the last endpoint. So there is no more only if
    it began with the first one, and whoever is woken meanwhile looks again.
    """
    found: dict[str, _Line] = {}
    began, crowded = round_.endpoint, False
    while True:
        asked = {**given, "after": round_.endpoint}
        rows = (await c.execute(q.FRONTS, asked)).mappings().all()
        round_.endpoint = rows[0]["last"] or ""
        crowded = crowded or rows[0]["crowded"]
        _sort_in(found, rows)
        if found or not round_.endpoint:
            break
    more = bool(round_.endpoint or (began and not found))
    if crowded:
        endpoint, conversation = round_.pair
        asked = {**given, "endpoint": endpoint, "conversation": conversation}
        rows = (await c.execute(q.BEHIND, asked)).mappings().all()
        endpoint, conversation = rows[0]["last"] or ("", "")
        round_.pair = endpoint, conversation
        _sort_in(found, rows)
        more = more or bool(endpoint)
    return found, more


def _place(line: tuple[str, _Line]) -> tuple[bool, datetime, str]:
    """The oldest first, but of those whose turn it is: what is older elsewhere may be very much."""
    return not line[1].in_turn, line[1].oldest, line[0]


def _sort_in(found: dict[str, _Line], rows: Sequence[RowMapping]) -> None:
    for row in rows:
        if row["id"] is None:  # there is nothing but what is told beside it
            continue
        line = found.setdefault(
            row["endpoint_id"], _Line(row["target"], row["in_turn"], row["due_at"])
        )
        line.oldest = min(line.oldest, row["due_at"])
        if row["id"] not in line.ids:
            line.ids.append(row["id"])


def _held(
    row: RowMapping, entry: RowMapping, target: str, *, now: datetime, until: datetime
) -> Held:
    return Held(
        id=row["id"],
        event_id=row["event_id"],
        conversation_id=row["conversation_id"],
        message_id=row["message_id"],
        endpoint_id=EndpointId(row["endpoint_id"]),
        target=target,
        url=entry["url"],
        format=entry["format"],
        secrets=_signing(entry, now=now),
        body=row["body"],
        tries=row["tries"] + 1,
        lease_until=until,
    )


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    """Call after `claim_due`, if that found nothing."""
    return await c.scalar(q.NEXT_DUE, {"now": now})


async def keep_body(c: AsyncConnection, held: Held, body: str) -> bool:
    return await _set(c, held, body=body)


async def end(c: AsyncConnection, held: Held, state: Ended, *, now: datetime) -> bool:
    return await _set(c, held, state=state, ended_at=now, lease_until=None)


async def put_off(c: AsyncConnection, held: Held, *, until: datetime, tries: int) -> bool:
    return await _set(c, held, state="waiting", due_at=until, tries=tries, lease_until=None)


async def lock(c: AsyncConnection, delivery_id: int) -> bool:
    """Whether it is still there."""
    found = select(t.c.id).where(t.c.id == delivery_id).with_for_update()
    return await c.scalar(found) is not None


async def note_attempt(
    c: AsyncConnection, delivery_id: int, outcome: Answered | NotAnswered, *, now: datetime
) -> None:
    answered = outcome if isinstance(outcome, Answered) else None
    latest = select(func.coalesce(func.max(webhook_attempts.c.number), 0) + 1).where(
        webhook_attempts.c.delivery_id == delivery_id
    )
    await c.execute(
        insert(webhook_attempts).values(
            delivery_id=delivery_id,
            number=latest.scalar_subquery(),
            at=now,
            status=None if answered is None else answered.status,
            milliseconds=outcome.milliseconds,
            error=outcome.why if isinstance(outcome, NotAnswered) else None,
            answer=None if answered is None else answered.body,
        )
    )


async def hurry(c: AsyncConnection, endpoint_id: EndpointId, *, now: datetime) -> None:
    """The endpoint answers again: what was to wait long does not."""
    await c.execute(
        update(t)
        .where(t.c.endpoint_id == endpoint_id, t.c.state == "waiting", t.c.due_at > now)
        .values(due_at=now)
    )


async def leases_run_out(c: AsyncConnection, *, now: datetime, limit: int) -> list[tuple[int, int]]:
    """Of workers that are gone: id and tries. What its owner fetches waits for its owner."""
    rows = await c.execute(
        select(t.c.id, t.c.tries)
        .where(t.c.state == "delivering", t.c.lease_until <= now, t.c.pulled.is_(False))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [(row.id, row.tries) for row in rows]


async def give_up_claim(
    c: AsyncConnection, delivery_id: int, *, until: datetime | None, now: datetime
) -> None:
    """Of a locked one whose worker is gone. `until` None: it was the last attempt."""
    ended = {"state": "failed", "ended_at": now} if until is None else {"state": "waiting"}
    await c.execute(
        update(t).where(t.c.id == delivery_id).values(due_at=until, lease_until=None, **ended)
    )


async def _set(c: AsyncConnection, held: Held, **values: object) -> bool:
    """Compare and set: False when the lease ran out and somebody else has it, or it is over."""
    done = await c.execute(
        update(t)
        .where(
            t.c.id == held.id,
            t.c.state == "delivering",
            t.c.lease_until == held.lease_until,
            t.c.tries == held.tries,
        )
        .values(**values)
    )
    return done.rowcount == 1


def _signing(entry: RowMapping, *, now: datetime) -> list[Secret]:
    """Its own, or else its account's."""
    secrets = [secret_of(each) for each in entry["secrets"]] or of_account(entry)
    return [each for each in secrets if each.until is None or each.until > now]
