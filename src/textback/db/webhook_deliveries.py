"""Deliveries: one event for one endpoint. The row is the queue.

Of one endpoint and conversation only the oldest that is not done can be due, and one at a time is
under way: a receiver hears of a conversation in order. Events of no conversation have no order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import RowMapping, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import EndpointId
from textback.core.webhook import DOWN_AFTER, Answered, Health, NotAnswered
from textback.db.tables import webhook_attempts
from textback.db.tables import webhook_deliveries as t
from textback.db.webhooks import Secret, secret_of

Ended = Literal["delivered", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery that a worker has until `lease_until`."""

    id: int
    event_id: int
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


@dataclass(frozen=True, slots=True)
class _Line:
    endpoint_id: str
    target: str


# An endpoint has to be found by its waiting deliveries: of all that there ever were, for single
# conversations too, few have any. So this skips from endpoint to endpoint in the index, however
# many wait at each. One that a newer `send` replaced still gets what happened before.
_ENDPOINTS = text("""
    with recursive busy(id) as (
        (select endpoint_id from webhook_deliveries where state = 'waiting'
            order by endpoint_id limit 1)
        union all
        select (select d.endpoint_id from webhook_deliveries d
            where d.state = 'waiting' and d.endpoint_id > busy.id
            order by d.endpoint_id limit 1)
        from busy where busy.id is not null
    ),
    open as materialized (
        select w.id, w.failures, w.account_id || ' ' || split_part(w.url, '/', 3) as target
        from busy join webhook_endpoints w on w.id = busy.id
        where w.url is not null
            and (w.state = 'active' or (w.state = 'removed' and w.source = 'send'))
            and (w.hold_until is null or w.hold_until <= :now)
            and w.account_id || ' ' || split_part(w.url, '/', 3) <> all(:full)
    )
    select open.id, open.target
    from open
    cross join lateral (
        select d.due_at from webhook_deliveries d
        where d.endpoint_id = open.id and d.state = 'waiting' and d.due_at <= :now
            and not exists (select from webhook_deliveries o
                where o.endpoint_id = d.endpoint_id and o.conversation_id = d.conversation_id
                    and o.state in ('waiting', 'delivering')
                    and (o.id < d.id or o.state = 'delivering'))
        order by d.id limit 1
    ) oldest
    where (select count(*) from webhook_deliveries u
            where u.endpoint_id = open.id and u.state = 'delivering')
        < case when open.failures >= :down then 1 else cast(:share as int) end
    order by oldest.due_at, open.id
    limit :limit
""")

_LOCK = text("""
    select w.id, w.url, w.format, w.secrets, w.failures, a.webhook_secret
    from webhook_endpoints w join accounts a on a.id = w.account_id
    where w.id = any(:ids) and (w.hold_until is null or w.hold_until <= :now)
        and (w.state = 'active' or (w.state = 'removed' and w.source = 'send'))
    for no key update of w skip locked
""")

_OLDEST = text("""
    select d.id, d.event_id, d.body, d.tries,
        (select count(*) from webhook_deliveries u
            where u.endpoint_id = :endpoint and u.state = 'delivering') as under_way
    from webhook_deliveries d
    where d.endpoint_id = :endpoint and d.state = 'waiting' and d.due_at <= :now
        and not exists (select from webhook_deliveries o
            where o.endpoint_id = d.endpoint_id and o.conversation_id = d.conversation_id
                and o.state in ('waiting', 'delivering')
                and (o.id < d.id or o.state = 'delivering'))
    order by d.id limit :share
""")


async def claim_due(
    c: AsyncConnection,
    *,
    now: datetime,
    lease: timedelta,
    limit: int,
    share: int,
    under_way: Mapping[str, int],
) -> list[Held]:
    """Take up to `limit`, and of one endpoint or target no more than `share` at once.

    `under_way`: how many this worker has of each target. Of an endpoint that is down one at a time
    is taken. While some are taken others may be due, which were left for the sake of their target.
    """
    full = [target for target, n in under_way.items() if n >= share]
    rows = await c.execute(
        _ENDPOINTS, {"now": now, "full": full, "limit": limit, "down": DOWN_AFTER, "share": share}
    )
    lines = [_Line(row.id, row.target) for row in rows]
    # Locked: nobody else claims of them, so that what is under way there is known.
    locked = await c.execute(_LOCK, {"ids": [each.endpoint_id for each in lines], "now": now})
    found = {row["id"]: row for row in locked.mappings()}
    taken: list[Held] = []
    have = dict(under_way)
    for line in lines:
        entry = found.get(line.endpoint_id)
        if entry is None:
            continue
        room = min(share - have.get(line.target, 0), limit - len(taken))
        some = await _take(c, line, entry, room, now=now, lease=lease, share=share)
        have[line.target] = have.get(line.target, 0) + len(some)
        taken += some
    return taken


async def _take(
    c: AsyncConnection,
    line: _Line,
    entry: RowMapping,
    room: int,
    *,
    now: datetime,
    lease: timedelta,
    share: int,
) -> list[Held]:
    if room <= 0:
        return []
    asked = {"endpoint": line.endpoint_id, "now": now, "share": share}
    oldest = (await c.execute(_OLDEST, asked)).all()
    if not oldest:
        return []
    allowed = 1 if Health(failures=entry["failures"]).is_down else share
    # Two of no conversation may go at once, two of one may not: and none of it is under way.
    chosen = oldest[: max(0, min(room, allowed - oldest[0].under_way))]
    if chosen:
        await c.execute(
            update(t)
            .where(t.c.id.in_([row.id for row in chosen]))
            .values(state="delivering", due_at=None, lease_until=now + lease, tries=t.c.tries + 1)
        )
    return [
        Held(
            id=row.id,
            event_id=row.event_id,
            endpoint_id=EndpointId(line.endpoint_id),
            target=line.target,
            url=entry["url"],
            format=entry["format"],
            secrets=_signing(entry, now=now),
            body=row.body,
            tries=row.tries + 1,
            lease_until=now + lease,
        )
        for row in chosen
    ]


async def next_due(c: AsyncConnection, *, now: datetime) -> datetime | None:
    later = select(func.min(t.c.due_at)).where(t.c.state == "waiting", t.c.due_at > now)
    return await c.scalar(later)


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
    secrets = [secret_of(each) for each in entry["secrets"]]
    if not secrets and entry["webhook_secret"] is not None:
        secrets = [Secret(sealed=entry["webhook_secret"])]
    return [each for each in secrets if each.until is None or each.until > now]
