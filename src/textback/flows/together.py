"""Sends that wait at the same time, accepted in one transaction: group commit.

What is usual is done together: a text that opens a conversation, also one that closes the one there
was. What is not goes alone, by `opening`, and so does what is in somebody else's hands: nobody
waits here for a lock, because all the others would wait too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core import events as facts
from textback.core.commands import Accepted, Caller, SendText
from textback.core.errors import Unavailable
from textback.core.ids import ConversationId
from textback.core.phone import Phone
from textback.db import conversations, events, idempotency, locks, openings, pairs
from textback.db.openings import Opening
from textback.db.pairs import History
from textback.db.session import transaction
from textback.flows import beginning, opening, planning
from textback.flows.choosing import Choice

log = structlog.stdlib.get_logger()

MOST = 128
"""In one transaction."""
ENOUGH = 32
"""To share what a transaction costs by itself."""
GATHER = timedelta(milliseconds=20)
"""At most so long a send waits for others, if others came at the same time lately."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A send that opens a conversation, if nothing unusual is found."""

    caller: Caller
    command: SendText
    ids: Accepted
    """What it is answered."""
    found: Choice
    now: datetime
    history: History | None = None
    """What its number was picked for; None: there was nothing to pick."""
    traceparent: str | None = None

    @property
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

    What is new between its two numbers takes one statement, and the others a transaction after it.
    """
    answers = dict[tuple[Phone, Phone], Accepted | Unavailable]()
    answers |= await _try([each for each in asks if _is_plain(each)], partial(_open_plain, db))
    rest = [each for each in asks if each.pair not in answers]
    answers |= await _try(rest, partial(_open_rest, db))
    return [answers.get(each.pair) for each in asks]


_Opened: TypeAlias = dict[tuple[Phone, Phone], Accepted]
"""By their pairs, of which no two are the same; what is not there has to go alone."""


async def _try(
    asks: Sequence[Ask], do: Callable[[Sequence[Ask]], Awaitable[_Opened]]
) -> Mapping[tuple[Phone, Phone], Accepted | Unavailable]:
    if not asks:
        return {}
    try:
        return await do(asks)
    except Unavailable as error:
        return {each.pair: error for each in asks}
    except Exception:  # what is wrong with one must not be the others' error
        log.exception("accept.not_together", sends=len(asks))
        return {}


def _is_plain(ask: Ask) -> bool:
    """Nothing but its pair has to be looked at."""
    return ask.command.idempotency is None and ask.history is None and ask.command.thread == "new"


async def _open_plain(db: AsyncEngine, asks: Sequence[Ask]) -> _Opened:
    now = max(each.now for each in asks)
    new = [_begun(each, now=now) for each in asks]
    return _accepted(asks, await openings.open_at_once(db, new, now=now))


async def _open_rest(db: AsyncEngine, asks: Sequence[Ask]) -> _Opened:
    async with transaction(db) as c:
        return await open_all(c, asks)


def _accepted(asks: Sequence[Ask], opened: set[ConversationId]) -> _Opened:
    return {each.pair: each.ids for each in asks if each.ids.conversation_id in opened}


async def open_all(c: AsyncConnection, asks: Sequence[Ask]) -> _Opened:
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
        await events.append(c, [facts.of_conversation(each) for each in over], now=now)
    opened = await openings.open_all(c, [_begun(each, now=now) for each in new], now=now)
    if len(opened) != len(new):
        msg = "what was locked, and found to be new, was not opened"
        raise RuntimeError(msg)
    return _accepted(new, opened)


def _begun(ask: Ask, *, now: datetime) -> Opening:
    command, found = ask.command, ask.found
    opened = opening.begun_anew(ask.caller, command, found, ask.ids, now=now)
    words = opening.words(command, found.agent)
    return Opening(
        talk=opened,
        policy=found.project.policy.idle,
        brief=beginning.brief(found.number, found.agent, command),
        text=opening.written(opened, words, command, found, ask.ids, now=now),
        traceparent=ask.traceparent,
    )


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
        (each.caller.account_id, key, each.ids)
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
