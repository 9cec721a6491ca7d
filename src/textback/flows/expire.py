"""A deadline was reached -> warn, or close. Many that are due at once are handled together."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from textback.core import conversation as talk
from textback.core import events as facts
from textback.core.conversation import Close, Conversation, Live, Resume, Wait, Warn
from textback.core.frozen import frozen
from textback.core.ids import CarrierId, ProjectId, new_message_id
from textback.core.message import Kind, Queued, write
from textback.core.policy import ProjectPolicy
from textback.db import deadlines, events, locks, messages, tenants
from textback.db.deadlines import Hold
from textback.db.session import transaction


@frozen(kw_only=False)
class _Move:
    """What time does to one conversation."""

    before: Live
    after: Conversation
    policy: ProjectPolicy
    say: tuple[Kind, str] | None = None


async def expire_due(
    db: AsyncEngine, *, limit: int, now: datetime, hold: Hold | None = None
) -> tuple[int, datetime | None]:
    """Do what is due, once, whoever else is at it; gives how many, or else the next deadline.

    A conversation whose pair somebody has locked is left for the next time: a text of the user's
    that is being taken in was there first.
    """
    moves: list[_Move] = []
    async with transaction(db) as c:
        if due := await _free(c, await deadlines.claim_due(c, now=now, limit=limit, hold=hold)):
            policies = await tenants.policies(c, list({project_id for _, project_id in due}))
            awaited = await deadlines.awaited(c, [before.id for before, _ in due])
            moves = [
                _move(before, policies[project_id], is_awaited=before.id in awaited, now=now)
                for before, project_id in due
            ]
            await _save(c, moves, now=now)
        upcoming = None if moves else await deadlines.next_deadline(c, after=now)
    return len(moves), upcoming


async def _free(
    c: AsyncConnection, due: Sequence[tuple[Live, ProjectId]]
) -> list[tuple[Live, ProjectId]]:
    names = [locks.name_of_pair(each.agent_number, each.user_number) for each, _ in due]
    ours = await locks.try_all(c, names) if due else set[str]()
    return [each for each, name in zip(due, names, strict=True) if name in ours]


def _move(before: Live, policy: ProjectPolicy, *, is_awaited: bool, now: datetime) -> _Move:
    due = talk.tick(before, now=now, policy=policy.idle)
    if isinstance(due, Warn | Close) and is_awaited:
        # It is the agent who is silent, not the user: the clock starts anew.
        return _Move(before, talk.agent_texted(before, now=now), policy)
    match due:
        case Wait():  # the project's lengths were changed: only the stored deadline is out of date
            return _Move(before, before, policy)
        case Resume(after=after):
            return _Move(before, after, policy)
        case Warn(after=after, text=text):
            return _Move(before, after, policy, None if text is None else ("warning", text))
        case Close(after=after, text=text):
            return _Move(before, after, policy, None if text is None else ("closing", text))


async def _save(c: AsyncConnection, moves: Sequence[_Move], *, now: datetime) -> None:
    idle = [m.policy.idle for m in moves]
    await deadlines.save(c, [(m.before, m.after) for m in moves], policies=idle, now=now)
    said = [m for m in moves if m.say is not None]
    numbers = {m.before.agent_number for m in said}
    carriers = await deadlines.carriers_of(c, numbers) if said else {}
    told: list[facts.Event] = []
    texts: list[tuple[Queued, ProjectId]] = []
    for m in moves:
        told += deadlines.told(m.before, m.after)
        if m.say is not None:
            carrier_id = carriers[m.before.agent_number]
            queued = _written(m.before, m.say, m.policy, carrier_id, now=now)
            texts.append((queued, m.before.project_id))
            told.append(facts.of_message(queued))
    await messages.add_many(c, texts)
    await events.append(c, told, now=now)


def _written(
    conversation: Live,
    say: tuple[Kind, str],
    policy: ProjectPolicy,
    carrier_id: CarrierId,
    *,
    now: datetime,
) -> Queued:
    kind, text = say
    return write(
        conversation,
        kind,
        text,
        id=new_message_id(now),
        carrier_id=carrier_id,
        validity=policy.validity,
        now=now,
    )
