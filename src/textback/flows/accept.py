"""A caller's command -> a conversation and its queued text, durably; or a plan; or a refusal."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.commands import Accepted, Caller, Idempotency, SendText
from textback.core.errors import Unavailable
from textback.core.ids import new_conversation_id, new_message_id
from textback.core.phone import Phone
from textback.db import idempotency, locks, messages
from textback.db.session import transaction
from textback.flows import doubt, opening, planning
from textback.flows.admit import Holder


async def replay(
    db: AsyncEngine, caller: Caller | Holder, key: Idempotency, *, now: datetime
) -> Accepted | None:
    """The answer this request got before, if it came before. Raises KeyReused, Unavailable."""
    async with transaction(db) as c:
        return await idempotency.find(c, caller.account_id, key, now=now)


async def send_text(
    db: AsyncEngine, caller: Caller, command: SendText, *, now: datetime
) -> Accepted:
    """Accept one text, with its conversation, in one transaction; or plan it, if it is held.

    Raises BadRequest (send_at is too far), NoNumber, NumberNotProvisioned, NothingToSay,
    UnknownAgent, OptedOut, WrongState, KeyReused, Unavailable; then nothing is stored, unless
    Unavailable is `in_doubt`.
    """
    ids = Accepted(conversation_id=new_conversation_id(now), message_id=new_message_id(now))
    key, accepted = command.idempotency or _own_key(command, ids), None
    try:
        async with transaction(db) as c:
            if key:
                first = await idempotency.claim(c, caller.account_id, key, ids, now=now)
                if first is not None:
                    return idempotency.replayed(first)
            found = await opening.choose(c, caller, command)
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
