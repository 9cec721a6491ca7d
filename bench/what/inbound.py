"""Users' texts, signed, 200 a second, from users with live conversations."""

from bench.measure import medians
from bench.options import Options, deployed
from bench.place import LOCALHOST, MANY, free_port
from bench.report import Check, Result, no_errors
from bench.what.accept import sms

RATE = 200.0


def run(options: Options) -> Result:
    seconds, rounds = options.pick(3.0, 8.0), options.pick(1, 2)
    with deployed(options) as d:
        raw = d.at.application("raw", (port := free_port()))
        api = d.at.serve(d.port)
        users = 2_000
        d.at.loads(
            d.load(connections=16, seconds=60.0, count=users, sms=sms("conn-many", "")), groups={}
        )
        found: dict[str, list[dict[str, float]]] = {"raw": [], "ours": [], "answered": []}
        for nth in range(-1, rounds):  # the first is to warm up: connections prepare statements
            for name, each in found.items():
                worker = d.at.work(d.port) if name == "answered" else None
                load = d.load(
                    targets=[(LOCALHOST, port if name == "raw" else d.port)],
                    connections=32,
                    seconds=seconds if nth >= 0 else 2.0,
                    rate=RATE,
                    first=0,
                    users=users,
                    seed=options.seed * 1000 + (nth + 1) * 10 + len(name),
                    hook=d.hook(MANY),
                )
                served = raw if name == "raw" else api
                groups = {"server": [served], "postgres": [d.at.postgres]}
                loaded = d.at.loads(load, groups=groups)
                if worker is not None:
                    d.at.stop(worker)
                if nth < 0:
                    continue
                each.append(
                    {
                        "p50": loaded.worst("p50_ms"),
                        "p99": loaded.worst("p99_ms"),
                        "bad": loaded.bad,
                        **{group: loaded.microseconds(group) for group in groups},
                    }
                )
                options.tell(f"{nth + 1}/{rounds} {name}: p99 {loaded.worst('p99_ms'):.1f} ms")
        d.at.stop(raw, api)
    result = Result(
        name="inbound",
        title=f"signed webhooks, open loop at {RATE:.0f}/s, medians of {rounds} rounds",
        columns=["what", "p50 ms", "p99 ms", "server us", "Postgres us", "errors"],
    )
    words = {
        "raw": "raw ASGI, empty (the ceiling)",
        "ours": "textback, acknowledged",
        "answered": "textback, with a worker that answers them all",
    }
    for name, each in found.items():
        f = medians(each) | {"bad": sum(turn["bad"] for turn in each)}
        result.rows.append(
            [words[name], f["p50"], f["p99"], f["server"], f["postgres"], int(f["bad"])]
        )
        result.figures |= {f"{name}_p99_ms": f["p99"], f"{name}_server_us": f["server"]}
        result.figures[f"{name}_bad"] = f["bad"]
    result.figures["ours_postgres_us"] = medians(found["ours"])["postgres"]
    result.checks = [
        Check("inbound webhook acknowledged, p99", result.figures["ours_p99_ms"], "ms", at_most=30),
        no_errors(result.figures["ours_bad"] + result.figures["answered_bad"]),
    ]
    return result
