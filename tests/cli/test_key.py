"""`textback key`: an account's keys, from a shell."""

import asyncio
import re

import pytest
from typer.testing import CliRunner, Result

from tests.support.provision import SECRET_KEY, provision
from textback.cli.main import app
from textback.db.session import create_engine


@pytest.fixture
def _deployed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTBACK_DATABASE_URL", database_url)
    monkeypatch.setenv("TEXTBACK_SECRET_KEY", SECRET_KEY)

    async def arrange() -> None:
        db = create_engine(database_url)
        await provision(db)
        await db.dispose()

    asyncio.run(arrange())


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["key", *arguments])


def refused(*arguments: str) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.usefixtures("_deployed")
def test_a_key_is_made_listed_changed_over_and_revoked() -> None:
    made = run(
        "create", "acme", "--name", "crm", "--scopes", "send, read", "--expires", "2999-01-31"
    )
    assert made.exit_code == 0, made.stderr
    assert re.fullmatch(r"tb_[\w-]{43}\n", made.stdout)
    assert re.fullmatch(r'The key "crm" \(key_\w{26}\) is made\.\n', made.stderr)
    rotated = run("rotate", "acme", "crm", "--grace", "2")
    assert re.fullmatch(r"tb_[\w-]{43}\n", rotated.stdout)
    assert rotated.stdout != made.stdout
    assert "the old one works until" in rotated.stderr
    listed = run("list", "acme").stdout
    assert re.search(r"^key_\w{26}  ci  everything  \(file\)$", listed, re.MULTILINE)
    crm = (
        r"^key_\w{26}  crm  read,send  expires 2999-01-31 00:00 UTC  the one before works until .+"
    )
    assert re.search(crm, listed, re.MULTILINE)
    assert made.stdout.strip() not in listed
    assert run("revoke", "acme", "crm").stdout.endswith("opens nothing any more.\n")
    assert "crm  read,send  revoked" in run("list", "acme").stdout
    restored = run("rotate", "acme", "ci")
    assert "the next apply restores that" in restored.stderr


@pytest.mark.usefixtures("_deployed")
def test_a_key_is_changed_again_within_its_grace_only_when_that_is_insisted_on() -> None:
    first = run("rotate", "acme", "ci")
    said = refused("rotate", "acme", "ci")
    until = re.search(r"works until (.{16})", first.stderr)
    assert until is not None
    assert f"works until {until[1]}" in said
    assert "--again" in said
    assert re.fullmatch(r"tb_[\w-]{43}\n", run("rotate", "acme", "ci", "--again").stdout)


@pytest.mark.usefixtures("_deployed")
def test_what_cannot_be_done_is_one_sentence() -> None:
    assert refused("list", "nobody") == 'There is no account "nobody".\n'
    assert refused("revoke", "acme", "nothing") == "There is no key with that id.\n"
    assert "provisioning file" in refused("revoke", "acme", "ci")
    assert "there is no scope" in refused("create", "acme", "--name", "x", "--scopes", "all")
    assert "must be a date" in refused("create", "acme", "--name", "x", "--expires", "soon")
    assert "over already" in refused("create", "acme", "--name", "x", "--expires", "2020-01-01")
    assert 'called "ci" already' in refused("create", "acme", "--name", "ci")
    assert "characters" in refused("create", "acme", "--name", " ")
    assert "30 days" in refused("rotate", "acme", "ci", "--grace", "1000")
