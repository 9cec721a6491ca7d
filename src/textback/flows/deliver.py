"""A delivery that is due -> its endpoint -> what came of it.

Four steps: claim, write the body down (each one transaction), post (none), record (one). A worker
that dies between the post and the record makes it come twice, with the same id and the same body:
at least once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import webhook as rule
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ports import Vault
from textback.core.told import WebhookFormat
from textback.core.webhook import Answered, NotAnswered, Verdict
from textback.db import events, webhook_deliveries, webhook_tidy, webhook_told, webhooks
from textback.db.session import transaction
from textback.db.webhook_deliveries import Held, Round
from textback.db.webhooks import Endpoint

LEASE = timedelta(seconds=45)
"""Well over what a post may take (`webhook_sender.py`) and the two transactions around it."""

KEPT = timedelta(days=30)
"""Deliveries and their attempts, from the event on; what nobody took by then is dropped as well."""

ABANDONED = timedelta(hours=1)
"""An endpoint that was made to listen by, and that nobody polls, is removed."""

Came = Literal["delivered", "again", "failed", "skipped", "kept", "lost", "unsigned"]
"""`kept`: its endpoint is paused, and it goes on from there. `lost`: somebody else has it."""


@frozen
class Recorded:
    came: Came
    paused: str | None = None
    """Why the endpoint was paused over it."""


@frozen
class Post:
    """What is posted. The body is the same at every attempt, and so is its id."""

    headers: Mapping[str, str]
    body: bytes


async def claim(
    db: AsyncEngine,
    round_: Round | None = None,
    *,
    limit: int,
    share: int,
    under_way: Mapping[str, int],
    now: datetime,
) -> tuple[list[Held], datetime | None]:
    """Take due deliveries; also say when to look again, if that is known.

    `round_`: where the claim before ended, and then where this one did.
    """
    async with transaction(db) as c:
        held, more = await webhook_deliveries.claim_due(
            c,
            round_ or Round(),
            now=now,
            lease=LEASE,
            limit=limit,
            share=share,
            under_way=under_way,
        )
        upcoming = now if held or more else await webhook_deliveries.next_due(c, now=now)
    return held, upcoming


async def write(
    db: AsyncEngine, held: Held, formats: Mapping[str, WebhookFormat], *, now: datetime
) -> bytes | Recorded:
    """The body, as it was first written; or what came of it, when there is nothing to post."""
    if held.body is not None:
        return held.body.encode()
    async with transaction(db) as c:
        body = await _body(c, held, formats, now=now)
        if isinstance(body, Recorded):
            return body
        if not await webhook_deliveries.keep_body(c, held, body.decode()):
            return Recorded(came="lost")
    return body


def signed(
    held: Held,
    body: bytes,
    formats: Mapping[str, WebhookFormat],
    vault: Vault,
    *,
    now: datetime,
) -> Post:
    """Raises ValueError when no key of ours opens a secret, KeyError when the format is gone."""
    headers = formats[held.format].headers(
        [vault.open(each.sealed) for each in held.secrets],
        webhook_id=public_id(held.event_id),
        timestamp=int(now.timestamp()),
        body=body,
    )
    return Post(headers=headers, body=body)


def public_id(event_id: int) -> str:
    return f"evt_{event_id}"


async def record(
    db: AsyncEngine, held: Held, outcome: Answered | NotAnswered, *, now: datetime
) -> Recorded:
    """Save what came of a post; the endpoint's health follows from it.

    Raises Unavailable: then the caller still knows the outcome and must try again.
    """
    verdict = rule.verdict(outcome)
    async with transaction(db) as c:
        if verdict == "delivered":
            before = await webhooks.well(c, held.endpoint_id)
            if before is not None and before.is_down:
                await webhook_deliveries.hurry(c, held.endpoint_id, now=now)
            paused = None
        else:
            paused = await _troubled(c, held, outcome, verdict, now=now)
        if not await webhook_deliveries.lock(c, held.id):  # its conversation was erased
            return Recorded(came="lost", paused=paused)
        await webhook_deliveries.note_attempt(c, held.id, outcome, now=now)
        came = await _after(c, held, outcome, verdict, now=now)
        await events.wake(c, "webhooks")  # what waited behind it may go
    return Recorded(came=came, paused=paused)


async def give_back(db: AsyncEngine, held: Held, *, until: datetime) -> None:
    """Nothing was posted: this worker stops, or cannot sign. No attempt is counted."""
    async with transaction(db) as c:
        await webhook_deliveries.put_off(c, held, until=until, tries=held.tries - 1)


async def rescue(db: AsyncEngine, *, limit: int, now: datetime) -> int:
    """Deliveries whose worker is gone: that was an attempt without an answer. Gives how many."""
    lost = NotAnswered(why="the worker was lost; it may have arrived")
    async with transaction(db) as c:
        found = await webhook_deliveries.leases_run_out(c, now=now, limit=limit)
        for delivery_id, tries in found:
            await webhook_deliveries.note_attempt(c, delivery_id, lost, now=now)
            until = rule.again_at(tries, now=now)
            await webhook_deliveries.give_up_claim(c, delivery_id, until=until, now=now)
    return len(found)


async def tidy(db: AsyncEngine, *, limit: int, now: datetime) -> int:
    """Remove what is old, and what was only listened by; gives how many rows."""
    total = 0
    while True:
        async with transaction(db) as c:
            some = await webhook_tidy.forget_old(c, before=now - KEPT, limit=limit)
        total += some
        if some < limit:
            break
    async with transaction(db) as c:
        idle = await webhook_tidy.abandoned(c, before=now - ABANDONED, limit=limit)
        for each in idle:
            await webhooks.remove(c, each, now=now)  # then nothing more is written for it
    for each in idle:
        some = limit
        while some == limit:
            async with transaction(db) as c:
                some = await webhook_tidy.forget_of(c, each, limit=limit)
            total += some
        async with transaction(db) as c:
            await webhook_tidy.forget(c, each)
    return total


async def _body(
    c: AsyncConnection, held: Held, formats: Mapping[str, WebhookFormat], *, now: datetime
) -> bytes | Recorded:
    style = formats.get(held.format)
    if style is None:
        return await _fail(c, held, f"there is no format {held.format} any more", now=now)
    found = await webhook_told.load(c, [held.event_id], history=style.wants_history)
    told = found.get(held.event_id)
    if told is None:  # its conversation was erased
        return Recorded(came="lost")
    body = style.render(told)
    if body is None:
        return await _end(c, held, "skipped", now=now)
    if len(body) > rule.MOST_BODY:
        return await _fail(c, held, f"its body has over {rule.MOST_BODY} bytes", now=now)
    return body


async def _after(
    c: AsyncConnection,
    held: Held,
    outcome: Answered | NotAnswered,
    verdict: Verdict,
    *,
    now: datetime,
) -> Came:
    if verdict == "delivered":
        return (await _end(c, held, "delivered", now=now)).came
    # One that was replaced meanwhile cannot be paused: it would be asked for ever.
    is_kept = verdict == "gone" and await webhooks.lock(c, held.endpoint_id) is not None
    if is_kept:
        kept = await webhook_deliveries.put_off(c, held, until=now, tries=held.tries - 1)
        return "kept" if kept else "lost"
    wished = outcome.retry_after if isinstance(outcome, Answered) else None
    at = rule.again_at(held.tries, now=now, retry_after=wished)
    if verdict in {"refused", "gone"} or at is None:
        return (await _end(c, held, "failed", now=now)).came
    again = await webhook_deliveries.put_off(c, held, until=at, tries=held.tries)
    return "again" if again else "lost"


async def _troubled(
    c: AsyncConnection,
    held: Held,
    outcome: Answered | NotAnswered,
    verdict: Verdict,
    *,
    now: datetime,
) -> str | None:
    """Count the failure; pause the endpoint, and tell its owner, when that is due. Says why."""
    endpoint = await webhooks.lock(c, held.endpoint_id)
    if endpoint is None or endpoint.state != "active":
        return None
    wished = outcome.retry_after if isinstance(outcome, Answered) else None
    health = rule.failed(endpoint.health, now=now, retry_after=wished)
    if health != endpoint.health:
        await webhooks.keep_health(c, endpoint.id, health)
    said = _said(outcome)
    if verdict == "gone":
        why = f"it answered that it is gone for good ({said})"
    elif rule.is_to_pause(health, now=now):
        since = health.failing_since
        why = f"every attempt has failed since {since:%Y-%m-%d %H:%M} UTC; the last one: {said}"
    else:
        return None
    await webhooks.pause(c, endpoint.id, why, now=now)
    await events.append(c, [_paused(endpoint, why)], now=now)
    return why


def _paused(endpoint: Endpoint, why: str) -> Event:
    return Event(
        kind="webhook.paused",
        account_id=endpoint.account_id,
        project_id=endpoint.project_id,
        data={
            "webhook_id": endpoint.id,
            "host": urlsplit(endpoint.url or "").netloc,
            "reason": why,
        },
    )


def _said(outcome: Answered | NotAnswered) -> str:
    return outcome.why if isinstance(outcome, NotAnswered) else f"HTTP {outcome.status}"


async def _end(
    c: AsyncConnection,
    held: Held,
    state: Literal["delivered", "failed", "skipped"],
    *,
    now: datetime,
) -> Recorded:
    ended = await webhook_deliveries.end(c, held, state, now=now)
    return Recorded(came=state if ended else "lost")


async def _fail(c: AsyncConnection, held: Held, why: str, *, now: datetime) -> Recorded:
    await webhook_deliveries.note_attempt(
        c, held.id, NotAnswered(why=f"nothing was sent: {why}"), now=now
    )
    return await _end(c, held, "failed", now=now)
