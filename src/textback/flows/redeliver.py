"""What an endpoint's owner asks for again, tries out, or comes and fetches."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.core.errors import BadRequest, Conflict, UnknownResource
from textback.core.events import Event
from textback.core.frozen import frozen
from textback.core.ids import AccountId
from textback.core.told import Told, WebhookFormat
from textback.db import events, webhook_pull, webhook_told, webhooks
from textback.db.session import transaction
from textback.db.webhook_deliveries import Ended
from textback.flows.webhooks import locked

MOST_AGAIN: Final = 10_000
"""Deliveries that one replay of an endpoint sets going."""

_A_TICK: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SEEN: Final = timedelta(minutes=1)
"""So often it is noted that an endpoint is polled in vain."""


@frozen
class Polled:
    told: Sequence[tuple[int, Told]]
    """The oldest first: the delivery, and what it tells."""
    after: str | None
    """Acknowledges them."""


async def test(db: AsyncEngine, account_id: AccountId, endpoint_id: str, *, now: datetime) -> int:
    """A `webhook.tested` for this endpoint only; gives its delivery. Raises UnknownResource."""
    async with transaction(db) as c:
        endpoint = await locked(c, account_id, endpoint_id)
        event = Event(
            kind="webhook.tested",
            account_id=account_id,
            project_id=endpoint.project_id,
            data={"webhook_id": endpoint.id},
        )
        delivery_id = await webhooks.tell_only(c, endpoint, event, now=now)
        await events.wake(c, "webhooks")
    return delivery_id


async def replay(
    db: AsyncEngine, account_id: AccountId, delivery_id: int, *, now: datetime
) -> None:
    """Deliver it once more, with the same id and body, or at once if it waits.

    Raises UnknownResource, Conflict (it is under way).
    """
    async with transaction(db) as c:
        endpoint_id = await webhook_pull.endpoint_of(c, delivery_id)
        if endpoint_id is None:
            raise _no_delivery()
        if await webhooks.lock(c, endpoint_id, of=account_id) is None:
            raise _no_delivery()
        state = await webhook_pull.state_of(c, delivery_id)
        if state is None:
            raise _no_delivery()
        if state == "delivering":
            raise Conflict("It is being delivered right now.")
        await webhook_pull.again(c, delivery_id, now=now)
        await events.wake(c, "webhooks")


async def replay_all(
    db: AsyncEngine,
    account_id: AccountId,
    endpoint_id: str,
    states: Collection[Ended],
    *,
    since: datetime,
    now: datetime,
) -> int:
    """Gives how many; as many as `MOST_AGAIN` may mean that there are more.

    Raises UnknownResource.
    """
    async with transaction(db) as c:
        endpoint = await locked(c, account_id, endpoint_id)
        count = await webhook_pull.all_again(
            c, endpoint.id, states, since=since, limit=MOST_AGAIN, now=now
        )
        await events.wake(c, "webhooks")
    return count


async def poll(
    db: AsyncEngine,
    account_id: AccountId,
    endpoint_id: str,
    *,
    after: str | None,
    limit: int,
    formats: Mapping[str, WebhookFormat],
    now: datetime,
) -> Polled:
    """What waits for a pull endpoint; what `after` was given with has arrived and is done.

    Whatever was handed out and not acknowledged comes again. Raises UnknownResource, Conflict.
    """
    async with transaction(db) as c:
        endpoint = await locked(c, account_id, endpoint_id)
        if endpoint.url is not None:
            raise Conflict("This webhook has a url: its events are posted there.")
        if after is not None:
            await webhook_pull.acknowledge(c, endpoint.id, _moment(after), now=now)
        if endpoint.state == "paused":
            return Polled(told=(), after=None)
        at = max(now, (endpoint.polled_at or now) + _A_TICK)
        found = await webhook_pull.hand_out(c, endpoint.id, at=at, limit=limit)
        style = formats[endpoint.format]
        told = await webhook_told.load(c, [e for _, e in found], history=style.wants_history)
        news = [(d, told[e]) for d, e in found if style.render(told[e]) is not None]
        ours = {d for d, _ in news}
        await webhook_pull.skip(c, [d for d, _ in found if d not in ours], now=now)
        if found or endpoint.polled_at is None or now - endpoint.polled_at > _SEEN:
            await webhooks.change(c, endpoint.id, polled_at=at)
    return Polled(told=news, after=_token(at) if news else None)


def _no_delivery() -> UnknownResource:
    return UnknownResource("There is no delivery with that id.")


def _token(at: datetime) -> str:
    return str((at - _EPOCH) // _A_TICK)


def _moment(token: str) -> datetime:
    """Raises BadRequest."""
    if not re.fullmatch(r"[0-9]{1,17}", token):
        raise BadRequest("after is not one that a poll gave.")
    return _EPOCH + int(token) * _A_TICK
