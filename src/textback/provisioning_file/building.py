"""A file that was found right -> the plan, and what is allowed but looks like a mistake."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from textback.core import plan
from textback.core.errors import ProvisioningError
from textback.core.gcra import Rate
from textback.core.ids import AccountId, AgentId, CarrierId, ConnectorId, ProjectId
from textback.core.phone import Phone
from textback.core.plan import Path
from textback.core.policy import (
    Budget,
    Budgets,
    IdlePolicy,
    InboundLimits,
    ProjectPolicy,
    RepeatLimit,
    Replies,
)
from textback.provisioning_file import shape
from textback.provisioning_file.contents import Engines, built

SHORTEST_KEY = 16


Carriers = Mapping[Path, shape.TwilioCarrier | shape.SandboxCarrier]


def build(file: shape.File, carriers: Carriers, engines: Engines) -> plan.Plan:
    """`carriers` and `engines` by the path of the carrier, or of an agent's or draft's `engine`."""
    accounts = [(("accounts", i), account) for i, account in enumerate(file.accounts)]
    projects = [
        ((*path, "projects", i), AccountId(account.id), project)
        for path, account in accounts
        for i, project in enumerate(account.projects)
    ]
    return plan.Plan(
        accounts=tuple(
            plan.Account(path=path, id=AccountId(account.id), name=account.name or account.id)
            for path, account in accounts
        ),
        api_keys=tuple(
            plan.ApiKey(
                path=(*path, "api_keys", i),
                account_id=AccountId(account.id),
                name=key.name,
                key=key.key,
                expires_at=key.expires_at,
                revoked=key.revoked,
            )
            for path, account in accounts
            for i, key in enumerate(account.api_keys)
        ),
        carriers=tuple(
            _carrier(at, AccountId(account.id), carriers[at])
            for path, account in accounts
            for i in range(len(account.carriers))
            for at in [(*path, "carriers", i)]
        ),
        agents=tuple(
            built(at, AccountId(account.id), agent, engines)
            for path, account in accounts
            for i, agent in enumerate(account.agents)
            for at in [(*path, "agents", i)]
        ),
        projects=tuple(
            plan.Project(
                path=path,
                id=ProjectId(project.id),
                account_id=account_id,
                name=project.name or project.id,
                agent_id=AgentId(project.agent),
                policy=policy_of(project),
            )
            for path, account_id, project in projects
        ),
        connectors=tuple(
            plan.Connector(
                path=(*path, "connectors", i),
                id=ConnectorId(connector.id),
                account_id=account_id,
                project_id=ProjectId(project.id),
                environment=connector.environment,
            )
            for path, account_id, project in projects
            for i, connector in enumerate(project.connectors)
        ),
        numbers=tuple(
            plan.Number(
                path=(*path, "numbers", i),
                number=Phone(number.number),
                account_id=account_id,
                project_id=ProjectId(project.id),
                environment=number.environment,
                carrier_id=CarrierId(number.carrier),
                segments_per_second=number.segments_per_second,
                opt_out_replies=number.opt_out_replies,
            )
            for path, account_id, project in projects
            for i, number in enumerate(project.numbers)
        ),
    )


def _carrier(
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


def policy_of(project: shape.Project) -> ProjectPolicy:
    idle, inbound, words = project.inactivity, project.inbound_limits, project.opt_out_words
    warn_after = _span_or_never(idle.warn_after_seconds)
    close_after = timedelta(seconds=idle.close_after_seconds)
    unanswered_after = _span_or_never(idle.unanswered_after_seconds)
    if "unanswered_after_seconds" not in idle.model_fields_set and warn_after is not None:
        unanswered_after = warn_after + close_after
    return ProjectPolicy(
        rate_limit=_rate(project.rate_limit),
        idle=IdlePolicy(
            warn_after=warn_after,
            close_after=close_after,
            unanswered_after=unanswered_after,
            warning=idle.warning,
            closing=idle.closing,
        ),
        reply_delay=timedelta(seconds=project.reply_delay_seconds),
        validity=timedelta(seconds=project.validity_seconds),
        unknown_user=project.unknown_user,
        stop_words=frozenset(words.stop),
        start_words=frozenset(words.start),
        help_words=frozenset(words.help),
        inbound=InboundLimits(
            per_sender=_rate(inbound.per_sender),
            per_project=_rate(inbound.per_project),
            repeats=RepeatLimit(
                count=inbound.repeats.count,
                within=timedelta(seconds=inbound.repeats.within_seconds),
                block=timedelta(seconds=inbound.repeats.block_seconds),
            ),
        ),
        reply_budget=Rate(project.reply_budget.replies, project.reply_budget.per_seconds),
        while_thinking=project.while_thinking,
        replies=Replies(
            longest=project.replies.longest_characters,
            fold=project.replies.fold,
            part_wait=timedelta(seconds=project.replies.part_wait_seconds),
        ),
        budgets=Budgets(
            conversation=_budget(project.budgets.conversation), day=_budget(project.budgets.day)
        ),
        timezone=project.timezone,
        draft_environments=frozenset(project.draft_environments),
    )


def _budget(budget: shape.BudgetOfConversation | shape.BudgetOfDay) -> Budget:
    return Budget(turns=budget.turns, tokens=budget.tokens, cost_usd=budget.cost_usd)


def _span_or_never(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _rate(limit: shape.RateLimit) -> Rate:
    return Rate(limit.requests, limit.per_seconds)


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


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
