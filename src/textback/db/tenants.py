"""What was provisioned: projects, agents, carriers, numbers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.ids import AccountId, AgentId, CarrierId, ProjectId
from textback.core.numbers import Candidate
from textback.core.phone import Phone
from textback.core.policy import AgentLabel, Environment, OptOutReplies, ProjectPolicy
from textback.core.ports import CarrierAccount, Vault
from textback.db.tables import (
    carriers,
    conversations,
    messages,
    numbers,
    projects,
)

POLICY = TypeAdapter(ProjectPolicy)

BUSY = 1000
"""Texts that wait for a number, counted up to here: beyond it numbers take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRow:
    id: ProjectId
    account_id: AccountId
    agent_id: AgentId
    policy: ProjectPolicy

    def label(self, environment: Environment) -> AgentLabel:
        """Which version of its agent conversations begin with there."""
        return "draft" if environment in self.policy.draft_environments else "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRow:
    number: Phone
    project_id: ProjectId
    environment: Environment
    carrier_id: CarrierId
    segments_per_second: float
    opt_out_replies: OptOutReplies


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierRow:
    id: CarrierId
    kind: str
    account_sid: str
    auth_token: str
    """Sealed."""
    base_url: str


async def get_project(c: AsyncConnection, project_id: ProjectId) -> ProjectRow:
    row = (await c.execute(select(projects).where(projects.c.id == project_id))).one()
    return ProjectRow(
        id=ProjectId(row.id),
        account_id=AccountId(row.account_id),
        agent_id=AgentId(row.agent_id),
        policy=POLICY.validate_python(row.policy),
    )


async def policies(
    c: AsyncConnection, project_ids: Sequence[ProjectId]
) -> dict[ProjectId, ProjectPolicy]:
    rows = await c.execute(
        select(projects.c.id, projects.c.policy).where(projects.c.id.in_(project_ids))
    )
    return {ProjectId(row.id): POLICY.validate_python(row.policy) for row in rows}


async def policy_for(c: AsyncConnection, agent_id: AgentId) -> ProjectPolicy | None:
    """Of the first project that is the agent's; None: none is."""
    found = await c.scalar(
        select(projects.c.policy)
        .where(projects.c.agent_id == agent_id, projects.c.removed_at.is_(None))
        .order_by(projects.c.id)
        .limit(1)
    )
    return None if found is None else POLICY.validate_python(found)


async def find_number(c: AsyncConnection, number: str) -> NumberRow | None:
    row = (
        await c.execute(
            select(numbers).where(numbers.c.number == number, numbers.c.removed_at.is_(None))
        )
    ).mappings()
    found = row.one_or_none()
    return None if found is None else _number(found)


async def numbers_of(c: AsyncConnection, project_id: ProjectId) -> list[NumberRow]:
    rows = await c.execute(
        select(numbers)
        .where(numbers.c.project_id == project_id, numbers.c.removed_at.is_(None))
        .order_by(numbers.c.number)
    )
    return [_number(row) for row in rows.mappings()]


async def carrier_of(c: AsyncConnection, number: Phone) -> CarrierId:
    """Who moves this number's texts, also after it was removed."""
    found = await c.scalar(select(numbers.c.carrier_id).where(numbers.c.number == number))
    return CarrierId(found or "")


async def paces(c: AsyncConnection, of: Collection[Phone]) -> dict[Phone, float]:
    """Segments per second of each number that is still provisioned."""
    rows = await c.execute(
        select(numbers.c.number, numbers.c.segments_per_second).where(
            numbers.c.number.in_(of), numbers.c.removed_at.is_(None)
        )
    )
    return {Phone(row.number): row.segments_per_second for row in rows}


async def candidates(c: AsyncConnection, among: Sequence[NumberRow]) -> list[Candidate]:
    """How busy each number is, for picking one. Costs the same however much each has sent."""
    n, m, talk = numbers, messages, conversations
    waiting = (
        select(literal(1))
        .where(m.c.agent_number == n.c.number, m.c.state.in_(["queued", "sending", "uncertain"]))
        .limit(BUSY)
        .correlate(n)
        .subquery()
    )
    used_at = (
        select(talk.c.opened_at)
        .where(talk.c.agent_number == n.c.number)
        .order_by(talk.c.opened_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = await c.execute(
        select(
            n.c.number,
            n.c.segments_per_second,
            select(func.count()).select_from(waiting).scalar_subquery().label("texts"),
            used_at.label("used_at"),
        ).where(n.c.number.in_([each.number for each in among]))
    )
    return [
        Candidate(
            number=Phone(row.number),
            queue_seconds=row.texts / row.segments_per_second,
            used_at=row.used_at,
        )
        for row in rows
    ]


async def find_carrier(c: AsyncConnection, carrier_id: CarrierId) -> CarrierRow | None:
    row = await c.execute(select(carriers).where(carriers.c.id == carrier_id))
    return _carrier(row.mappings().one_or_none())


async def find_carrier_by_sid(c: AsyncConnection, kind: str, account_sid: str) -> CarrierRow | None:
    row = await c.execute(
        select(carriers).where(
            carriers.c.account_sid == account_sid,
            carriers.c.kind == kind,
            carriers.c.removed_at.is_(None),
        )
    )
    return _carrier(row.mappings().one_or_none())


def opened(row: CarrierRow, vault: Vault) -> CarrierAccount:
    """Raises ValueError when none of our keys opens the token."""
    return CarrierAccount(
        carrier_id=row.id,
        kind=row.kind,
        account_sid=row.account_sid,
        auth_token=vault.open(row.auth_token),
        base_url=row.base_url,
    )


def _number(row: RowMapping) -> NumberRow:
    return NumberRow(
        number=Phone(row["number"]),
        project_id=ProjectId(row["project_id"]),
        environment=row["environment"],
        carrier_id=CarrierId(row["carrier_id"]),
        segments_per_second=row["segments_per_second"],
        opt_out_replies=row["opt_out_replies"],
    )


def _carrier(row: RowMapping | None) -> CarrierRow | None:
    return (
        None
        if row is None
        else CarrierRow(
            id=CarrierId(row["id"]),
            kind=row["kind"],
            account_sid=row["account_sid"],
            auth_token=row["auth_token"],
            base_url=row["base_url"],
        )
    )
