"""Everything at once: accept, send, two receipts each, a reply and a turn for every fifth text."""

import threading
import time
from dataclasses import dataclass, field

from bench.load import Load
from bench.options import Deployment, Options, deployed
from bench.place import MANY, Loaded, Meter, Process, Spent
from bench.report import Check, Result
from bench.what.accept import sms

EVERY = 5
WANTED = 400
DEPTH = """select
    (select count(*) from messages where state in ('queued', 'sending')) as texts,
    (select count(*) from messages where state = 'sent') as reports,
    (select count(*) from turns where state in ('waiting', 'thinking')) as turns"""
WRITTEN = """select pg_current_wal_lsn() - '0/0'::pg_lsn as wal,
    pg_database_size(current_database()) as stored"""
EMPTY = "truncate conversations, messages, turns, events, idempotency_keys cascade"


@dataclass(slots=True, kw_only=True)
class Step:
    rate: float
    seconds: float
    loaded: Loaded
    spent: Spent
    created: int
    """Texts at the carrier while texts were accepted."""
    behind: int
    """Texts that were accepted and had not left when accepting ended."""
    drained: float
    """Seconds until nothing was queued, all was reported and nobody waited for an answer."""
    counts: dict[str, int]
    written: dict[str, float]
    """Bytes of WAL, and by which the database grew."""
    depth: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    @property
    def sustained(self) -> bool:
        """All accepted, in time, and no more than half a second's worth waited at the end.

        A conversation takes a second and a half to its end; receipts that queue at the carrier show
        in what comes after that.
        """
        accepted = self.loaded.done >= 0.95 * self.rate * self.seconds
        whole = self.counts["openers"] >= self.loaded.done - self.loaded.bad
        quick = self.behind <= max(0.5 * self.rate, 20)
        quick = quick and self.drained < 2 + 0.05 * self.seconds
        in_time = self.loaded.worst("p99_ms") < 1000
        errors = self.loaded.bad + self.counts["refused"]
        return accepted and whole and quick and in_time and not errors


def run(options: Options) -> Result:
    with deployed(options, reply_every=EVERY) as d:
        running = _start(d, options)
        steps: list[Step] = []
        best, tried, seconds = 0.0, options.pick(50.0, 200.0), options.pick(6.0, 8.0)
        failed = 0.0
        while len(steps) < options.pick(1, 6):
            steps.append(_step(d, running, options, tried, seconds))
            if steps[-1].sustained:
                best = tried
            else:
                failed = tried
                running = _anew(d, running, options)
            if failed and failed - best <= max(0.1 * best, 20):
                break
            tried = (best + failed) / 2 if failed else tried * 2
        minutes: list[Step] = []
        while best and len(minutes) < options.pick(0, 3):  # which may be harder than some seconds
            minutes.append(_step(d, running, options, best, 60.0))
            if minutes[-1].sustained:
                if best >= WANTED or len(minutes) > 1:
                    break
                best = float(WANTED)  # where it did not hold for seconds, that may have been chance
            elif any(minute.sustained for minute in minutes):
                break
            else:
                running, less = _anew(d, running, options), best * 0.85
                best = max(less, WANTED) if best > WANTED else less
        d.at.stop(*running.values())
    steps += minutes
    held = [minute for minute in minutes if minute.sustained]
    return _result(steps, held[-1] if held else steps[-1])


def _start(d: Deployment, options: Options) -> dict[str, Process]:
    """Warm: their first second or two is connections that prepare statements."""
    running = {"API": d.at.serve(d.port), "worker": d.at.work(d.port)}
    d.at.loads(_load(d, options, 100.0, 4.0), groups={})
    _drained(d)
    return running


def _anew(d: Deployment, running: dict[str, Process], options: Options) -> dict[str, Process]:
    """After more than it could carry."""
    d.at.stop(*running.values())
    d.at.sql(EMPTY)
    d.fill()
    time.sleep(3)  # the carrier's last posts find nobody
    return _start(d, options)


