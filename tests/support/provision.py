"""A deployment for tests: two accounts, provisioned through `apply` itself."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.keeper import keeper_of
from textback.cli.apply import provision as apply
from textback.flows.provision import Report
from textback.vault import FernetVault

NOW: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SECRET_KEY: Final = "a" * 43 + "="
VAULT: Final = FernetVault(SECRET_KEY)

ACME_KEY: Final = "test-key-acme-0123456789"
GLOBEX_KEY: Final = "test-key-globex-0123456789"
ACME_SID: Final = "AC" + "0123456789abcdef" * 2
GLOBEX_SID: Final = "AC" + "fedcba9876543210" * 2
TOKEN: Final = "0123456789abcdef0123456789abcdef"

STANDARD_YAML: Final = """\
accounts:
  - id: acme
    name: Acme Dental
    api_keys:
      - {name: ci, key: "${ACME_API_KEY}"}
    carriers:
      - id: acme-twilio
        kind: twilio
        account_sid: "${ACME_SID}"
        auth_token: "${TWILIO_TOKEN}"
        base_url: "${TWILIO_URL}"
    agents:
      - id: bookings
        greeting: "Hello, how can I help?"
        engine:
          kind: scripted
          rules: [{match: "(?i)3pm", reply: "Done: 3pm tomorrow."}]
          default: "You said: {text}"
    projects:
      - id: reminders
        name: Appointment reminders
        agent: bookings
        connectors:
          - {id: conn-live, environment: live}
        numbers:
          - {number: "+14155550100", environment: live, carrier: acme-twilio}
          - {number: "+14155550101", environment: live, carrier: acme-twilio}
  - id: globex
    api_keys:
      - {name: ci, key: "${GLOBEX_API_KEY}"}
    carriers:
      - id: globex-twilio
        kind: twilio
        account_sid: "${GLOBEX_SID}"
        auth_token: "${TWILIO_TOKEN}"
        base_url: "${TWILIO_URL}"
    agents:
      - id: globex-agent
        engine: {kind: scripted, default: "You said: {text}"}
    projects:
      - id: globex-project
        agent: globex-agent
        connectors:
          - {id: conn-globex, environment: live}
        numbers:
          - {number: "+14155550199", environment: live, carrier: globex-twilio}
"""
"""Twilio is at `environment(base_url)`."""


def environment(base_url: str = "http://127.0.0.1:9") -> dict[str, str]:
    """What STANDARD_YAML takes from the environment. By default nobody is at Twilio's address."""
    return {
        "ACME_API_KEY": ACME_KEY,
        "GLOBEX_API_KEY": GLOBEX_KEY,
        "ACME_SID": ACME_SID,
        "GLOBEX_SID": GLOBEX_SID,
        "TWILIO_TOKEN": TOKEN,
        "TWILIO_URL": base_url,
    }


async def provision(
    engine: AsyncEngine,
    yaml_text: str = STANDARD_YAML,
    env: Mapping[str, str] | None = None,
    *,
    now: datetime = NOW,
    prune: bool = False,
) -> Report:
    """Sealed with `VAULT`. Raises FileRefused as `textback apply` would say it.

    The second test that asks for the same gets the rows that apply wrote for the first.
    """
    given = environment() | dict(env or {})

    async def run(db: AsyncEngine) -> Report:
        return await apply_file(db, yaml_text, env, now=now, prune=prune)

    keeper = keeper_of(engine)
    if keeper is None:
        return await run(engine)
    return await keeper.provision((yaml_text, *sorted(given.items()), now, prune), engine, run)


async def apply_file(
    engine: AsyncEngine,
    yaml_text: str = STANDARD_YAML,
    env: Mapping[str, str] | None = None,
    *,
    now: datetime = NOW,
    prune: bool = False,
) -> Report:
    """As `provision`, and never from memory: for tests of apply itself."""
    given = environment() | dict(env or {})
    report, _ = await apply(engine, VAULT, yaml_text, given, now=now, prune=prune)
    return report
