"""What workers do with planned sends and batches, one step at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.deployment import ACME, AGENT, NOW, USER, caller
from tests.support.world import World
from textback.core.batch import Row
from textback.core.commands import Accepted, SendText
from textback.core.ids import AccountId, MessageId
from textback.core.phone import Phone
from textback.db import plans, tables
from textback.db.plans import PlannedSend, Progress
from textback.db.session import transaction
from textback.flows import accept, batches, due, opening_due
from textback.flows.batches import Created
from textback.flows.due import Turn

NIGHT = {"quiet_hours": {"start": "21:00", "end": "08:00"}}
"""Of a project. At `NOW` it is one in the morning where the users are."""


async def send(world: World, *, now: datetime = NOW, **given: Any) -> Accepted:
    usual = SendText(user_number=USER, text="See you at 3pm.", agent_number=AGENT)
    return await accept.send_text(world.db, caller(), replace(usual, **given), now=now)


def id_of(accepted: Accepted) -> MessageId:
    assert accepted.message_id is not None
    return accepted.message_id


async def plan_of(world: World, accepted: Accepted, account: AccountId = ACME) -> PlannedSend:
    found = await plans.find(world.db, account, id_of(accepted))
    assert found is not None
    return found


async def singles(world: World, *, now: datetime) -> list[str]:
    """Send what is due of single sends; gives what came of each."""
    came = list[str]()
    accounts, _ = await due.due_accounts(world.db, now=now)
    for account in accounts:
        came += await take_turn(world, Turn(account_id=account), now=now)
    return came


async def take_turn(world: World, turn: Turn, *, now: datetime) -> list[str]:
    return await all_of(world.db, turn, now=now)


async def all_of(db: AsyncEngine, turn: Turn, *, now: datetime) -> list[str]:
    """What came of each of a turn."""
    came, rest = list[str](), turn
    while rest is not None:
        sent = await opening_due.send_some(db, rest, now=now)
        came += sent.outcomes
        rest = sent.rest
    return came


async def batch_turns(world: World, *, now: datetime, limit: int = 10) -> list[list[str]]:
    """One round of batches; gives what came of each turn."""
    turns, _ = await due.claim_batches(world.db, limit=limit, now=now)
    return [await take_turn(world, turn, now=now) for turn in turns]


async def create(
    world: World, rows: Sequence[Row | str], *, now: datetime = NOW, **given: Any
) -> Created:
    """A batch; a row may be just its number."""
    of_batch = ("name", "draft", "missing", "twice", "extra")
    more = {name: given.pop(name) for name in of_batch if name in given}
    shared = SendText(user_number=Phone(""), text="Hi {{name}}.", agent_number=AGENT)
    found = [row if isinstance(row, Row) else Row(to=row) for row in rows]
    return await batches.create(
        world.db, caller(), found, replace(shared, **given), **more, now=now
    )


async def progress(world: World, batch_id: str, *, now: datetime) -> Mapping[str, int]:
    """Where its rows are; what is nowhere is left out."""
    found: Progress = (await plans.progress(world.db, [batch_id], now=now))[batch_id]
    return {name: n for name in Progress.__dataclass_fields__ if (n := getattr(found, name))}


async def state_of(world: World, batch_id: str) -> str:
    found = await plans.find_batch(world.db, ACME, batch_id)
    assert found is not None
    return found.state


async def told(world: World) -> list[tuple[str, Mapping[str, Any]]]:
    """Events that no conversation has, in order."""
    e = tables.events.c
    query = select(e.kind, e.data).where(e.conversation_id.is_(None)).order_by(e.id)
    async with transaction(world.db) as c:
        return [(row.kind, row.data) for row in await c.execute(query)]


def user(n: int) -> Phone:
    return Phone(f"+1415557{n:04}")
