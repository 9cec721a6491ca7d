"""A caller's command -> a conversation and its queued text, durably; or a plan; or a refusal."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback import logs, tracing
from textback.core.commands import Accepted, Caller, Idempotency, SendText
from textback.core.errors import Unavailable
from textback.core.ids import AccountId, new_opening_ids
from textback.core.phone import Phone
from textback.db import idempotency, locks, messages
from textback.db.book import Book
from textback.db.session import transaction
from textback.db.tenants import NumberRow
from textback.flows import choosing, doubt, opening, planning, together
from textback.flows.admit import Holder
from textback.flows.picking import Picking
from textback.flows.together import Ask
from textback.group import Group

Repeated: TypeAlias = tuple[AccountId, Idempotency, datetime]


class Accepting:
    """Sends, those that come at the same time together."""

    def __init__(
        self,
        db: AsyncEngine,
        book: Book,
        *,
        most: int = together.MOST,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        """`most`: in one transaction. `observe`: told of each how many it has."""
        self._db, self._book = db, book
        self._picking = Picking(db)
        self._replays: Group[Repeated, Accepted | None] = Group(partial(_replay, db), most=most)
        self._group: Group[Ask, Accepted | None] = Group(
            partial(together.accept, db),
            most=most,
            key=lambda ask: ask.pair,
            enough=together.ENOUGH,
            observe=observe,
            gather=together.GATHER,
        )

    async def replay(
        self, caller: Caller | Holder, key: Idempotency, *, now: datetime
    ) -> Accepted | None:
        """The answer this request got before, if it came before. Raises KeyReused, Unavailable."""
        return await self._replays.do((caller.account_id, key, now))

    async def send_text(self, caller: Caller, command: SendText, *, now: datetime) -> Accepted:
        """As `send_text` below, of which it is the faster form."""
        if not tracing.is_on():
            return await self._send_text(caller, command, now=now)
        with tracing.span(
            "accept",
            account_id=caller.account_id,
            project_id=caller.project_id,
            dialect=command.dialect,
        ) as span:
            accepted = await self._send_text(caller, command, now=now)
            span.set(conversation_id=accepted.conversation_id, message_id=accepted.message_id)
        return accepted

    async def _send_text(self, caller: Caller, command: SendText, *, now: datetime) -> Accepted:
        accepted = await self._together(caller, command, now=now)
        if accepted is None:
            accepted = await send_text(self._db, caller, command, now=now)
        logs.about(
            project_id=caller.project_id,
            conversation_id=accepted.conversation_id,
            message_id=accepted.message_id,
        )
        return accepted

    async def _together(
        self, caller: Caller, command: SendText, *, now: datetime
    ) -> Accepted | None:
        """None: it has to go alone."""
        picked, found = None, await choosing.named(self._book, caller, command)
        if found is None:
            number = await choosing.usable(self._book, caller, command)
            if not isinstance(number, NumberRow):
                picked = await self._picking.pick(caller, command, number, now=now)
                if picked is None:
                    return None
                number = picked.number
            found = await choosing.with_number(self._book, caller, command, number)
        if not together.is_usual(command, found, now=now):
            return None
        ids = _new_ids(now, found.number.number)
        ask = Ask(
            caller=caller,
            command=command,
            ids=ids,
            found=found,
            now=now,
            history=None if picked is None else picked.history,
            traceparent=tracing.current(),
        )
        try:
            return await self._group.do(ask)
        except Unavailable as error:
            if not error.in_doubt or not await _is_stored(
                self._db, caller, command.user_number, command.idempotency, ids, now=now
            ):
                raise
            return ids


async def _replay(db: AsyncEngine, asked: Sequence[Repeated]) -> list[Accepted | Exception | None]:
    now = max(at for _, _, at in asked)
    async with transaction(db) as c:
        firsts = await idempotency.find_answers(c, [(who, key) for who, key, _ in asked], now=now)
    return [
        idempotency.replayed(first) if isinstance(first, Mapping) else first for first in firsts
    ]


def _new_ids(now: datetime, agent_number: Phone | None = None) -> Accepted:
    conversation_id, message_id = new_opening_ids(now)
    return Accepted(
        conversation_id=conversation_id, message_id=message_id, agent_number=agent_number
    )


async def send_text(
    db: AsyncEngine, caller: Caller, command: SendText, *, now: datetime
) -> Accepted:
    """Accept one text, with its conversation, in one transaction; or plan it, if it is held.

    Raises BadRequest (send_at is too far), NoNumber, NumberNotProvisioned, NothingToSay,
    UnknownAgent, OptedOut, WrongState, KeyReused, Unavailable; then nothing is stored, unless
    Unavailable is `in_doubt`.
    """
    ids = _new_ids(now)
    key, accepted = command.idempotency or _own_key(command, ids), None
    try:
        async with transaction(db) as c:
            if key:
                first = await idempotency.claim(c, caller.account_id, key, ids, now=now)
                if first is not None:
                    return idempotency.replayed(first)
            found = await choosing.choose(c, caller, command)
            if (hold := await planning.hold(c, command, found, now=now)) is not None:
                due, why = hold
                accepted = await planning.plan(c, caller, command, ids, due=due, why=why, now=now)
            else:
                accepted = await opening.text_user(c, caller, command, ids, found=found, now=now)
            if key:
                await idempotency.settle(c, caller.account_id, key, accepted)
    except Unavailable as error:
        # Told 503, a caller without an idempotency key would send again what may be stored.
        if (
            not error.in_doubt
            or accepted is None
            or not await _is_stored(db, caller, command.user_number, key, accepted, now=now)
        ):
            raise
    return accepted


def _own_key(command: SendText, ids: Accepted) -> Idempotency | None:
    """What says nothing and goes on may leave no text, by which it could be found afterwards."""
    if command.thread != "resume" or command.text is not None or command.template is not None:
        return None
    return Idempotency(route="", key=ids.conversation_id, fingerprint=b"")


async def _is_stored(
    db: AsyncEngine,
    caller: Caller,
    user: Phone,
    key: Idempotency | None,
    accepted: Accepted,
    *,
    now: datetime,
) -> bool:
    """Whether a commit that nobody confirmed took hold."""
    number, message_id = accepted.agent_number, accepted.message_id

    async def look(c: AsyncConnection) -> bool:
        if accepted.planned_for is not None and message_id is not None:
            return await planning.is_stored(c, message_id)
        if number is None:
            return False
        await locks.pair(c, number, user)
        if message_id is not None:
            return await messages.find(c, message_id) is not None
        if key is None:
            return False
        return await idempotency.find(c, caller.account_id, key, now=now) is not None

    return await doubt.took_hold(db, look)
