"""What tests of flows are provisioned with: one account on the sandbox, and who calls."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import yaml

from tests.support.provision import NOW, TOKEN
from textback.core.commands import Caller, Idempotency
from textback.core.ids import AccountId, CarrierId, ConnectorId, ProjectId
from textback.core.phone import Phone
from textback.core.policy import Environment, ProjectPolicy
from textback.core.ports import CarrierAccount
from textback.engines.scripted import Rule, ScriptedConfig, ScriptedEngine

__all__ = ["NOW"]

ACME: Final = AccountId("acme")
CARRIER: Final = CarrierId("acme-sandbox")
OTHER_CARRIER: Final = CarrierId("acme-second")
AGENT: Final = Phone("+14155550100")
SECOND: Final = Phone("+14155550101")
DEV: Final = Phone("+14155550102")
"""The first two are live, this one is not."""
USER: Final = Phone("+14155550111")
NEIGHBOUR: Final = Phone("+14155550112")
GREETING: Final = "Hello, how can I help?"
FALLBACK: Final = "Sorry, please text us again."
PUBLIC_URL: Final = "http://127.0.0.1:9"

ACCOUNT: Final = CarrierAccount(
    carrier_id=CARRIER,
    kind="sandbox",
    account_sid="SANDBOX-acme-sandbox",
    auth_token=TOKEN,
    base_url="",
)

RULES: Final = [
    {"match": "^bye$", "reply": "Bye.", "end_conversation": True},
    {"match": "^hush$", "reply": ""},
]
SCRIPTED: Final = {"kind": "scripted", "rules": RULES, "default": "You said: {text}"}
HTTP: Final = {"kind": "http", "url": "http://127.0.0.1:9/turn", "timeout_seconds": 5}
"""The kind of engine that can open."""


def second(seconds: float) -> datetime:
    """So many seconds after the test began."""
    return NOW + timedelta(seconds=seconds)


def minute(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def hour(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def number(name: str, **settings: object) -> dict[str, object]:
    return {
        "number": name,
        "environment": "live",
        "carrier": CARRIER,
        "segments_per_second": 100,
        "opt_out_replies": "ours",
    } | settings


NUMBERS: Final = [number(AGENT), number(SECOND), number(DEV, environment="dev")]


def deployment(
    *,
    agent: Mapping[str, object] | None = None,
    project: Mapping[str, object] | None = None,
    numbers: Sequence[Mapping[str, object]] = NUMBERS,
) -> str:
    """A provisioning file; `agent` and `project` are added to the usual settings, or replace them.

    Replies are due at once, so that a test need not count the quiet time.
    """
    of_agent = {"id": "bookings", "greeting": GREETING, "fallback": FALLBACK, "engine": SCRIPTED}
    of_project = {
        "id": "reminders",
        "agent": "bookings",
        "reply_delay_seconds": 0,
        "connectors": [
            {"id": "conn-live", "environment": "live"},
            {"id": "conn-dev", "environment": "dev"},
            {"id": "conn-sandbox", "environment": "sandbox"},
        ],
        "numbers": list(numbers),
    }
    sandbox = {"kind": "sandbox", "auth_token": TOKEN}
    acme = {
        "id": ACME,
        "carriers": [{"id": CARRIER} | sandbox, {"id": OTHER_CARRIER} | sandbox],
        "agents": [of_agent | dict(agent or {})],
        "projects": [of_project | dict(project or {})],
    }
    return yaml.safe_dump({"accounts": [acme]}, sort_keys=False)


def caller(environment: Environment = "live") -> Caller:
    return Caller(
        account_id=ACME,
        project_id=ProjectId("reminders"),
        connector_id=ConnectorId(f"conn-{environment}"),
        environment=environment,
        rate_limit=ProjectPolicy().rate_limit,
    )


def key(name: str, body: bytes = b"body", route: str = "/v1/outbound-sms") -> Idempotency:
    return Idempotency(route=route, key=name, fingerprint=body)


def scripted() -> ScriptedEngine:
    """The engine that `SCRIPTED` describes."""
    rules = tuple(Rule.model_validate(rule) for rule in RULES)
    return ScriptedEngine(ScriptedConfig(rules=rules, default="You said: {text}"))
