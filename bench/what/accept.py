"""`POST /v1/outbound-sms`: ours beside an empty endpoint and the same job done the textbook way."""

from collections import defaultdict
from collections.abc import Collection

from bench.measure import medians
from bench.options import Deployment, Options, deployed
from bench.place import KEY, LOCALHOST, ONE, Process, apart, free_port
from bench.report import Check, Result, no_errors

CONNECTIONS = 64

NAMES = {
    "raw": "raw ASGI, empty (the generator's ceiling)",
    "bare": "bare FastAPI endpoint, no I/O",
    "ours": "textback",
    "ours, picks": "textback, picking one of 16 numbers",
    "textbook": "textbook",
    "together": "textback",
    "alone": "textback, without batches (most=1)",
}


def run(options: Options) -> Result:
    with apart() as core, deployed(options) as d:
        result = _busy(d, options, core)
    with deployed(options) as d:
        _idle(d, options, result)
    return result


def sms(connector: str = "conn-one", agents: str = ONE) -> dict[str, str]:
    return {"key": KEY, "connector": connector, "agents": agents}


def _busy(d: Deployment, options: Options, core: Collection[int]) -> Result:
    ports = {name: free_port() for name in ("raw", "bare", "textbook")} | {"ours": d.port}
    served = {name: d.at.application(name, ports[name]) for name in ("raw", "bare", "textbook")}
    served["ours"] = d.at.serve(d.port)
    for each in served.values():
        each.onto(core)
    ports["ours, picks"], served["ours, picks"] = ports["ours"], served["ours"]
    names = [name for name in NAMES if name in ports]
    figures = _rounds(
        d, options, {name: (ports[name], served[name]) for name in names}, CONNECTIONS
    )
    d.at.stop(*{id(each): each for each in served.values()}.values())
    result = Result(
        name="accept",
        title=f"{CONNECTIONS} connections, one API process, medians of interleaved rounds",
        columns=[
            *("what", "req/s", "x bare", "x textbook", "p50 ms", "p99 ms"),
            *("server us", "Postgres us", "Redis us", "generator us", "errors"),
        ],
    )
    for name in names:
        f = figures[name]
        spent = (f[each] for each in ("server", "postgres", "valkey", "load"))
        result.rows.append(
            [
                *(NAMES[name], f["per_second"], f["x_bare"], f["x_textbook"]),
                *(f["p50_ms"], f["p99_ms"], *spent, int(f["bad"])),
            ]
        )
    ours = figures["ours"]
    result.checks = [
        Check("accept against the bare endpoint", ours["x_bare"], "x", at_least=0.8),
        Check("accept against the textbook's way", ours["x_textbook"], "x", at_least=10),
        Check("accept p99", ours["p99_ms"], "ms", at_most=50),
        no_errors(sum(each["bad"] for each in figures.values())),
    ]
    result.notes.append("CPU is microseconds a request, of whole process trees.")
    if core:
        result.notes.append("The server has a core, and all else shares the others.")
    result.figures = {
        "accepts_per_second": ours["per_second"],
        "accept_server_us": ours["server"],
        "accept_postgres_us": ours["postgres"],
        "accept_redis_us": ours["valkey"],
        "bare_per_second": figures["bare"]["per_second"],
        "textbook_per_second": figures["textbook"]["per_second"],
    }
    return result


def _idle(d: Deployment, options: Options, result: Result) -> None:
    """One connection: what a batch costs who is alone."""
    if not (options.tree / "src/textback/group.py").exists():
        result.notes.append("This tree does not batch; one connection is not compared.")
        return
    served: dict[str, tuple[int, Process]] = {}
    for name, most in (("together", "1000"), ("alone", "1")):
        port = free_port()
        served[name] = port, d.at.ours(port, BENCH_MOST=most)
    figures = _rounds(d, options, served, 1)
    d.at.stop(*(process for _, process in served.values()))
    for name, f in figures.items():
        result.rows.append(
            [
                *(f"1 connection: {NAMES[name]}", f["per_second"], None, None),
                *(f["p50_ms"], f["p99_ms"], f["server"], f["postgres"], f["valkey"], f["load"]),
                int(f["bad"]),
            ]
        )
    added = figures["together"]["p50_ms"] - figures["alone"]["p50_ms"]
    bad = sum(each["bad"] for each in figures.values())
    result.checks += [
        Check("1 connection: p50 that batches add", added, "ms", at_most=2),
        no_errors(bad, "1 connection: answers that were errors"),
    ]
    result.figures["accept_alone_p50_ms"] = figures["together"]["p50_ms"]


def _rounds(
    d: Deployment, options: Options, served: dict[str, tuple[int, Process]], connections: int
) -> dict[str, dict[str, float]]:
    """Medians of each, with its ratios to others of the same round, and all its errors."""
    measured: dict[str, list[dict[str, float]]] = defaultdict(list)
    # Short turns, in one order and in the other: a machine's speed may change within seconds.
    rounds, seconds = options.pick(1, 8), options.pick(1.0, 2.0)
    turns = list(served.items())
    for nth in range(-1, rounds):  # the first is to warm up
        this: dict[str, dict[str, float]] = {}
        for name, (port, process) in turns if nth % 2 else reversed(turns):
            picks = name == "ours, picks"
            load = d.load(
                targets=[(LOCALHOST, port)],
                connections=connections,
                seconds=seconds,
                prebuilt=int(seconds * (15_000 if connections > 1 else 3_000)),
                sms=sms("conn-many", "") if picks else sms(),
                seed=options.seed,
            )
            groups = {"server": [process], "postgres": [d.at.postgres], "valkey": [d.at.valkey]}
            found = d.at.loads(load, groups=groups)
            this[name] = {
                "per_second": found.per_second,
                "bad": found.bad,
                "p50_ms": found.worst("p50_ms"),
                "p99_ms": found.worst("p99_ms"),
                **{group: found.microseconds(group) for group in found.spent.cpu},
            }
        for name, f in this.items() if nth >= 0 else ():
            for other in ("bare", "textbook"):
                if other in this:
                    f[f"x_{other}"] = f["per_second"] / this[other]["per_second"]
            measured[name].append(f)
            options.tell(f"{nth + 1}/{rounds} {NAMES[name]}: {f['per_second']:,.0f}/s")
    return {
        name: medians(turns) | {"bad": sum(turn["bad"] for turn in turns)}
        for name, turns in measured.items()
    }
