"""What was provisioned: projects, agents, carriers, numbers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from textback.core.defaults import Defaults
from textback.core.frozen import frozen
from textback.core.ids import AccountId, AgentId, CarrierId, ProjectId
from textback.core.numbers import Candidate
from textback.core.phone import Phone
from textback.core.policy import (
    AgentLabel,
    Environment,
    OptOutReplies,
    ProjectPolicy,
    Registration,
)
from textback.core.ports import CarrierAccount, Vault
from textback.db.tables import (
    carriers,
    conversations,
    messages,
    numbers,
    projects,
)

POLICY = TypeAdapter(ProjectPolicy)


@lru_cache(maxsize=1024)
def policy_of(written: str) -> ProjectPolicy:
    """From the JSON of its column."""
    return POLICY.validate_json(written)


DEFAULTS = TypeAdapter(Defaults)

BUSY = 1000
"""Texts that wait for a number, counted up to here: beyond it numbers take turns."""


@frozen
class ProjectRow:
    id: ProjectId
    account_id: AccountId
    agent_id: AgentId
    policy: ProjectPolicy

    def label(self, environment: Environment) -> AgentLabel:
        """Which version of its agent conversations begin with there."""
        return "draft" if environment in self.policy.draft_environments else "production"


@frozen
class NumberRow:
    number: Phone
    project_id: ProjectId
    environment: Environment
    carrier_id: CarrierId
    segments_per_second: float
    opt_out_replies: OptOutReplies
    agent_id: AgentId | None = None
    """Who answers there, instead of the project's agent."""
    replies: bool = True
    """The agent answers what users say; else it is kept."""
    registration: Registration | None = None
    messaging_service_sid: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What a dialect keeps of it."""
    defaults: Defaults = field(default_factory=Defaults)
    """What conversations there begin with."""


@frozen
class CarrierRow:
    id: CarrierId
    kind: str
    account_sid: str
    auth_token: str
    """Sealed."""
    base_url: str
    previous_token: str | None = None
    """Sealed, and good until then for what the carrier signs."""
    previous_until: datetime | None = None
    public_only: bool = False


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


@frozen(kw_only=False)
class Sender:
    """How a number sends."""

    segments_per_second: float
    messaging_service_sid: str | None = None


_SERVICE = func.coalesce(
    numbers.c.config["defaults"]["messaging_service_sid"].astext, numbers.c.messaging_service_sid
).label("service")


async def senders(c: AsyncConnection, of: Collection[Phone]) -> dict[Phone, Sender]:
    """Those that are still provisioned, and the ends of chats, which never are."""
    n = numbers.c
    rows = await c.execute(
        select(n.number, n.segments_per_second, _SERVICE).where(
            n.number.in_(of), or_(n.removed_at.is_(None), n.source == "chat")
        )
    )
    return {Phone(r.number): Sender(r.segments_per_second, r.service) for r in rows}


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
        previous=_previous(row, vault),
        public_only=row.public_only,
    )


def _previous(row: CarrierRow, vault: Vault) -> tuple[str, datetime] | None:
    if row.previous_token is None or row.previous_until is None:
        return None
    try:
        return vault.open(row.previous_token), row.previous_until
    except ValueError:  # the one that counts was opened
        return None


def _number(row: RowMapping) -> NumberRow:
    kept: Mapping[str, Any] = row["config"].get("defaults", {})
    defaults = DEFAULTS.validate_python(kept) if kept else Defaults()
    agent_id = defaults.agent_id or row["agent_id"]
    return NumberRow(
        number=Phone(row["number"]),
        project_id=ProjectId(row["project_id"]),
        environment=row["environment"],
        carrier_id=CarrierId(row["carrier_id"]),
        segments_per_second=row["segments_per_second"],
        opt_out_replies=row["opt_out_replies"],
        agent_id=None if agent_id is None else AgentId(agent_id),
        replies=row["replies"] and defaults.replies,
        registration=row["registration"],
        messaging_service_sid=defaults.messaging_service_sid or row["messaging_service_sid"],
        config=row["config"],
        defaults=defaults,
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
            public_only=row["public_only"],
            previous_token=row["previous_token"],
            previous_until=row["previous_until"],
        )
    )
