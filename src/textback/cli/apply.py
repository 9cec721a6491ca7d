"""`textback apply FILE`: the deployment becomes what the file says."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.cli import context
from textback.core.errors import ProvisioningRefused
from textback.core.ports import Vault
from textback.db.session import create_engine
from textback.engines.http import HttpConfig, HttpEngine
from textback.engines.scripted import ScriptedConfig, ScriptedEngine
from textback.flows import provision as flow
from textback.flows.provision import Report
from textback.provisioning_file import EngineKind, FileRefused, Problem, read
from textback.settings import Settings
from textback.vault import FernetVault


def _scripted_deadline(config: ScriptedConfig) -> timedelta:
    return ScriptedEngine(config).deadline


def _http_deadline(config: HttpConfig) -> timedelta:
    return timedelta(seconds=2 * config.timeout_seconds)  # HttpEngine's; making one opens a pool


MANY_ROWS_SECONDS: Final = 300.0

ENGINES: Final[Mapping[str, EngineKind]] = {
    "scripted": EngineKind(ScriptedConfig, ScriptedEngine.can_open, _scripted_deadline),
    "http": EngineKind(HttpConfig, HttpEngine.can_open, _http_deadline),
}


async def provision(
    db: AsyncEngine,
    vault: Vault,
    source: str | bytes,
    environment: Mapping[str, str],
    *,
    now: datetime,
    prune: bool = False,
    dry_run: bool = False,
) -> tuple[Report, Sequence[Problem]]:
    """Apply a file's text; gives what changed, and what looks like a mistake.

    Raises FileRefused with all that is wrong (then nothing changed), Unavailable.
    """
    file = read(source, environment, engines=ENGINES)
    try:
        report = await flow.apply(db, file.plan, vault=vault, now=now, prune=prune, dry_run=dry_run)
    except ProvisioningRefused as refused:
        raise FileRefused(file.locate(refused.errors)) from None
    return report, sorted([*file.warnings, *file.locate(report.warnings)])


def apply(settings: Settings, file: Path, *, prune: bool, dry_run: bool) -> int:
    """The report as JSON on standard output, sentences on standard error; gives the exit code."""
    name = "stdin" if str(file) == "-" else str(file)
    source = _source(file)
    try:
        report, warnings = context.run(lambda: _run(settings, source, prune=prune, dry_run=dry_run))
    except FileRefused as refused:
        _say(name, refused.problems)
        _print({"applied": False, "errors": [asdict(problem) for problem in refused.problems]})
        return 1
    _say(name, warnings, "warning: ")
    _print(as_json(report, warnings, dry_run=dry_run))
    return 0


def as_json(
    report: Report, warnings: Sequence[Problem], *, dry_run: bool = False
) -> dict[str, object]:
    """What `textback apply` prints. The keys made now are in it, and nowhere else."""
    return {
        "applied": not dry_run,
        **({"dry_run": True} if dry_run else {}),
        "created": [asdict(thing) for thing in report.created],
        "updated": [asdict(thing) for thing in report.updated],
        "unchanged": report.unchanged,
        "removed": [asdict(thing) for thing in report.removed],
        "api_keys": [
            {"account": made.account_id, "name": made.name, "key": made.key}
            for made in report.api_keys
        ],
        "warnings": [asdict(problem) for problem in warnings],
    }


async def _run(
    settings: Settings, source: bytes, *, prune: bool, dry_run: bool
) -> tuple[Report, Sequence[Problem]]:
    from textback.wiring import clock  # noqa: PLC0415 - it knows every edge, and this needs none

    given = settings.need("database_url", "secret_key")
    vault = FernetVault(given["secret_key"])
    db = create_engine(given["database_url"], statement_seconds=MANY_ROWS_SECONDS)
    try:
        return await provision(
            db, vault, source, os.environ, now=clock(), prune=prune, dry_run=dry_run
        )
    finally:
        await db.dispose()


def _source(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise context.fail(f"{file} cannot be read: {error.strerror}") from None


def _say(name: str, problems: Sequence[Problem], what: str = "") -> None:
    for problem in problems:
        path = f"{problem.path}: " if problem.path else ""
        print(f"{name}:{problem.line}: {what}{path}{problem.problem}", file=sys.stderr)


def _print(value: Mapping[str, object]) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