def _load(d: Deployment, options: Options, rate: float, seconds: float) -> Load:
    return d.load(
        connections=64,
        seconds=seconds,
        rate=rate,
        sms=sms("conn-many", ",".join(MANY)),
        seed=options.seed + d.users,
    )


def _drained(d: Deployment) -> float:
    """Seconds until nothing is to be done."""
    began = time.monotonic()
    while time.monotonic() - began < 30 and any(d.at.sql(DEPTH)[0].values()):
        time.sleep(0.2)
    return time.monotonic() - began


def _step(
    d: Deployment, running: dict[str, Process], options: Options, rate: float, seconds: float
) -> Step:
    groups = {name: [process] for name, process in running.items()}
    groups |= {"Postgres": [d.at.postgres], "Redis": [d.at.valkey], "carrier": [d.carrier]}
    load = _load(d, options, rate, seconds)
    before, over, written = d.counts(), threading.Event(), d.at.sql(WRITTEN)[0]
    depth: list[tuple[float, float]] = []
    watching = threading.Thread(target=_watch, args=(d, depth, over))
    watching.start()
    try:
        meter = Meter(groups)
        loaded = d.at.loads(load, groups=groups)
        created, behind = d.counts(), _texts(d)
        drained, spent = _drained(d), meter.stop()
        time.sleep(1)
    finally:
        over.set()
        watching.join()
    after, now = d.counts(), d.at.sql(WRITTEN)[0]
    step = Step(
        rate=rate,
        seconds=seconds,
        loaded=loaded,
        spent=spent,
        created=created["created"] - before["created"],
        behind=behind,
        drained=drained,
        counts={name: after[name] - before[name] for name in before if name != "times"},
        written={name: float(now[name] - written[name]) for name in written},
        depth=depth,
    )
    word = "sustained" if step.sustained else f"not sustained, {behind} behind, {drained:.0f} s"
    options.tell(f"{rate:.0f}/s for {seconds:.0f} s: {word}")
    return step


def _texts(d: Deployment) -> int:
    return int(d.at.sql(DEPTH)[0]["texts"])


def _watch(d: Deployment, depth: list[tuple[float, float]], over: threading.Event) -> None:
    began = time.monotonic()
    while not over.wait(1):
        depth.append((time.monotonic() - began, _texts(d)))


def _result(steps: list[Step], last: Step) -> Result:
    names = list(last.spent.cpu)
    result = Result(
        name="pipeline",
        title="accept, send, two receipts each; a reply and a turn for every fifth",
        columns=[
            *("offered/s", "s", "accepted/s", "sent/s", "accept p99 ms", "behind", "drained s"),
            *("receipts", "replies", "answers", "refused", "sustained"),
            *(f"{name} cores" for name in names),
        ],
    )
    for s in steps:
        counts = (s.counts[each] for each in ("receipts", "texted", "answers", "refused"))
        result.rows.append(
            [
                *(s.rate, s.seconds, s.loaded.per_second, s.created / s.loaded.worst("seconds")),
                *(s.loaded.worst("p99_ms"), s.behind, s.drained, *counts),
                "yes" if s.sustained else "no",
                *(s.spent.cpu[name] / s.spent.seconds for name in names),
            ]
        )
    best = max((s.rate for s in steps if s.sustained and s.seconds >= last.seconds), default=0.0)
    result.checks = [
        Check("sustained, with all that follows", best, "texts/s", at_least=WANTED),
        Check("queued when accepting ended", last.behind, "texts", at_most=0.5 * last.rate),
    ]
    done = max(last.loaded.done, 1)
    result.figures = {
        "sustained_per_second": best,
        **{f"{name}_bytes": each / done for name, each in last.written.items()},
        **{f"{name.lower()}_us": s / done * 1e6 for name, s in last.spent.cpu.items()},
    }
    result.curves = {f"queued at {last.rate:.0f}/s": last.depth}
    result.notes.append("Sent: openers and answers, while texts were being accepted.")
    return result
