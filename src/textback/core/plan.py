"""What a provisioning file asks for, in our words: what `apply` brings about.

`path` leads to the entry in the file, so that whatever is found wrong later can name its line.
"""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from textback.core.engine import AnalysisSettings
from textback.core.frozen import frozen
from textback.core.ids import (
    AccountId,
    AgentId,
    CarrierId,
    ConnectorId,
    EndpointId,
    ProjectId,
)
from textback.core.phone import Phone, channel, is_short_code, is_toll_free
from textback.core.policy import Environment, OptOutReplies, ProjectPolicy, Registration

Path: TypeAlias = tuple[str | int, ...]
CarrierKind = Literal["twilio", "sandbox"]


@frozen
class Account:
    path: Path
    id: AccountId
    name: str
    agent_template: AgentId | None = None
    """Agents that an API makes with a prompt alone run as this one does."""
    webhook_secret: str | None = field(default=None, repr=False)
    """Signs what dialects post to the URL of one conversation. None: keep the one that is there."""


@frozen
class ApiKey:
    path: Path
    account_id: AccountId
    name: str
    key: str | None = field(repr=False)
    """None: keep the one that is there, or make one. Of a pair: `ID:SECRET`."""
    expires_at: datetime | None
    revoked: bool
    scopes: tuple[str, ...] | None = None
    """In alphabetical order; None: everything."""
    public_id: str | None = None
    """Of a pair: its id."""


@frozen
class JwtApp:
    path: Path
    client_id: str
    account_id: AccountId
    name: str
    secret: str | None = field(repr=False)
    """None: keep the one that is there, or make one."""
    scopes: tuple[str, ...] | None
    require_jti: bool
    """Each of its tokens must name itself, and is good once."""


@frozen
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
    public_only: bool = False
    """An API said `base_url`: it may lead to public addresses only."""


@frozen
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
    private_urls: tuple[str, ...] | None = None
    """Of those in `engine` these may lead to private addresses; None: all, as in the file."""


@frozen
class Agent:
    path: Path
    id: AgentId
    account_id: AccountId
    production: AgentContent
    draft: AgentContent | None
    extra: Mapping[str, object] | None = None
    """What the dialect that made it keeps of it; None: as it is."""


@frozen
class Project:
    path: Path
    id: ProjectId
    account_id: AccountId
    name: str
    agent_id: AgentId
    policy: ProjectPolicy


@frozen
class Connector:
    path: Path
    id: ConnectorId
    account_id: AccountId
    project_id: ProjectId
    environment: Environment


@frozen
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
    agent_id: AgentId | None = None
    """Who answers there; None: the project's agent."""
    replies: bool = True
    """False: what users say is kept, and the agent does not answer."""
    registration: Registration | None = None
    """None: nobody said."""
    messaging_service_sid: str | None = None
    """Twilio's: texts are sent through it, as from the number."""
    config: Mapping[str, object] | None = None
    """What a dialect keeps of it; None: as it is."""


@frozen
class Webhook:
    path: Path
    id: EndpointId
    account_id: AccountId
    project_id: ProjectId | None
    """None: the events of the whole account go there."""
    url: str
    kinds: tuple[str, ...]
    """In alphabetical order; none: every kind."""
    format: str
    secret: str | None = field(repr=False)
    """None: the account's `webhook_secret` signs, if there is one."""
    description: str | None


@frozen
class Plan:
    accounts: tuple[Account, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()
    """Key pairs are among them."""
    jwt_apps: tuple[JwtApp, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    agents: tuple[Agent, ...] = ()
    projects: tuple[Project, ...] = ()
    connectors: tuple[Connector, ...] = ()
    numbers: tuple[Number, ...] = ()
    webhooks: tuple[Webhook, ...] = ()


def usual_pace(number: Phone, kind: CarrierKind) -> float:
    """Segments per second that a number's carrier takes (facts on Twilio, section 6)."""
    if kind == "sandbox" or is_short_code(number):
        return 100
    if channel(number) != "sms":
        return 10  # https://www.twilio.com/docs/whatsapp/best-practices-and-faqs; RCS is not told
    if is_toll_free(number):
        return 3
    return 1 if number.startswith("+1") else 10


def usual_opt_out_replies(number: Phone, kind: CarrierKind) -> OptOutReplies:
    """Twilio confirms STOP by itself for long codes and toll-free, and would refuse ours."""
    if kind == "sandbox" or is_short_code(number) or channel(number) == "whatsapp":
        return "ours"
    return "carrier"
