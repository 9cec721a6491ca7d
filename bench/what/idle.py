"""An API process and a worker with nothing to do."""

import time
from statistics import median

from bench.options import Deployment, Options, deployed
from bench.place import Meter, Process
from bench.report import Check, Result


def run(options: Options) -> Result:
    seconds, starts = options.pick(5, 30), options.pick(1, 3)
    ready: dict[str, list[float]] = {"API": [], "worker": []}
    with deployed(options) as d:
        api, worker = _started(d, ready)
        for _ in range(starts - 1):
            d.at.stop(api, worker)
            api, worker = _started(d, ready)
        time.sleep(options.pick(1, 5))
        groups = {
            "API": [api],
            "worker": [worker],
            "Postgres": [d.at.postgres],
            "Redis": [d.at.valkey],
        }
        meter = Meter(groups)
        time.sleep(seconds)
        spent = meter.stop()
        memory = {name: each[0].rss() / 2**20 for name, each in groups.items()}
        d.at.stop(api, worker)
    result = Result(
        name="idle",
        title=f"{seconds} s without anything to do",
        columns=["process", "% of a core", "memory MB", "ready after s"],
    )
    for name, cpu in spent.cpu.items():
        usual = median(ready[name]) if name in ready else None
        result.rows.append([name, cpu / spent.seconds * 100, memory[name], usual])
    ours = (spent.cpu["API"] + spent.cpu["worker"]) / spent.seconds * 100
    result.checks = [
        Check("API and worker, idle", ours, "% of a core", at_most=1),
        Check("memory of the API", memory["API"], "MB", at_most=150),
        Check("memory of the worker", memory["worker"], "MB", at_most=150),
        Check("API ready after", median(ready["API"]), "s", at_most=2),
        Check("worker ready after", median(ready["worker"]), "s", at_most=2),
    ]
    result.figures = {"idle_percent": ours, "api_mb": memory["API"], "worker_mb": memory["worker"]}
    return result


def _started(d: Deployment, ready: dict[str, list[float]]) -> tuple[Process, Process]:
    began = time.monotonic()
    api = d.at.serve(d.port)
    ready["API"].append(time.monotonic() - began)
    began = time.monotonic()
    worker = d.at.work(d.port)
    ready["worker"].append(time.monotonic() - began)
    return api, worker
