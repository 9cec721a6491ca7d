"""A file that was found right -> the plan, and what is allowed but looks like a mistake."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from ipaddress import ip_address
from urllib.parse import urlsplit

from textback.core import plan
from textback.core.errors import ProvisioningError
from textback.core.ids import (
    AccountId,
    AgentId,
    CarrierId,
    ConnectorId,
    EndpointId,
    ProjectId,
)
from textback.core.phone import Phone
from textback.core.plan import Path
from textback.core.webhook import normal_url, url_fault
from textback.provisioning_file import shape
from textback.provisioning_file.access_shape import ApiKey, JwtApp, KeyPair, Webhook
from textback.provisioning_file.contents import Engines, built
from textback.provisioning_file.policies import policy_of

SHORTEST_KEY = 16


Carriers = Mapping[Path, shape.TwilioCarrier | shape.SandboxCarrier]


def build(file: shape.File, carriers: Carriers, engines: Engines) -> plan.Plan:
    """`carriers` and `engines` by the path of the carrier, or of an agent's or draft's `engine`."""
    parts = [
        _of_account(("accounts", i), account, carriers, engines)
        for i, account in enumerate(file.accounts)
    ]
    return plan.Plan(
        **{
            each.name: tuple(entry for part in parts for entry in getattr(part, each.name))
            for each in fields(plan.Plan)
        }
    )


def _of_account(
    path: Path, account: shape.Account, carriers: Carriers, engines: Engines
) -> plan.Plan:
    account_id = AccountId(account.id)
    projects = [((*path, "projects", i), project) for i, project in enumerate(account.projects)]
    agents = [((*path, "agents", i), agent) for i, agent in enumerate(account.agents)]
    return plan.Plan(
        accounts=(account_of(path, account),),
        api_keys=(
            *(
                key_of((*path, "api_keys", i), account_id, key)
                for i, key in enumerate(account.api_keys)
            ),
            *(
                pair_of((*path, "key_pairs", i), account_id, pair)
                for i, pair in enumerate(account.key_pairs)
            ),
        ),
        jwt_apps=tuple(
            app_of((*path, "jwt_apps", i), account_id, app)
            for i, app in enumerate(account.jwt_apps)
        ),
        carriers=tuple(
            carrier_of(at, account_id, carriers[at])
            for i in range(len(account.carriers))
            for at in [(*path, "carriers", i)]
        ),
        agents=tuple(built(at, account_id, agent, engines) for at, agent in agents),
        projects=tuple(project_of(at, account_id, project) for at, project in projects),
        connectors=tuple(
            connector_of((*at, "connectors", i), account_id, project.id, connector)
            for at, project in projects
            for i, connector in enumerate(project.connectors)
        ),
        numbers=tuple(
            number_of((*at, "numbers", i), account_id, project.id, number)
            for at, project in projects
            for i, number in enumerate(project.numbers)
        ),
        webhooks=(
            *(
                webhook_of((*path, "webhooks", i), account_id, None, webhook)
                for i, webhook in enumerate(account.webhooks)
            ),
            *(
                webhook_of((*at, "webhooks", i), account_id, project.id, webhook)
                for at, project in projects
                for i, webhook in enumerate(project.webhooks)
            ),
        ),
    )


def account_of(path: Path, account: shape.Account) -> plan.Account:
    template = account.agent_template
    return plan.Account(
        path=path,
        id=AccountId(account.id),
        name=account.name or account.id,
        agent_template=None if template is None else AgentId(template),
        webhook_secret=account.webhook_secret,
    )


def key_of(path: Path, account_id: AccountId, key: ApiKey) -> plan.ApiKey:
    return plan.ApiKey(
        path=path,
        account_id=account_id,
        name=key.name,
        key=key.key,
        expires_at=key.expires_at,
        revoked=key.revoked,
        scopes=key.scopes,
    )


def pair_of(path: Path, account_id: AccountId, pair: KeyPair) -> plan.ApiKey:
    return plan.ApiKey(
        path=path,
        account_id=account_id,
        name=pair.name or pair.id,
        key=None if pair.secret is None else f"{pair.id}:{pair.secret}",
        expires_at=None,
        revoked=False,
        scopes=pair.scopes,
        public_id=pair.id,
    )


def app_of(path: Path, account_id: AccountId, app: JwtApp) -> plan.JwtApp:
    return plan.JwtApp(
        path=path,
        client_id=app.client_id,
        account_id=account_id,
        name=app.name or app.client_id,
        secret=app.secret,
        scopes=app.scopes,
        require_jti=app.require_jti,
    )


def project_of(path: Path, account_id: AccountId, project: shape.Project) -> plan.Project:
    return plan.Project(
        path=path,
        id=ProjectId(project.id),
        account_id=account_id,
        name=project.name or project.id,
        agent_id=AgentId(project.agent),
        policy=policy_of(project),
    )


def connector_of(
    path: Path, account_id: AccountId, project_id: str, connector: shape.Connector
) -> plan.Connector:
    return plan.Connector(
        path=path,
        id=ConnectorId(connector.id),
        account_id=account_id,
        project_id=ProjectId(project_id),
        environment=connector.environment,
    )


def number_of(
    path: Path, account_id: AccountId, project_id: str, number: shape.Number
) -> plan.Number:
    return plan.Number(
        path=path,
        number=Phone(number.number),
        account_id=account_id,
        project_id=ProjectId(project_id),
        environment=number.environment,
        carrier_id=CarrierId(number.carrier),
        segments_per_second=number.segments_per_second,
        opt_out_replies=number.opt_out_replies,
        agent_id=None if number.agent is None else AgentId(number.agent),
        replies=number.replies,
        registration=number.registration,
        messaging_service_sid=number.messaging_service_sid,
    )


def webhook_of(
    path: Path, account_id: AccountId, project_id: str | None, webhook: Webhook
) -> plan.Webhook:
    return plan.Webhook(
        path=path,
        id=EndpointId(webhook.id),
        account_id=account_id,
        project_id=None if project_id is None else ProjectId(project_id),
        url=normal_url(webhook.url),
        kinds=webhook.kinds,
        format=webhook.format,
        secret=webhook.secret,
        description=webhook.description,
    )


def carrier_of(
    path: Path, account_id: AccountId, carrier: shape.TwilioCarrier | shape.SandboxCarrier
) -> plan.Carrier:
    return plan.Carrier(
        path=path,
        id=CarrierId(carrier.id),
        account_id=account_id,
        kind=carrier.kind,
        account_sid=carrier.account_sid or f"SANDBOX-{carrier.id}",
        auth_token=carrier.auth_token,
        base_url=carrier.base_url if isinstance(carrier, shape.TwilioCarrier) else "",
    )


def suspicions(made: plan.Plan) -> Iterator[ProvisioningError]:
    for key in made.api_keys:
        if key.key is not None and len(key.key) < SHORTEST_KEY:
            yield ProvisioningError(
                (*key.path, "key"),
                f"is shorter than {SHORTEST_KEY} characters and may be guessed;"
                " leave it out to have one made",
            )
    for carrier in made.carriers:
        if carrier.kind != "twilio":
            continue
        if not re.fullmatch("AC[0-9a-f]{32}", carrier.account_sid):
            yield ProvisioningError(
                (*carrier.path, "account_sid"),
                "does not look like Twilio's: AC and 32 digits or letters from a to f",
            )
        parts = urlsplit(carrier.base_url)
        if parts.scheme != "https" and not _is_here(parts.hostname or ""):
            yield ProvisioningError(
                (*carrier.path, "base_url"), "is not https: the auth token travels in the clear"
            )
    for webhook in made.webhooks:
        if (fault := url_fault(webhook.url, private=False)) is not None:
            yield ProvisioningError(
                (*webhook.path, "url"),
                f"{fault}; nothing is posted there without TEXTBACK_PRIVATE_WEBHOOKS=true",
            )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
