"""What was said elsewhere is put on record: stored, and neither sent nor answered."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core.commands import Accepted, Caller, SendText
from textback.core.conversation import Live
from textback.core.errors import Conflict
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, MessageId, new_conversation_id, new_message_id, on_record
from textback.core.message import accepted, claim, write
from textback.db import conversations, inbound, locks, messages, opt_outs
from textback.db.session import transaction
from textback.flows import choosing, opening
from textback.flows.choosing import Choice
from textback.flows.say import check_text

Sayer = Literal["user", "agent"]

NOTE = "recorded"
"""Of a user's text: why nobody answers it."""


async def put_on_record(
    db: AsyncEngine,
    caller: Caller,
    command: SendText,
    *,
    sayer: Sayer,
    carrier_message_id: str | None = None,
    now: datetime,
) -> Accepted:
    """Store `command.text` as said, in a new conversation or the one there is, as a send would.

    Nothing goes out, no turn is begun and no keyword is obeyed: it is the past. Silence counts
    from now on. A text of ours counts as sent. When the carrier's id is known already, from an
    earlier call or because it came by webhook, nothing is stored.

    Raises BadRequest (no text), NoNumber, NumberNotProvisioned, UnknownAgent, Conflict (the
    carrier's id is of a text between others), Unavailable; then nothing is stored.
    """
    text = command.text or ""
    check_text(text)
    message_id = new_message_id(now)
    sid = on_record(carrier_message_id or message_id)
    ids = Accepted(conversation_id=new_conversation_id(now), message_id=message_id)
    async with transaction(db) as c:
        found = await choosing.choose(c, caller, command)
        number, user = found.number, command.user_number
        await locks.pair(c, number.number, user)
        if carrier_message_id is not None:
            await locks.on_record(c, number.carrier_id, carrier_message_id)
            known = await _known(c, found, command, carrier_message_id)
            if known is not None:
                return known
        opted_out = await opt_outs.stands(c, number.number, user)
        older = await conversations.lock_live(c, number.number, user)
        if older is not None and command.thread == "new":
            closed = talk.close(older, "superseded", now=now)
            await conversations.save(c, older, closed, policy=found.project.policy.idle, now=now)
            older = None
        if older is not None:
            after = talk.user_texted(older, now=now)
            if sayer == "agent":
                after = talk.agent_texted(older, now=now)
            home = await opening.carry_on(c, older, after, command, found, now=now)
        else:
            home = await opening.open_anew(
                c, caller, command, found, ids, opted_out=opted_out, now=now
            )
            if sayer == "user" and not opted_out:
                engaged, idle = talk.user_texted(home, now=now), found.project.policy.idle
                await conversations.save(c, home, engaged, policy=idle, now=now)
        said = _Said(message_id, sid, text, found.number.carrier_id)
        if sayer == "user":
            await _store_users(c, home, said, now=now)
        else:
            await _store_ours(c, home, said, validity=found.project.policy.validity, now=now)
    return replace(
        ids,
        conversation_id=home.id,
        agent_number=number.number,
        resumed=home.id != ids.conversation_id,
    )


async def _known(
    c: AsyncConnection, found: Choice, command: SendText, carrier_message_id: str
) -> Accepted | None:
    place = await inbound.place_of(c, found.number.carrier_id, carrier_message_id)
    if place is None:
        return None
    if (place.agent_number, place.user_number) != (found.number.number, command.user_number):
        raise Conflict("message_sid is that of a text between two other numbers.")
    return Accepted(
        conversation_id=place.conversation_id,
        message_id=place.message_id,
        agent_number=found.number.number,
        replayed=True,
        resumed=True,
    )


@frozen(kw_only=False)
class _Said:
    id: MessageId
    carrier_message_id: str
    text: str
    carrier_id: CarrierId


async def _store_users(c: AsyncConnection, home: Live, said: _Said, *, now: datetime) -> None:
    await inbound.add(
        c,
        message_id=said.id,
        conversation_id=home.id,
        project_id=home.project_id,
        carrier_id=said.carrier_id,
        carrier_message_id=said.carrier_message_id,
        agent_number=home.agent_number,
        user_number=home.user_number,
        kind="unanswered",
        text=said.text,
        media=(),
        note=NOTE,
        at=now,
        now=now,
    )


async def _store_ours(
    c: AsyncConnection, home: Live, said: _Said, *, validity: timedelta, now: datetime
) -> None:
    # It is stored as sent at once: no worker can ever claim it.
    written = write(
        home,
        "opener",
        said.text,
        id=said.id,
        carrier_id=said.carrier_id,
        validity=validity,
        now=now,
    )
    claimed = claim(written, now=now, lease=timedelta(0))
    sent = accepted(claimed, carrier_message_id=said.carrier_message_id, now=now)
    await messages.add(c, sent, project_id=home.project_id, now=now)
