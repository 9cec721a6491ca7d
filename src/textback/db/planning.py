"""Planned sends: adding, holding and ending them, and taking the next that is due."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    case,
    cast,
    false,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Accepted, Caller, Planned, SendText
from textback.core.ids import AccountId, BatchId, ConnectorId, ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import ProjectPolicy
from textback.db.plans import COMMAND, whole
from textback.db.tables import accounts, batches, conversations, projects
from textback.db.tables import planned_sends as t
from textback.db.tenants import policies

_ACCEPTED: Final = text("""
    update planned_sends set state = 'accepted', due_at = null, ended_at = :now
    where id = any(cast(:ids as text[]))
""")

_REFUSED: Final = text("""
    update planned_sends t set state = 'refused', due_at = null, ended_at = :now,
        problem = r.problem, error = r.error
    from jsonb_to_recordset(cast(:refused as jsonb)) as r(id text, problem text, error text)
    where t.id = r.id
""")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A planned send, locked until the transaction ends."""

    id: MessageId
    conversation_id: ConversationId
    caller: Caller
    policy: ProjectPolicy
    batch_id: BatchId | None
    row: int | None
    stored: Mapping[str, Any]
    """Its command, as it was planned."""
    state: str
    due_at: datetime
    """Of one that is over: the moment it ended."""
    tries: int

    @cached_property
    def command(self) -> SendText:
        """Raises ValueError, if it was planned by somebody who wrote it otherwise."""
        return COMMAND.validate_python(self.stored)


async def add(
    c: AsyncConnection,
    caller: Caller,
    command: SendText,
    ids: Accepted,
    *,
    due: datetime,
    why: Planned,
    now: datetime,
) -> None:
    await c.execute(
        insert(t).values(
            id=ids.message_id,
            conversation_id=ids.conversation_id,
            account_id=caller.account_id,
            project_id=caller.project_id,
            connector_id=caller.connector_id,
            environment=caller.environment,
            user_number=command.user_number,
            command=stored(command),
            state="planned",
            due_at=due,
            why=why,
            created_at=now,
        )
    )


def stored(command: SendText) -> dict[str, Any]:
    """As JSON; what a key has remembered is not needed again."""
    return COMMAND.dump_python(command, mode="json", exclude={"idempotency"})


async def is_there(c: AsyncConnection, send_id: str) -> bool:
    return await c.scalar(select(t.c.id).where(t.c.id == send_id)) is not None


async def lock(c: AsyncConnection, account_id: AccountId, send_id: str) -> Plan | None:
    """Whatever its state; nobody takes it up, or changes it, before the transaction ends."""
    found = await _lock(c, t.c.id == send_id, t.c.account_id == account_id, limit=1)
    return found[0] if found else None


async def take_due(
    c: AsyncConnection,
    *,
    account_id: AccountId | None = None,
    batch_id: BatchId | None = None,
    only: MessageId | None = None,
    limit: int,
    now: datetime,
) -> list[Plan]:
    """The next that are due, of a batch or else of an account's single ones; of a user, one.

    What somebody else has is passed over, and with it what is planned for the same user after it:
    their order is kept. `only`: that one, if it is among them.
    """
    whose = t.c.batch_id == batch_id
    if batch_id is None:
        whose = and_(t.c.batch_id.is_(None), t.c.account_id == account_id)
    other = t.alias("other")
    # By value, not as `exists`: that may become a join over all that is planned.
    first = select(other.c.seq).where(
        other.c.account_id == t.c.account_id,
        other.c.user_number == t.c.user_number,
        other.c.state == "planned",
        other.c.batch_id.is_not_distinct_from(t.c.batch_id),
    )
    first = first.order_by(other.c.due_at, other.c.seq).limit(1)
    # Not as a mere comparison: Postgres would think that it holds of few, and look at all that is
    # due before it takes the first.
    is_first = case((t.c.seq == first.scalar_subquery(), true()), else_=false())
    due = [t.c.state == "planned", t.c.due_at <= now, is_first]
    if only is not None:
        due.append(t.c.id == only)
    return await _lock(c, whose, *due, limit=limit, skip=True)


async def _lock(
    c: AsyncConnection, *where: ColumnElement[bool], limit: int, skip: bool = False
) -> list[Plan]:
    # The batch's own row is not locked here: who needs that locks it before.
    found = await c.execute(
        select(t)
        .where(*where)
        .order_by(t.c.due_at, t.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=skip)
    )
    if not (rows := found.all()):
        return []
    of_projects = await policies(c, [ProjectId(each) for each in {row.project_id for row in rows}])
    shared = dict[str, Mapping[str, Any]]()
    if ids := {row.batch_id for row in rows} - {None}:
        of_batches = select(batches.c.id, batches.c.command).where(batches.c.id.in_(ids))
        shared = {row.id: row.command for row in await c.execute(of_batches)}
    return [_plan(row, of_projects[row.project_id], shared.get(row.batch_id)) for row in rows]


