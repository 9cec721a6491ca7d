"""`textback doctor`: what a deployment needs, checked one by one, with what to fix."""

import json
import sys
from collections.abc import AsyncGenerator, Sequence

from rich.console import Console
from rich.markup import escape

from textback import wiring
from textback.cli import doctor_carriers, doctor_postgres, doctor_redis, doctor_roads, doctor_work
from textback.core.ports import Finding
from textback.runtime import Runtime
from textback.settings import Settings


async def run(found: Settings, *, as_json: bool = False) -> int:
    """Print each finding; 0 when all is well, else 1."""
    rt = wiring.runtime(found)
    findings: list[Finding] = []
    console = Console(highlight=False)
    try:
        async for finding in _all(rt, found):
            findings.append(finding)
            if not as_json:
                _print(console, finding)
    finally:
        await rt.close()
    wrong = sum(not finding.ok for finding in findings)
    if as_json:
        _print_json(findings)
    else:
        console.print(f"\n{wrong} to fix." if wrong else "\nAll is well.")
    return 1 if wrong else 0


def _print(console: Console, finding: Finding) -> None:
    mark = "[green]ok  [/]" if finding.ok else "[red]FIX [/]"
    console.print(f"{mark} {escape(finding.what)}", soft_wrap=True)
    if finding.fix:
        console.print(f"     {escape(finding.fix)}", soft_wrap=True)


def _print_json(findings: Sequence[Finding]) -> None:
    """`fix` stands also beside what is well, where there is something to know about it."""
    listed = [{"ok": each.ok, "what": each.what, "fix": each.fix} for each in findings]
    json.dump({"ok": all(each.ok for each in findings), "findings": listed}, sys.stdout, indent=2)
    print()


async def _all(rt: Runtime, found: Settings) -> AsyncGenerator[Finding]:
    database = await doctor_postgres.reached(rt.db)
    yield database
    for finding in await doctor_redis.findings(found):
        yield finding
    if not database.ok:
        return
    for finding in await doctor_postgres.findings(rt.db, pool=found.database_pool):
        yield finding
    for finding in await doctor_roads.findings(found, rt.db):
        yield finding
    for finding in await doctor_work.findings(rt, found.need("secret_key")["secret_key"]):
        yield finding
    for finding in await doctor_carriers.findings(rt):
        yield finding
