"""Live conversations -> another version of their agent."""

from collections.abc import Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core.errors import UnknownAgent
from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId, ConversationId
from textback.core.policy import AgentLabel
from textback.db import agents, moving
from textback.db.moving import Movable, Which
from textback.db.session import transaction

AT_ONCE: Final = 200
"""Conversations in one transaction; what happens to them waits for it."""


@frozen
class Moved:
    to: int
    moved: int
    began_anew: int
    """Of those: the engine is of another kind, or the flow's node is gone, so that what was kept
    between turns is not, or the flow begins at its start."""
    left: int
    """In the middle of a turn, or busy otherwise: to be tried again."""


async def move(
    db: AsyncEngine,
    agent_id: AgentId,
    to: AgentLabel | int,
    *,
    from_: AgentLabel | int | None = None,
    account: AccountId | None = None,
    at_once: int = AT_ONCE,
) -> Moved:
    """Move the agent's live conversations, from `from_` or from wherever they are, to a version.

    A turn that an engine has is never moved under it: its conversation is left. Moving is safe to
    repeat and to interrupt. Raises UnknownAgent, Unavailable.
    """
    async with transaction(db) as c:
        target = await _number(c, agent_id, to, account)
        source = None if from_ is None else await _number(c, agent_id, from_, account)
        version = await agents.find(c, agent_id, target)
    if version is None:  # versions are never deleted
        raise LookupError(target)
    which = Which(agent_id=agent_id, to=target, from_=source)
    kind = str(version.engine["kind"])
    moved = began_anew = 0
    after: ConversationId | None = ConversationId("")
    while after is not None:
        async with transaction(db) as c:
            found, after = await moving.lock_some(c, which, after=after, limit=at_once)
            others = [talk for talk in found if talk.kind != kind]
            same = [talk for talk in found if talk.kind == kind]
            for some, forget in ((others, True), (same, False)):
                await moving.move(c, [talk.id for talk in some], to=target, forget=forget)
        moved += len(found)
        began_anew += sum(talk.keeps for talk in others)
        began_anew += sum(_is_lost(talk, version.nodes) for talk in same)
    async with transaction(db) as c:
        left = await moving.count(c, which)
    return Moved(to=target, moved=moved, began_anew=began_anew, left=left)


def _is_lost(talk: Movable, nodes: Collection[str]) -> bool:
    """Its flow begins again, with the variables that it has (`engines/flow/state.py`)."""
    return talk.node is not None and bool(nodes) and talk.node not in nodes


async def _number(
    c: AsyncConnection, agent_id: AgentId, version: AgentLabel | int, account: AccountId | None
) -> int:
    agent = await agents.get(c, agent_id)
    if agent is None or (account is not None and agent.account_id != account):
        raise UnknownAgent(f'There is no agent "{agent_id}".')
    if version == "draft" and agent.draft is None:
        raise UnknownAgent(f'Agent "{agent_id}" has no draft.')
    found = {"production": agent.production, "draft": agent.draft}.get(str(version), version)
    if not isinstance(found, int) or await agents.find(c, agent_id, found) is None:
        raise UnknownAgent(f'Agent "{agent_id}" has no version {version}.')
    return found