def _plan(row: Row[Any], policy: ProjectPolicy, shared: Mapping[str, Any] | None) -> Plan:
    return Plan(
        id=MessageId(row.id),
        conversation_id=ConversationId(row.conversation_id),
        caller=Caller(
            account_id=AccountId(row.account_id),
            project_id=ProjectId(row.project_id),
            connector_id=None if row.connector_id is None else ConnectorId(row.connector_id),
            environment=row.environment,
            rate_limit=policy.rate_limit,
        ),
        policy=policy,
        batch_id=None if row.batch_id is None else BatchId(row.batch_id),
        row=row.row,
        stored=whole(shared, row.command),
        state=row.state,
        due_at=row.due_at or row.ended_at,
        tries=row.tries,
    )


async def user_takes_part(c: AsyncConnection, agent: Phone, user: Phone) -> bool:
    """Whether the two numbers have a conversation in which the user has said something."""
    found = await c.scalar(
        select(conversations.c.id).where(
            conversations.c.agent_number == agent,
            conversations.c.user_number == user,
            conversations.c.state.not_in(["closed", "opened"]),
        )
    )
    return found is not None


async def is_provisioned(c: AsyncConnection, project_id: ProjectId) -> bool:
    """Whether the project is still there, and its account."""
    found = await c.scalar(
        select(projects.c.id)
        .join(accounts, accounts.c.id == projects.c.account_id)
        .where(
            projects.c.id == project_id,
            projects.c.removed_at.is_(None),
            accounts.c.removed_at.is_(None),
        )
    )
    return found is not None


async def hold(
    c: AsyncConnection,
    plan: Plan,
    *,
    due: datetime,
    why: Planned | None = None,
    changed: Mapping[str, Any] | None = None,
    tries: int | None = None,
) -> None:
    """It waits until then. `changed`: of its own command."""
    values: dict[str, Any] = {"due_at": due}
    values |= {} if why is None else {"why": why}
    values |= {} if tries is None else {"tries": tries}
    if changed:
        values["command"] = t.c.command.concat(cast(dict(changed), JSONB))
    await c.execute(update(t).where(t.c.id == plan.id).values(values))


async def accepted(c: AsyncConnection, plan: Plan, done: Accepted, *, now: datetime) -> None:
    """It is a text now, in a conversation that may be an older one."""
    values = {"conversation_id": done.conversation_id, **_over("accepted", now)}
    await c.execute(update(t).where(t.c.id == plan.id).values(values))


async def all_accepted(c: AsyncConnection, ids: Sequence[MessageId], *, now: datetime) -> None:
    """They are texts now, each in the conversation that it was planned to open."""
    await c.execute(_ACCEPTED, {"ids": ids, "now": now})


async def refused(
    c: AsyncConnection, those: Sequence[tuple[MessageId, str, str]], *, now: datetime
) -> None:
    """Of each its id, the refusal's name, and its sentence."""
    rows = [dict(zip(("id", "problem", "error"), each, strict=True)) for each in those]
    await c.execute(_REFUSED, {"refused": json.dumps(rows), "now": now})


async def cancelled(c: AsyncConnection, send_id: str, *, now: datetime) -> None:
    await c.execute(update(t).where(t.c.id == send_id).values(_over("cancelled", now)))


def _over(state: str, now: datetime) -> dict[str, Any]:
    return {"state": state, "due_at": None, "ended_at": now}


async def accounts_due(
    c: AsyncConnection, *, now: datetime
) -> tuple[list[AccountId], datetime | None]:
    """Whose single sends are due; if nobody's, when the next will be.

    Costs one look into an index for each account, however much is planned.
    """
    first = (
        select(t.c.due_at)
        .where(t.c.account_id == accounts.c.id, t.c.state == "planned", t.c.batch_id.is_(None))
        .order_by(t.c.due_at)
        .limit(1)
        .correlate(accounts)
        .scalar_subquery()
    )
    firsts = select(accounts.c.id, first.label("first")).subquery()
    rows = (
        await c.execute(select(firsts).where(firsts.c.first.is_not(None)).order_by(firsts.c.first))
    ).all()
    due = [AccountId(row.id) for row in rows if row.first <= now]
    return due, rows[0].first if rows and not due else None
