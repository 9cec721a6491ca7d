"""The same work on a small database and on a large one, in turns."""

import time
from collections import defaultdict

from bench.fill import fill
from bench.measure import medians
from bench.options import Deployment, Options, deployed
from bench.place import LOCALHOST, MANY, Meter, Process, free_port
from bench.report import Check, Result
from bench.what.accept import sms

AT_ONCE = 1_000
OPERATIONS = ("accept", "claim and send", "inbound routing", "due deadlines")
DROP = """update messages set state = 'suppressed', due_at = null, dropped_at = now(),
    drop_reason = 'expired' where state = 'queued'"""
LATER = "update messages set due_at = now() + interval '{}' where state = 'queued'"
# Silent for as long as their project waits before it warns.
DUE = f"""update conversations set deadline_at = now() + interval '1 second',
    active_at = now() + interval '1 second' - interval '24 hours' where id in (
    select id from conversations where state = 'engaged' and deadline_at > now() + interval '1 hour'
    limit {AT_ONCE})"""
STILL_DUE = "select count(*) as n from conversations where deadline_at <= now()"


def run(options: Options) -> Result:
    sizes: dict[str, tuple[int, int]] = {
        "small": options.pick((5_000, 10_000), (10_000, 100_000)),
        "large": options.pick((10_000, 50_000), (1_000_000, 5_000_000)),
    }
    ports = {name: free_port() for name in sizes}
    rounds: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    with deployed(options, receipts=False) as d:
        for name, (conversations, messages) in sizes.items():
            began = time.monotonic()
            d.at.migrate(name, twilio=f"http://{LOCALHOST}:{d.carrier_port}")
            fill(d.at, name, conversations=conversations, messages=messages)
            options.tell(f"{name}: {messages:,} messages in {time.monotonic() - began:.0f} s")
        d.users = 2_000_000  # beyond those who have conversations
        for nth in range(-1, options.pick(1, 2)):  # the first is to warm up
            for name, (conversations, _) in sizes.items():
                one = _Round(d, name, ports[name], conversations, options)
                for operation, figures in one.run(options.pick(200, 1_500), nth).items():
                    if nth >= 0:
                        rounds[name, operation].append(figures)
                options.tell(f"round {nth + 1}, {name}")
    return _result(rounds, sizes)


class _Round:
    """One after the other on one of the databases, with processes of its own."""

    def __init__(
        self, d: Deployment, database: str, port: int, conversations: int, options: Options
    ) -> None:
        self.d, self.database, self.port = d, database, port
        self.conversations, self.options = conversations, options

    def run(self, count: int, nth: int) -> dict[str, dict[str, float]]:
        at, found = self.d.at, dict[str, dict[str, float]]()
        api = at.serve(self.port, self.database)
        groups = {"server": [api], "postgres": [at.postgres]}
        given = {"targets": [(LOCALHOST, self.port)], "connections": 8, "seconds": 120.0}
        load = self.d.load(**given, count=count, sms=sms("conn-many", ",".join(MANY)))
        done = at.loads(load, groups=groups)
        found["accept"] = {
            "us": done.microseconds("server") + done.microseconds("postgres"),
            "ms": done.worst("p50_ms"),
            "bad": done.bad,
        }
        # Of a deployment's users some text: all over the table, not those who were first in it.
        hook = self.d.hook(MANY) | {"url": f"http://{LOCALHOST}:{self.port}/hooks/twilio/inbound"}
        seed = self.options.seed * 1000 + nth
        load = self.d.load(
            **given,
            count=count,
            first=0,
            users=self.conversations,
            step=7_919,
            seed=seed,
            hook=hook,
        )
        done = at.loads(load, groups=groups)
        found["inbound routing"] = {
            "us": done.microseconds("server") + done.microseconds("postgres"),
            "ms": done.worst("p50_ms"),
            "bad": done.bad,
        }
        at.stop(api)
        at.sql("delete from turns", database=self.database)
        found["claim and send"], worker = self._send(count)
        found["due deadlines"] = self._deadlines(worker)
        at.stop(worker)
        at.sql(DROP, database=self.database)  # warnings that have not left: not for the next round
        return found

    def _send(self, count: int) -> tuple[dict[str, float], Process]:
        """What was accepted is due when the worker has started."""
        d, before = self.d, self.d.counts()["created"]
        d.at.sql(LATER.format("1 hour"), database=self.database)
        worker = d.at.work(self.port, self.database)
        time.sleep(2)  # it sweeps
        d.at.sql(LATER.format("1.5 seconds"), database=self.database)
        due = time.monotonic() + 1.5
        time.sleep(1.3)
        meter = Meter({"worker": [worker], "postgres": [d.at.postgres]})
        while (sent := d.counts()["created"] - before) < count and time.monotonic() < due + 120:
            time.sleep(0.05)
        took, spent = time.monotonic() - due, meter.stop()
        figures = {
            "us": sum(spent.cpu.values()) / max(sent, 1) * 1e6,
            "ms": took / max(sent, 1) * 1e3,
            "bad": float(count - sent),
        }
        return figures, worker

    def _deadlines(self, worker: Process) -> dict[str, float]:
        at = self.d.at
        meter = Meter({"worker": [worker], "postgres": [at.postgres]})
        at.sql(DUE, database=self.database)
        time.sleep(1)
        began = time.monotonic()
        while (left := self._left()) and time.monotonic() - began < 60:
            time.sleep(0.2)
        took, spent = time.monotonic() - began, meter.stop()
        figures = {"us": sum(spent.cpu.values()) / AT_ONCE * 1e6, "ms": took / AT_ONCE * 1e3}
        return figures | {"bad": float(left), "all_s": took}

    def _left(self) -> int:
        return int(self.d.at.sql(STILL_DUE, database=self.database)[0]["n"])


def _result(
    rounds: dict[tuple[str, str], list[dict[str, float]]], sizes: dict[str, tuple[int, int]]
) -> Result:
    small, large = (f"{c:,} live, {m:,} texts" for c, m in sizes.values())
    result = Result(
        name="growth",
        title=f"{small}, and {large}; medians of rounds in turns",
        columns=["what", "small CPU us", "large CPU us", "ratio", "small ms", "large ms", "errors"],
    )
    for operation in OPERATIONS:
        a, b = (medians(rounds[name, operation]) for name in sizes)
        ratio = b["us"] / a["us"]
        result.rows.append(
            [operation, a["us"], b["us"], ratio, a["ms"], b["ms"], int(a["bad"] + b["bad"])]
        )
        result.checks.append(Check(f"growth of {operation}", ratio, "x", at_most=1.2))
        if operation == "due deadlines":
            what = f"{AT_ONCE:,} deadlines due at once"
            result.checks.append(Check(what, b["all_s"], "s", at_most=5))
    result.notes += [
        "CPU of server and Postgres for each; ms: answered p50, or one of many done in a row.",
        "Rows are valid, ANALYZEd, and made by SQL; their events are not made.",
    ]
    return result
