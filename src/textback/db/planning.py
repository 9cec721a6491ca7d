"""Planned sends: adding, holding and ending them, and taking the next that is due."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, cast, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.commands import Accepted, Caller, Planned, SendText
from textback.core.ids import AccountId, BatchId, ConnectorId, ConversationId, MessageId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import ProjectPolicy
from textback.db.plans import COMMAND, whole
from textback.db.tables import accounts, batches, conversations, projects
from textback.db.tables import planned_sends as t
from textback.db.tenants import POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A planned send, locked until the transaction ends."""

    id: MessageId
    conversation_id: ConversationId
    caller: Caller
    policy: ProjectPolicy
    batch_id: BatchId | None
    row: int | None
    command: SendText
    state: str
    due_at: datetime
    """Of one that is over: the moment it ended."""
    tries: int


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
    return await _one(c, t.c.id == send_id, t.c.account_id == account_id)


async def take_due(
    c: AsyncConnection,
    *,
    account_id: AccountId | None = None,
    batch_id: BatchId | None = None,
    now: datetime,
) -> Plan | None:
    """The next that is due, of a batch or else of an account's single ones.

    What somebody else has is passed over, and with it what is planned for the same user after it:
    their order is kept.
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
    due = (t.c.state == "planned", t.c.due_at <= now, t.c.seq == first.scalar_subquery())
    return await _one(c, whose, *due, skip=True)


async def _one(c: AsyncConnection, *where: ColumnElement[bool], skip: bool = False) -> Plan | None:
    # The batch's own row is not locked here: who needs that locks it before.
    query = select(t, batches.c.command.label("shared"), projects.c.policy)
    tables = t.join(projects, projects.c.id == t.c.project_id).outerjoin(
        batches, batches.c.id == t.c.batch_id
    )
    found = await c.execute(
        query.select_from(tables)
        .where(*where)
        .order_by(t.c.due_at, t.c.seq)
        .limit(1)
        .with_for_update(of=t, skip_locked=skip)
    )
    row = found.one_or_none()
    return None if row is None else _plan(row)


def _plan(row: Row[Any]) -> Plan:
    policy = POLICY.validate_python(row.policy)
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
        command=COMMAND.validate_python(whole(row.shared, row.command)),
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


async def refused(
    c: AsyncConnection, send_id: str, problem: str, error: str, *, now: datetime
) -> None:
    values = {"problem": problem, "error": error, **_over("refused", now)}
    await c.execute(update(t).where(t.c.id == send_id).values(values))


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
