"""`python -m bench`: measure, print the tables, write results/latest.json and a plot."""

import argparse
import importlib
import json
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

import psutil

from bench import model, plot, report
from bench.options import Options
from bench.place import ROOT

BENCHES = ("accept", "latency", "pipeline", "inbound", "growth", "idle", "scale", "fairness")
RESULTS = ROOT / "bench/results"
DOCUMENT = ROOT / "docs/scaling.md"


def main() -> int:
    asked = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: everything is ended on the way out
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    options = Options(tree=asked.tree.resolve(), quick=asked.quick, seed=asked.seed, tell=_progress)
    before, began, cpu = report.machine(), time.monotonic(), psutil.cpu_times()
    print(_machine(before))
    results, failed, stopped = list[report.Result](), list[str](), False
    try:
        for name in asked.only or BENCHES:
            _progress(f"--- {name}")
            try:
                results.append(importlib.import_module(f"bench.what.{name}").run(options))
            except Exception:  # noqa: BLE001 - the others are measured all the same
                failed.append(name)
                traceback.print_exc()
            else:
                print("\n" + report.section(results[-1]), flush=True)
    except KeyboardInterrupt:
        stopped = True
        print("Stopped; what was measured until now follows.", file=sys.stderr)
    after = report.machine()
    after["stolen_percent"] = round(report.stolen(cpu, psutil.cpu_times()), 2)
    found = {
        "tree": str(options.tree),
        "quick": options.quick,
        "seed": options.seed,
        "seconds": round(time.monotonic() - began),
        "before": before,
        "after": after,
        "results": [
            asdict(each) | {"holds": {c.what: c.holds for c in each.checks}} for each in results
        ],
    }
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(found, indent=1))
    plot.write(asked.json.with_suffix(".svg"), results)
    sections = "\n".join(report.section(each) for each in results)
    if asked.write_docs and not options.quick and len(results) == len(BENCHES):
        date = time.strftime("%Y-%m-%d", time.gmtime())
        constants = model.constants(found, machine=_machine(before), date=date)
        model.CONSTANTS.write_text(json.dumps(constants, indent=1) + "\n")
        written = f"{_machine(before)}\n\n{sections.rstrip()}"
        text = report.replaced(DOCUMENT.read_text(), written)
        boxes = model.whole(constants, model.Assumed())
        DOCUMENT.write_text(report.replaced(text, boxes, report.MODEL))
    broken = [check.what for each in results for check in each.checks if not check.holds]
    print(
        f"{_machine(after)}\n{found['seconds']} s; {asked.json} is written, and a plot beside it."
    )
    print("Not as promised: " + "; ".join(broken) if broken else "What was measured holds.")
    if failed:
        print("Failed: " + " ".join(failed))
    return 130 if stopped else int(bool(failed) or (asked.strict and bool(broken)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=BENCHES, metavar="NAME", help=" ".join(BENCHES)
    )
    parser.add_argument("--quick", action="store_true", help="does it run? (1 to 2 minutes)")
    parser.add_argument("--json", type=Path, default=RESULTS / "latest.json")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tree", type=Path, default=ROOT, help="another checkout to measure")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a promise does not hold")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help=f"put the tables of a whole run into {DOCUMENT.relative_to(ROOT)}, and the model's"
        f" constants into {model.CONSTANTS.relative_to(ROOT)}",
    )
    return parser.parse_args()


def _machine(found: dict[str, report.Cell]) -> str:
    return (
        f"{found['cores']} cores ({found['cpu']}), {found['memory_gb']} GB, {found['system']}, "
        f"Python {found['python']}; load {found['load_1m']} (1 min), {found['load_5m']} (5 min)"
        + (f"; {found['stolen_percent']} % stolen" if "stolen_percent" in found else "")
    )


def _progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
