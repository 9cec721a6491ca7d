"""What a provisioning file asks for, in our words: what `apply` brings about.

`path` leads to the entry in the file, so that whatever is found wrong later can name its line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from textback.core.engine import AnalysisSettings
from textback.core.ids import AccountId, AgentId, CarrierId, ConnectorId, ProjectId
from textback.core.phone import Phone, is_short_code, is_toll_free
from textback.core.policy import Environment, OptOutReplies, ProjectPolicy

Path: TypeAlias = tuple[str | int, ...]
CarrierKind = Literal["twilio", "sandbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    path: Path
    id: AccountId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    path: Path
    account_id: AccountId
    name: str
    key: str | None = field(repr=False)
    """None: keep the one that is there, or make one."""
    expires_at: datetime | None
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    path: Path
    id: CarrierId
    account_id: AccountId
    kind: CarrierKind
    account_sid: str
    auth_token: str | None = field(repr=False)
    """None: keep the one that is there, or make one (only the sandbox can)."""
    base_url: str
    """Empty for the sandbox, which calls nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentContent:
    """What makes one version of an agent differ from another."""

    greeting: str | None
    fallback: str | None
    engine: Mapping[str, object]
    """Its `kind` and settings as JSON; where secrets were there is null."""
    secrets: Mapping[str, str] = field(repr=False)
    """By their path in `engine`: `tools.0.secret`."""
    can_open: bool
    deadline: timedelta
    earlier: int = 0
    """Of how many earlier conversations with the same user it is told."""
    nodes: tuple[str, ...] = ()
    analysis: AnalysisSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    path: Path
    id: AgentId
    account_id: AccountId
    production: AgentContent
    draft: AgentContent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    path: Path
    id: ProjectId
    account_id: AccountId
    name: str
    agent_id: AgentId
    policy: ProjectPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    path: Path
    id: ConnectorId
    account_id: AccountId
    project_id: ProjectId
    environment: Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    path: Path
    number: Phone
    account_id: AccountId
    project_id: ProjectId
    environment: Environment
    carrier_id: CarrierId
    segments_per_second: float | None
    """None: `usual_pace`."""
    opt_out_replies: OptOutReplies | None
    """None: `usual_opt_out_replies`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    accounts: tuple[Account, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    agents: tuple[Agent, ...] = ()
    projects: tuple[Project, ...] = ()
    connectors: tuple[Connector, ...] = ()
    numbers: tuple[Number, ...] = ()


def usual_pace(number: Phone, kind: CarrierKind) -> float:
    """Segments per second that a number's carrier takes (facts on Twilio, section 6)."""
    if kind == "sandbox" or is_short_code(number):
        return 100
    if is_toll_free(number):
        return 3
    return 1 if number.startswith("+1") else 10


def usual_opt_out_replies(number: Phone, kind: CarrierKind) -> OptOutReplies:
    """Twilio confirms STOP by itself for long codes and toll-free, and would refuse ours."""
    return "ours" if kind == "sandbox" or is_short_code(number) else "carrier"
