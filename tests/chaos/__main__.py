"""`python -m tests.chaos`: kill everything at random, and compare what was promised with what was.

The seed is printed; the same seed plans the same. Loopback only.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.chaos import mayhem, run, soak
from tests.chaos.chronicle import Chronicle
from tests.chaos.verdict import Verdict


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a new one, printed")
    parser.add_argument("--minutes", type=float, default=4, help="of mayhem (default 4)")
    parser.add_argument("--sends", type=int, help="texts that callers send (default 200 a minute)")
    parser.add_argument("--apis", type=int, default=3)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", default=[], choices=sorted(mayhem.ACTIONS), metavar="ACTION",
        help=f"of {', '.join(mayhem.ACTIONS)}",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep logs and data of a good run too")
    parser.add_argument(
        "--soak", action="store_true", help="fewer faults; sample what processes use"
    )
    parser.add_argument(
        "--pgbouncer", nargs="?", const="pgbouncer", metavar="PROGRAM",
        help="everything goes through it, in transaction mode (docs/postgres.md)",
    )  # fmt: skip
    found = parser.parse_args()
    if found.pgbouncer is not None:
        program: str = found.pgbouncer
        places = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # Debian's is there
        found.pgbouncer = shutil.which(program, path=places)
        if not found.pgbouncer:
            parser.error(f"there is no {program} here: apt-get install pgbouncer")
    return found


def _again(seed: int) -> str:
    """The arguments of this run, with its seed."""
    given = iter(sys.argv[1:])
    kept: list[str] = []
    for argument in given:
        if argument == "--seed":
            next(given)
        elif not argument.startswith("--seed="):
            kept.append(argument)
    return " ".join([f"--seed {seed}", *kept])


async def _until_stopped(work: Coroutine[Any, Any, Verdict]) -> Verdict:
    """SIGTERM ends it as Ctrl-C does: with all its processes."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> int:
    found = _arguments()
    seed = found.seed if found.seed is not None else secrets.randbelow(1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="textback-chaos-"))
    chronicle = Chronicle()
    chronicle.say(f"seed {seed}, logs in {folder}")
    sampler = soak.Sampler() if found.soak else None
    wanted = run.Wanted(
        seed=seed,
        seconds=found.minutes * 60,
        sends=found.sends or round(200 * found.minutes),
        apis=found.apis,
        workers=found.workers,
        only=tuple(found.only),
        gaps=soak.GAPS if sampler else (0.5, 2.5),
        pgbouncer=found.pgbouncer,
        spare=sampler is not None,
        watch=sampler.watch if sampler else None,
    )
    try:
        verdict = asyncio.run(_until_stopped(run.run(folder, wanted, chronicle)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.stdout.write(f"  stopped; logs and data: {folder}\n")
        return 1
    sys.stdout.write(f"\n{verdict.table()}\n\n")
    if sampler:
        sampler.save(folder / "soak.json", seed=seed, figures=dict(verdict.figures))
        sys.stdout.write(f"{sampler.table()}\n\n")
    if verdict.violations or found.keep or sampler:
        sys.stdout.write(f"  logs and data: {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"  again: make chaos ARGS='{_again(seed)}'\n")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
