"""Sends that wait at the same time, accepted in one transaction: group commit.

What is usual is done together: a text that opens a conversation, also one that closes the one there
was. What is not goes alone, by `opening`, and so does what is in somebody else's hands: nobody
waits here for a lock, because all the others would wait too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import tracing
from textback.core import conversation as talk
from textback.core import events as facts
from textback.core.commands import Accepted, Caller, SendText
from textback.core.conversation import Opened
from textback.core.errors import Unavailable
from textback.core.message import Queued
from textback.core.phone import Phone
from textback.core.policy import IdlePolicy
from textback.db import conversations, events, idempotency, locks, pairs
from textback.db.conversation_rows import Brief
from textback.db.pairs import History
from textback.db.session import transaction
from textback.flows import beginning, opening, planning
from textback.flows.choosing import Choice

log = structlog.stdlib.get_logger()

MOST = 128
"""In one transaction."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A send that opens a conversation, if nothing unusual is found."""

    caller: Caller
    command: SendText
    ids: Accepted
    found: Choice
    now: datetime
    history: History | None = None
    """What its number was picked for; None: there was nothing to pick."""
    traceparent: str | None = None

    @cached_property
    def pair(self) -> tuple[Phone, Phone]:
        return self.found.number.number, self.command.user_number


def is_usual(command: SendText, found: Choice, *, now: datetime) -> bool:
    """Whether it can be asked for together with others. Raises BadRequest (send_at too far)."""
    return (
        opening.words(command, found.agent) is not None
        and command.notify is None
        and found.number.defaults.notify is None
        and planning.held(found.project.policy, command, now=now) is None
    )


async def accept(db: AsyncEngine, asks: Sequence[Ask]) -> list[Accepted | Exception | None]:
    """What each is answered; None: it has to go alone. No two have the same pair of numbers.

    Raises Unavailable, for all of them.
    """
    try:
        async with transaction(db) as c:
            accepted = await open_all(c, asks)
    except Unavailable:
        raise
    except Exception:  # what is wrong with one must not be the others' error
        log.exception("accept.not_together", sends=len(asks))
        return [None] * len(asks)
    return [accepted.get(each.pair) for each in asks]


async def open_all(c: AsyncConnection, asks: Sequence[Ask]) -> dict[tuple[Phone, Phone], Accepted]:
    """By their pairs, of which no two are the same; what is not there has to go alone."""
    now = max(each.now for each in asks)
    free = await _as_picked(c, await _locked(c, asks))
    if not free:
        return {}
    known = await pairs.standing(c, [(*each.pair, each.found.number.project_id) for each in free])
    there = [standing.live for standing in known if standing.live is not None]
    older = await conversations.lock_all(c, there) if there else {}
    before = {
        each.pair: None if standing.live is None else older[standing.live]
        for each, standing in zip(free, known, strict=True)
        if not standing.opted_out
        and (standing.live is None or (each.command.thread == "new" and standing.live in older))
    }
    new = await _claimed(c, [each for each in free if each.pair in before], now=now)
    if not new:
        return {}
    over = [talk.close(live, "superseded", now=now) for each in new if (live := before[each.pair])]
    if over:
        await conversations.supersede(c, [each.id for each in over], now=now)
    begun = [_begun(each, now=now) for each in new]
    traceparents = [each.traceparent for each in new] if tracing.is_on() else None
    await conversations.add_with_texts(c, begun, traceparents=traceparents)
    of_ends = [facts.of_conversation(each) for each in over]
    happened = [
        fact
        for opened, _, _, text in begun
        for fact in (facts.of_conversation(opened), facts.of_message(text))
    ]
    await events.append(c, [*of_ends, *happened], now=now)
    return {each.pair: replace(each.ids, agent_number=each.pair[0]) for each in new}


def _begun(ask: Ask, *, now: datetime) -> tuple[Opened, IdlePolicy, Brief, Queued]:
    command, found = ask.command, ask.found
    opened = opening.begun_anew(ask.caller, command, found, ask.ids, now=now)
    words = opening.words(command, found.agent)
    queued = opening.written(opened, words, command, found, ask.ids, now=now)
    brief = beginning.brief(found.number, found.agent, command)
    return opened, found.project.policy.idle, brief, queued


async def _locked(c: AsyncConnection, asks: Sequence[Ask]) -> list[Ask]:
    """Those that nobody else has to do with right now."""
    names: dict[str, Ask] = {}
    for each in asks:
        for name in _names(each):
            names.setdefault(name, each)
    got = await locks.try_all(c, list(names))
    # Of two with the same key only the first one is here, and the other asks after it.
    return [each for each in asks if all(n in got and names[n] is each for n in _names(each))]


def _names(ask: Ask) -> list[str]:
    names = [locks.name_of_pair(*ask.pair)]
    if (key := ask.command.idempotency) is not None:
        names.append(locks.name_of_key(ask.caller.account_id, key))
    if ask.history is not None:
        names.append(locks.name_of_user(ask.caller.project_id, ask.command.user_number))
    return names


async def _as_picked(c: AsyncConnection, asks: Sequence[Ask]) -> list[Ask]:
    """Those whose number would be picked again."""
    picked = [each for each in asks if each.history is not None]
    if not picked:
        return list(asks)
    users = [(each.caller.project_id, each.command.user_number) for each in picked]
    again = await pairs.histories(c, users)
    kept = {each.pair for each, now in zip(picked, again, strict=True) if each.history == now}
    return [each for each in asks if each.history is None or each.pair in kept]


async def _claimed(c: AsyncConnection, asks: Sequence[Ask], *, now: datetime) -> list[Ask]:
    """Those whose request did not come before."""
    keyed = [
        (each.caller.account_id, key, replace(each.ids, agent_number=each.pair[0]))
        for each in asks
        if (key := each.command.idempotency) is not None
    ]
    if not keyed:
        return list(asks)
    new = await idempotency.claim_many(c, keyed, now=now)
    return [
        each
        for each in asks
        if (key := each.command.idempotency) is None
        or (each.caller.account_id, key.route, key.key) in new
    ]
