"""Live conversations that change to another version of their agent."""

from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.frozen import frozen
from textback.core.ids import AgentId, ConversationId
from textback.db import events
from textback.db.tables import agent_versions, turns
from textback.db.tables import conversations as t


@frozen
class Which:
    """The live conversations of an agent that are to change."""

    agent_id: AgentId
    to: int
    from_: int | None
    """None: from every other version."""

    @property
    def condition(self) -> ColumnElement[bool]:
        on = t.c.agent_version != self.to
        if self.from_ is not None:
            on &= t.c.agent_version == self.from_
        return (t.c.agent_id == self.agent_id) & (t.c.state != "closed") & on


@frozen
class Movable:
    id: ConversationId
    kind: str
    """Of the engine that it has been on."""
    node: str | None
    """Where it is in its flow."""
    keeps: bool
    """Whether its engine has something kept for the next turn."""


async def lock_some(
    c: AsyncConnection, which: Which, *, after: ConversationId, limit: int
) -> tuple[list[Movable], ConversationId | None]:
    """Lock the next of them, but for those whose agent is thinking, and the last id looked at.

    None: there are no more. Conversations that somebody else has locked are passed over, so that
    nobody waits for anybody who may wait for us.
    """
    rows = await c.execute(
        select(
            t.c.id,
            agent_versions.c.engine["kind"].astext.label("kind"),
            t.c.engine_state["node"].astext.label("node"),
            (t.c.engine_state != {}).label("keeps"),
        )
        .join(
            agent_versions,
            (agent_versions.c.agent_id == t.c.agent_id)
            & (agent_versions.c.number == t.c.agent_version),
        )
        .where(which.condition, t.c.id > after)
        .order_by(t.c.id)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True, of=t)
    )
    found = rows.all()
    if not found:
        return [], None
    ids = [row.id for row in found]
    # Who waits cannot be given to an engine until the commit; no other turn can begin, because
    # that takes the conversation. So each turn is of one version from its beginning to its end.
    waiting = select(turns.c.id).where(turns.c.conversation_id.in_(ids))
    held = await c.scalars(waiting.where(turns.c.state == "waiting").with_for_update())
    if held.first() is not None:
        await events.wake(c, "turns")  # whoever looked meanwhile has passed them over
    busy = set(
        await c.scalars(
            select(turns.c.conversation_id).where(
                turns.c.conversation_id.in_(ids),
                # An opener is written by whoever it was promised of: another may not open.
                turns.c.state.in_(["thinking", "awaiting"])
                | ((turns.c.state == "waiting") & turns.c.opener_id.is_not(None)),
            )
        )
    )
    free = [
        Movable(id=ConversationId(row.id), kind=row.kind, node=row.node, keeps=row.keeps)
        for row in found
        if row.id not in busy
    ]
    return free, ConversationId(ids[-1])


async def move(c: AsyncConnection, ids: list[ConversationId], *, to: int, forget: bool) -> None:
    """`forget`: what the engine before kept is of no use to the next."""
    values: dict[str, Any] = {"agent_version": to} | ({"engine_state": {}} if forget else {})
    await c.execute(update(t).where(t.c.id.in_(ids)).values(**values))


async def count(c: AsyncConnection, which: Which) -> int:
    return await c.scalar(select(func.count()).select_from(t).where(which.condition)) or 0
