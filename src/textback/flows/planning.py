"""Sends that are not due yet: held until their moment, and what callers change about them.

A plan is a row of `planned_sends` with the ids that its conversation and its text will have. There
is no conversation and no text before it is due: a text queued for tomorrow would hold back what is
said to the same user today, and its conversation would close the one there is.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import quiet
from textback.core.commands import Accepted, Caller, Planned, SendText
from textback.core.errors import BadRequest, Conflict, UnknownResource
from textback.core.events import Event, Kind
from textback.core.ids import AccountId, MessageId
from textback.core.phone import channel
from textback.core.policy import ProjectPolicy
from textback.db import events, locks, planning, plans
from textback.db.planning import Plan
from textback.db.plans import PlannedSend
from textback.db.session import transaction
from textback.flows.choosing import Choice

MOST_AHEAD = timedelta(days=90)
"""How far ahead a send may be scheduled."""


async def hold(
    c: AsyncConnection, command: SendText, found: Choice, *, now: datetime
) -> tuple[datetime, Planned] | None:
    """As `held`, of what a caller asks for now.

    Who goes on with a conversation that the user takes part in, and not later, answers: at any
    hour. Raises BadRequest (send_at too far).
    """
    waits = held(found.project.policy, command, now=now)
    if waits is None or waits[1] != "quiet_hours" or command.thread != "resume":
        return waits
    at_once = command.send_at is None or command.send_at <= now
    number, user = found.number.number, command.user_number
    return None if at_once and await planning.user_takes_part(c, number, user) else waits


def held(
    policy: ProjectPolicy, command: SendText, *, now: datetime
) -> tuple[datetime, Planned] | None:
    """Until when it may not be sent, and why; None: now. Raises BadRequest (send_at too far)."""
    at, why = _scheduled(command, now)
    hours = policy.quiet_hours
    # Who writes in a chat has its page open.
    if hours is None or command.ignores_quiet_hours or channel(command.user_number) == "chat":
        return None if why is None else (at, why)
    opens = quiet.open_at(command.user_number, at, hours, policy.timezone)
    if opens > at:
        return opens, "quiet_hours"
    return None if why is None else (at, why)


def _scheduled(command: SendText, now: datetime) -> tuple[datetime, Planned | None]:
    if command.send_at is None or command.send_at <= now:
        return now, None
    if command.send_at - now > MOST_AHEAD:
        raise BadRequest(f"send_at may be at most {MOST_AHEAD.days} days ahead.")
    return command.send_at, "scheduled"


async def plan(
    c: AsyncConnection,
    caller: Caller,
    command: SendText,
    ids: Accepted,
    *,
    due: datetime,
    why: Planned,
    now: datetime,
) -> Accepted:
    """Keep until `due` what `choosing.choose` has just found nothing wrong with."""
    if ids.message_id is None:
        msg = "a plan is given an id"
        raise ValueError(msg)
    await locks.plan(c, ids.message_id)
    await planning.add(c, caller, command, ids, due=due, why=why, now=now)
    await events.append(
        c, [fact("send.planned", caller, ids.message_id, why=why, until=due)], now=now
    )
    await events.wake(c, "plans")
    return replace(ids, planned_for=due)


async def is_stored(c: AsyncConnection, send_id: str) -> bool:
    """Waits for the commit of whoever is planning it right now."""
    await locks.plan(c, send_id)
    return await planning.is_there(c, send_id)


async def cancel(
    db: AsyncEngine, account_id: AccountId, send_id: str, *, now: datetime
) -> PlannedSend:
    """It will not be sent. Raises UnknownResource, Conflict (it is over), Unavailable."""
    async with transaction(db) as c:
        found = await _waiting(c, account_id, send_id)
        await planning.cancelled(c, found.id, now=now)
        await events.append(c, [fact("send.cancelled", found.caller, found.id)], now=now)
        return await _shown(c, account_id, send_id)


async def reschedule(
    db: AsyncEngine, account_id: AccountId, send_id: str, send_at: datetime, *, now: datetime
) -> PlannedSend:
    """Another moment; quiet hours are asked again. Raises as `cancel`, and BadRequest."""
    async with transaction(db) as c:
        found = await _waiting(c, account_id, send_id)
        command = replace(found.command, send_at=send_at)
        due, why = held(found.policy, command, now=now) or (now, "scheduled")
        changed = {"send_at": send_at.astimezone(UTC).isoformat()}
        await put_off(c, found, due=due, why=why, changed=changed, now=now)
        return await _shown(c, account_id, send_id)


async def release(
    db: AsyncEngine, account_id: AccountId, send_id: str, *, now: datetime
) -> PlannedSend:
    """Send it now, whatever the hour. Raises as `cancel`.

    A row of a batch that does not run is sent once that does.
    """
    async with transaction(db) as c:
        found = await _waiting(c, account_id, send_id)
        changed = {"send_at": None, "ignores_quiet_hours": True}
        await planning.hold(c, found, due=now, why=None, changed=changed, tries=0)
        await events.wake(c, "plans")
        return await _shown(c, account_id, send_id)


async def put_off(
    c: AsyncConnection,
    found: Plan,
    *,
    due: datetime,
    why: Planned,
    changed: Mapping[str, object] | None = None,
    now: datetime,
) -> None:
    """It waits for another moment, and that is told; not of each of a batch's thousands of rows."""
    await planning.hold(c, found, due=due, why=why, changed=changed, tries=0)
    if found.batch_id is None:
        told = fact("send.planned", found.caller, found.id, why=why, until=due)
        await events.append(c, [told], now=now)
    await events.wake(c, "plans")


def fact(kind: Kind, caller: Caller, send_id: MessageId, **data: object) -> Event:
    """There is no conversation yet, so it is the project's. Moments are written as ISO 8601."""
    shown = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in data.items()}
    return Event(
        kind=kind,
        message_id=send_id,
        account_id=caller.account_id,
        project_id=caller.project_id,
        data={"id": send_id, **shown},
    )


async def _waiting(c: AsyncConnection, account_id: AccountId, send_id: str) -> Plan:
    found = await planning.lock(c, account_id, send_id)
    if found is None:
        raise UnknownResource(f"There is no planned send {send_id}.")
    if found.state != "planned":
        raise Conflict(f"{send_id} is not planned any more: it was {found.state}.")
    return found


async def _shown(c: AsyncConnection, account_id: AccountId, send_id: str) -> PlannedSend:
    found = await plans.get(c, account_id, send_id)
    if found is None:
        raise UnknownResource(f"There is no planned send {send_id}.")
    return found
