"""`docs/runbook.md`: a word on every alert; commands, routes and queries that there are."""

import re
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import typer
import yaml

from tests.support.routes import routes
from textback.cli.main import app
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
