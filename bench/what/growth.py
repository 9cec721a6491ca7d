"""The same work on a small database and on a large one, in turns."""

import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median

from bench.fill import fill
from bench.measure import medians
from bench.options import Deployment, Options, deployed
from bench.place import LOCALHOST, MANY, Meter, Process, free_port
from bench.report import Check, Result, no_errors
from bench.what.accept import sms

AT_ONCE = 1_000
OPERATIONS = ("accept", "inbound routing", "claim and send", "due deadlines")
# What was accepted waits, until a turn takes some of it.
LATER = "update messages set due_at = now() + interval '{}' where state = 'queued'"
SOME = """update messages set due_at = now() + interval '1 second' where id in (
    select id from messages where state = 'queued' limit {})"""
# Silent for as long as their project waits before it warns.
DUE = f"""update conversations set deadline_at = now() + interval '1 second',
    active_at = now() + interval '1 second' - interval '24 hours' where id in (
    select id from conversations where state = 'engaged' and deadline_at > now() + interval '1 hour'
    limit {AT_ONCE})"""
STILL_DUE = "select count(*) as n from conversations where deadline_at <= now()"

Figures = dict[str, float]


def run(options: Options) -> Result:
    sizes: dict[str, tuple[int, int]] = {
        "small": options.pick((5_000, 10_000), (10_000, 100_000)),
        "large": options.pick((10_000, 50_000), (1_000_000, 5_000_000)),
    }
    with deployed(options, receipts=False) as d:
        for name, (conversations, messages) in sizes.items():
            began = time.monotonic()
            d.at.migrate(name, twilio=f"http://{LOCALHOST}:{d.carrier_port}")
            fill(d.at, name, conversations=conversations, messages=messages)
            options.tell(f"{name}: {messages:,} messages in {time.monotonic() - began:.0f} s")
        d.users = 2_000_000  # beyond those who have conversations
        # One kind of process after the other, so that each starts once, and what is measured of
        # one database follows within a second or two on the same of the other.
        sides = [_Side(d, name, live, options) for name, (live, _) in sizes.items()]
        rounds = _turns(sides, options, {"accept": _Side.accept, "inbound routing": _Side.hear})
        for each in sides:
            each.now_work()
        rounds |= _turns(sides, options, {"claim and send": _Side.send, "due deadlines": _Side.due})
    return _result(rounds, sizes)


class _Side:
    """One of the databases, with processes of its own."""

    def __init__(self, d: Deployment, database: str, live: int, options: Options) -> None:
        self.d, self.name, self.live, self.options = d, database, live, options
        self.port, self.count = free_port(), options.pick(200, 750)
        self.process: Process = d.at.serve(self.port, database)

    def accept(self, nth: int) -> Figures:
        del nth
        return self._loaded(sms=sms("conn-many", ",".join(MANY)))

    def hear(self, nth: int) -> Figures:
        """Of a deployment's users some text: all over the table, not those who were first in it."""
        hook = self.d.hook(MANY) | {"url": f"http://{LOCALHOST}:{self.port}/hooks/twilio/inbound"}
        seed = self.options.seed * 1000 + nth
        return self._loaded(first=0, users=self.live, step=7_919, seed=seed, hook=hook)

    def _loaded(self, **given: object) -> Figures:
        load = self.d.load(
            targets=[(LOCALHOST, self.port)],
            connections=8,
            seconds=120.0,
            count=self.count,
            **given,
        )
        groups = {"server": [self.process], "postgres": [self.d.at.postgres]}
        done = self.d.at.loads(load, groups=groups)
        return {
            "us": done.microseconds("server") + done.microseconds("postgres"),
            "ms": done.worst("p50_ms"),
            "bad": done.bad,
        }

    def now_work(self) -> None:
        """Nobody is answered: sends are measured alone."""
        at = self.d.at
        at.stop(self.process)
        at.sql("delete from turns", LATER.format("1 hour"), "vacuum (analyze)", database=self.name)
        self.process = at.work(self.port, self.name)
        time.sleep(2)  # it sweeps

    def send(self, nth: int) -> Figures:
        """Of what was accepted some is due at once."""
        del nth
        return self._worked(SOME.format(self.count), self.count)

    def due(self, nth: int) -> Figures:
        """A warning each; `all_s` until the last one is written, which is sent a moment later."""
        del nth
        return self._worked(DUE, AT_ONCE, until=STILL_DUE)

    def _worked(self, makes_due: str, count: int, until: str = "") -> Figures:
        sql, before, handled = self.d.at.sql, self.d.counts()["created"], 0.0
        meter = Meter({"worker": [self.process], "postgres": [self.d.at.postgres]})
        began = time.monotonic() + 1  # when it is due, however long that takes to write
        sql(makes_due, database=self.name)
        time.sleep(max(0.0, began - time.monotonic()))
        while (sent := self.d.counts()["created"] - before) < count:
            if until and not handled and not sql(until, database=self.name)[0]["n"]:
                handled = time.monotonic() - began
            if time.monotonic() - began > 60:
                break
            time.sleep(0.05)
        took, spent = time.monotonic() - began, meter.stop()
        figures = {
            "us": sum(spent.cpu.values()) / count * 1e6,
            "ms": took / count * 1e3,
            "bad": float(abs(count - sent)),
        }
        return figures | ({"all_s": handled or took} if until else {})


def _turns(
    sides: list[_Side], options: Options, operations: dict[str, Callable[[_Side, int], Figures]]
) -> dict[tuple[str, str], list[Figures]]:
    """Short turns, in one order and in the other: a machine's speed may change within seconds."""
    rounds: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    for nth in range(-1, options.pick(1, 7)):  # the first is to warm up
        for operation, measure in operations.items():
            for side in sides if nth % 2 else reversed(sides):
                figures = measure(side, nth)
                if nth >= 0:
                    rounds[side.name, operation].append(figures)
                    us = figures["us"]
                    options.tell(f"round {nth + 1}, {operation}, {side.name}: {us:,.0f} us")
    return rounds


def _result(
    rounds: dict[tuple[str, str], list[Figures]], sizes: dict[str, tuple[int, int]]
) -> Result:
    small, large = (f"{c:,} live, {m:,} texts" for c, m in sizes.values())
    result = Result(
        name="growth",
        title=f"{small}, and {large}; medians of rounds in turns",
        columns=["what", "small CPU us", "large CPU us", "ratio", "small ms", "large ms", "errors"],
    )
    for operation in OPERATIONS:
        turns = [rounds[name, operation] for name in sizes]
        # Of what was measured one after the other.
        ratio = median(b["us"] / a["us"] for a, b in zip(*turns, strict=True))
        a, b = (medians(each) for each in turns)
        bad = int(sum(each["bad"] for each in (*turns[0], *turns[1])))
        result.rows.append([operation, a["us"], b["us"], ratio, a["ms"], b["ms"], bad])
        result.checks.append(Check(f"growth of {operation}", ratio, "x", at_most=1.2))
        if operation == "due deadlines":
            what = f"{AT_ONCE:,} deadlines due at once"
            result.checks.append(Check(what, b["all_s"], "s", at_most=5))
    result.checks.append(no_errors(sum(each["bad"] for turn in rounds.values() for each in turn)))
    result.notes += [
        "CPU of server and Postgres for each; of a deadline, also of its warning's way out.",
        "ms: answered p50, or one of many done in a row; ratio: median of each round's.",
        "Rows are valid, ANALYZEd, and made by SQL; their events are not made.",
    ]
    return result
