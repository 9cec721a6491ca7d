"""A caller says who wants no texts, and who wants them again: of a number, or of a whole project.

What a user says by a keyword is in `flows/opt_out.py`; both end in the same rows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.errors import (
    BadRequest,
    Conflict,
    NumberNotProvisioned,
    Refusal,
    Unavailable,
    UnknownResource,
)
from textback.core.events import By, Event, Kind
from textback.core.frozen import frozen
from textback.core.ids import AccountId, ProjectId
from textback.core.optout import every_number_of, project_of
from textback.core.phone import Phone
from textback.core.storable import is_text
from textback.db import events, locks, opt_outs
from textback.db.opt_outs import Source
from textback.db.session import transaction
from textback.flows import opt_out

MAX_REASON = 500

State = Literal["recorded", "already"]


@frozen
class Wish:
    """Whom not to text, and from where."""

    user_number: Phone
    agent_number: str | None = None
    """One of the account's numbers; else `project`, for every number of it."""
    project: str | None = None
    reason: str | None = None
    """In the caller's words, for the record."""


@frozen
class Recorded:
    id: str
    state: State


@frozen
class Imported:
    """What became of one row."""

    state: Literal["recorded", "already", "refused"]
    refusal: Refusal | None = None


async def opt_out_user(
    db: AsyncEngine,
    account_id: AccountId,
    wish: Wish,
    *,
    source: Source = "caller",
    by: By = "caller",
    now: datetime,
) -> Recorded:
    """Nothing more goes out to this user from there; a live conversation is closed.

    What is queued is dropped; what a worker holds already may still go out. One that stands already
    stays as it was. Raises BadRequest, NumberNotProvisioned, UnknownResource, Unavailable.
    """
    async with transaction(db) as c:
        where = await _where(c, account_id, wish)
        return await _record(c, account_id, where, wish, source=source, by=by, now=now)


async def import_opt_outs(
    db: AsyncEngine,
    account_id: AccountId,
    wishes: Sequence[Wish],
    *,
    now: datetime,
) -> list[Imported]:
    """Each in a transaction of its own, so that one that is wrong keeps no other from counting.

    Said again, it changes nothing. Raises Unavailable: then those before it are recorded.
    """
    done: list[Imported] = []
    for wish in wishes:
        try:
            found = await opt_out_user(db, account_id, wish, source="import", now=now)
        except (BadRequest, NumberNotProvisioned, UnknownResource) as refusal:
            done.append(Imported(state="refused", refusal=refusal))
        else:
            done.append(Imported(state=found.state))
    return done


async def opt_in_user(
    db: AsyncEngine,
    account_id: AccountId,
    opt_out_id: str,
    reason: str,
    *,
    by: By = "caller",
    now: datetime,
) -> None:
    """End one, because the user said elsewhere that they want texts again; `reason` says where.

    The carrier may keep a list of its own: what it refuses for that is recorded as an opt-out
    again. Raises BadRequest, UnknownResource, Conflict (it had ended), Unavailable.
    """
    _check_reason(reason)
    async with transaction(db) as c:
        found = await opt_outs.find(c, opt_out_id)
        where = None if found is None else await _owned(c, account_id, found.agent_number)
        if found is None or where is None:
            raise UnknownResource(f"There is no opt-out {opt_out_id}.")
        if project_of(found.agent_number) is None:
            await locks.pair(c, found.agent_number, found.user_number)
        if not await opt_outs.end(c, opt_out_id, reason=reason, now=now):
            raise Conflict(f"The opt-out {opt_out_id} has ended already.")
        data = {"opt_out_id": opt_out_id, "reason": reason}
        await _tell(c, "user.opted_in", account_id, where, found.user_number, data, by=by, now=now)


@frozen
class _Where:
    agent: Phone
    """Or `project:ID`."""
    project_id: ProjectId
    is_project: bool


async def _where(c: AsyncConnection, account_id: AccountId, wish: Wish) -> _Where:
    if (wish.agent_number is None) is (wish.project is None):
        raise BadRequest("Give agent_number, or project for all of its numbers, and not both.")
    if wish.reason is not None:
        _check_reason(wish.reason)
    if wish.project is not None:
        found = await _owned(c, account_id, every_number_of(wish.project))
        if found is None:
            raise UnknownResource(f'This account has no project "{wish.project}".')
        return found
    number = Phone(wish.agent_number or "")
    found = None if project_of(number) else await _owned(c, account_id, number)
    if found is None:
        raise NumberNotProvisioned(f"{number} is not one of this account's numbers.")
    return found


async def _owned(c: AsyncConnection, account_id: AccountId, agent: Phone) -> _Where | None:
    """None: it is not this account's. Also of a number or a project that was removed."""
    project_id = await opt_outs.owner(c, account_id, agent)
    if project_id is None:
        return None
    return _Where(agent=agent, project_id=project_id, is_project=project_of(agent) is not None)


async def _record(
    c: AsyncConnection,
    account_id: AccountId,
    where: _Where,
    wish: Wish,
    *,
    source: Source,
    by: By,
    now: datetime,
) -> Recorded:
    user = wish.user_number
    before = await opt_outs.standing(c, where.agent, user)
    if before is not None:
        return Recorded(id=before.id, state="already")
    pairs = [where.agent]
    if where.is_project:
        await locks.user(c, where.project_id, user)
        # In one order, so that two who do this at once do not wait for each other.
        pairs = await opt_outs.touched(c, where.project_id, user)
    for agent in pairs:
        await locks.pair(c, agent, user)
    fresh = await opt_outs.opted_out(
        c,
        where.agent,
        user,
        source=source,
        words=None,
        carrier_message_id=None,
        reason=wish.reason,
        now=now,
    )
    if fresh:
        for agent in await opt_outs.busy(c, pairs, user):
            await opt_out.stop(c, agent, user, now=now)
        data = {"source": source} | ({} if wish.reason is None else {"reason": wish.reason})
        await _tell(c, "user.opted_out", account_id, where, user, data, by=by, now=now)
    standing = await opt_outs.standing(c, where.agent, user)
    if standing is None:  # somebody ended in this moment what was there before
        raise Unavailable
    return Recorded(id=standing.id, state="recorded" if fresh else "already")


async def _tell(  # noqa: PLR0917
    c: AsyncConnection,
    kind: Kind,
    account_id: AccountId,
    where: _Where,
    user: Phone,
    data: dict[str, str],
    *,
    by: By,
    now: datetime,
) -> None:
    """Of the account: what was said about it was said in no conversation."""
    told: dict[str, object] = {"user_number": user}
    if not where.is_project:
        told["agent_number"] = where.agent
    told |= {**data, "by": by}
    event = Event(kind=kind, account_id=account_id, project_id=where.project_id, data=told)
    await events.append(c, [event], now=now)


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON or not is_text(reason):
        msg = f"A reason has 1 to {MAX_REASON} characters, not all blank, and no NUL."
        raise BadRequest(msg)
