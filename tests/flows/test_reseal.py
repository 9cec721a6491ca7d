"""Changing the key that seals: no secret anywhere stays behind, and none is harmed."""

import asyncio
import base64
import json
import re
from typing import Final

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.api import execute, settings
from tests.support.provision import NOW, SECRET_KEY, VAULT, provision
from textback.cli import reseal as command
from textback.db import provisioning
from textback.db.session import transaction
from textback.db.tables import metadata
from textback.flows.reseal import PAGE, Resealed, reseal
from textback.vault import FernetVault

NEW_KEY: Final = base64.urlsafe_b64encode(b"n" * 32).decode()
BOTH: Final = FernetVault(f"{NEW_KEY},{SECRET_KEY}")
NEW: Final = FernetVault(NEW_KEY)
WHSEC: Final = f"whsec_{base64.b64encode(b's' * 32).decode()}"

ONE_OF_EACH: Final = f"""\
accounts:
  - id: acme
    webhook_secret: "acme-webhook-secret-0123456789"
    webhooks: [{{id: told, url: "https://acme.example.com/hook", secret: "{WHSEC}"}}]
    jwt_apps:
      - client_id: cs-0a0a0a0a-0000-4000-8000-000000000001
        name: ci
        secret: "client-secret-client-secret-client-secret"
    carriers: [{{id: acme-sandbox, kind: sandbox, auth_token: "carrier-token-0123456789"}}]
    agents:
      - id: far
        engine: {{kind: http, url: "https://agent.example.com/turn", secret: "{WHSEC}"}}
"""
SECRETS: Final = sorted(
    [
        "acme-webhook-secret-0123456789",
        "client-secret-client-secret-client-secret",
        "carrier-token-0123456789",
        "earlier-token-0123456789",
        "earlier-webhook-secret-0123456789",
        WHSEC,
        WHSEC,
    ]
)

SEALED: Final = re.compile(r"gAAAA[A-Za-z0-9_-]{60,}=*")


async def all_sealed(engine: AsyncEngine) -> dict[str, list[str]]:
    """Whatever looks sealed in any column of any table, by table."""
    found: dict[str, list[str]] = {}
    async with transaction(engine) as c:
        for name in metadata.tables:
            rows = await c.scalars(text(f"select to_jsonb(t) from {name} t"))  # noqa: S608 - ours
            if tokens := SEALED.findall(json.dumps(list(rows))):
                found[name] = tokens
    return found


async def test_after_it_the_new_key_alone_opens_every_secret_there_is(engine: AsyncEngine) -> None:
    earlier = ONE_OF_EACH.replace("carrier-token", "earlier-token")
    await provision(engine, earlier.replace("acme-webhook", "earlier-webhook"))
    await provision(engine, ONE_OF_EACH)
    before = await all_sealed(engine)
    tables = {"accounts", "jwt_apps", "carriers", "agent_versions", "webhook_endpoints"}
    assert set(before) == tables

    counted = await reseal(engine, BOTH, dry_run=True)
    assert await all_sealed(engine) == before
    done = await reseal(engine, BOTH)
    assert done == counted
    assert {(each.secrets, each.old, each.lost) for each in done} == {(1, 1, 0)}
    assert {each.place.partition(".")[0] for each in done} == tables

    after = await all_sealed(engine)
    assert sorted(NEW.open(each) for some in after.values() for each in some) == SECRETS
    # Again there is nothing to do, and no row is written.
    assert [each.old for each in await reseal(engine, BOTH)] == [0] * len(done)
    assert await all_sealed(engine) == after


async def test_who_only_looks_waits_for_nobody(engine: AsyncEngine) -> None:
    await provision(engine, ONE_OF_EACH)
    async with transaction(engine) as c:
        await provisioning.alone(c)
        await c.execute(text("select from accounts for update"))
        async with asyncio.timeout(5):
            counted = await reseal(engine, BOTH, dry_run=True)
    assert sum(each.old for each in counted) == 5


async def test_a_secret_that_no_key_opens_is_left_as_it_is_and_told(
    engine: AsyncEngine, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await provision(engine, ONE_OF_EACH)
    stranger = FernetVault(base64.urlsafe_b64encode(b"x" * 32).decode()).seal("token")
    await execute(engine, f"update carriers set auth_token = '{stranger}'")  # noqa: S608 - ours
    found = settings(database_url, "redis://unused", secret_key=f"{NEW_KEY},{SECRET_KEY}")

    assert await command.run(found, dry_run=False) == 1
    said = capsys.readouterr().out
    assert "no key in TEXTBACK_SECRET_KEY opens 1 of them" in said
    assert (await all_sealed(engine))["carriers"] == [stranger]

    await execute(engine, f"update carriers set auth_token = '{NEW.seal('token')}'")  # noqa: S608 - ours
    assert await command.run(found, dry_run=False) == 0
    assert "carriers.auth_token: 1 secrets, 0 sealed anew" in capsys.readouterr().out


async def test_more_than_a_page_of_rows_is_resealed(engine: AsyncEngine) -> None:
    await provision(engine, ONE_OF_EACH)
    extra, sealed = PAGE + 3, VAULT.seal("one of many")
    made = f"select 'app-' || n, 'acme', n, '{sealed}', '{NOW}' from generate_series(1, {extra}) n"  # noqa: S608 - ours
    await execute(
        engine, f"insert into jwt_apps (client_id, account_id, name, secret, created_at) {made}"
    )
    [apps] = [each for each in await reseal(engine, BOTH) if each.place == "jwt_apps.secret"]
    assert apps == Resealed("jwt_apps.secret", secrets=extra + 1, old=extra + 1)
    assert {NEW.open(each) for each in (await all_sealed(engine))["jwt_apps"]} >= {"one of many"}
