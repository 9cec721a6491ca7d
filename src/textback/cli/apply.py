"""`textback apply FILE`: the deployment becomes what the file says."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from textback.cli import context
from textback.cli.words import in_json
from textback.core.errors import ProvisioningRefused
from textback.core.ports import Vault
from textback.db.session import create_engine
from textback.engine_kinds import KINDS
from textback.flows import provision as flow
from textback.flows.provision_report import NewVersion, Report
from textback.log_lines import escaped
from textback.provisioning_file import FileRefused, Problem, read, reread
from textback.settings import Settings
from textback.vault import FernetVault

MANY_ROWS_SECONDS: Final = 300.0


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
    file = read(source, environment, engines=KINDS)
    try:
        report = await flow.apply(
            db,
            file.plan,
            vault=vault,
            now=now,
            reread=partial(reread, KINDS),
            prune=prune,
            dry_run=dry_run,
        )
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
    for version in report.versions:
        print(sentence(version, dry_run=dry_run), file=sys.stderr)
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
        "versions": [
            {
                "agent": version.change.agent_id,
                "label": version.change.label,
                "version": version.change.number,
                "was": version.change.was,
                "live": {str(number): live for number, live in version.live.items()},
            }
            for version in report.versions
        ],
        "warnings": [asdict(problem) for problem in warnings],
    }


def sentence(version: NewVersion, *, dry_run: bool = False) -> str:
    """What became of one label of an agent, and what its live conversations do."""
    change = version.change
    agent, now = change.agent_id, "would be" if dry_run else "is"
    if change.number is None:
        said = f"agent {agent}: there {now} no draft any more (it was version {change.was})"
    else:
        was = "new" if change.was is None else f"was {change.was}"
        said = f"agent {agent}: version {change.number} {now} {change.label} now ({was})"
    stay = 0 if change.was is None else version.live.get(change.was, 0)
    if not stay or change.was == change.number:
        return said
    which = "1 live conversation stays" if stay == 1 else f"{stay} live conversations stay"
    to = "" if change.label == "production" or change.number is None else " --to draft"
    move = f"textback agent move {agent}{to} --from {change.was}"
    return f"{said}; {which} on version {change.was}: `{move}` moves them"


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
        print(escaped(f"{name}:{problem.line}: {what}{path}{problem.problem}"), file=sys.stderr)


def _print(value: Mapping[str, object]) -> None:
    print(in_json(value, indent=2))
